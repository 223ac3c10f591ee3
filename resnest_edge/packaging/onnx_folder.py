"""The typed graph, with what a program needs to use it with ONNX Runtime alone."""

from __future__ import annotations

import json
from pathlib import Path

from resnest_edge.bundle import LABELS, MODEL, Bundle

EXAMPLE = '''"""Classify one picture: python classify.py PICTURE (needs onnxruntime, numpy and Pillow)."""
import json, sys
from pathlib import Path
import numpy as np, onnxruntime
from PIL import Image

here = Path(__file__).resolve().parent
how = json.loads((here / "preprocessing.json").read_text(encoding="utf-8"))
picture, side = Image.open(sys.argv[1]).convert("RGB"), how["image_size"]
kernel = getattr(Image.Resampling, how["interpolation"].upper())
if how["mode"] == "shorter-side":
    short, resize = min(picture.size), how["resize"]
    picture = picture.resize(tuple(int(resize * length / short) for length in picture.size), kernel)
    left, top = (round((length - side) / 2) for length in picture.size)
    picture = picture.crop((left, top, left + side, top + side))
elif how["mode"] == "center-then-resize":
    crop = side / how["resize"] * min(picture.size)
    left, top = (round((length - crop) / 2) for length in picture.size)
    picture = picture.crop((left, top, round(left + crop), round(top + crop)))
frame = np.asarray(picture.resize((side, side), kernel))[None]
if how["input_format"] == "float-nchw":
    frame = np.ascontiguousarray(frame.transpose(0, 3, 1, 2), dtype=np.float32)
session = onnxruntime.InferenceSession(here / "model.onnx", providers=["CPUExecutionProvider"])
frames = np.repeat(frame, how["batch_minimum"], axis=0)
(probabilities,) = session.run(["probabilities"], {"images": frames})
labels = (here / "labels.txt").read_text(encoding="utf-8").splitlines()
for index in probabilities[0].argsort()[::-1][:5]:
    print(f"{probabilities[0, index]:.6f} {labels[index]}")
'''


def write(bundle: Bundle, folder: Path) -> str:
    """Write ``model.onnx``, ``labels.txt``, ``preprocessing.json`` and ``classify.py``; return the README."""
    info = bundle.manifest.info
    for name in (MODEL, LABELS):
        bundle.copy_file(name, folder / name)
    how = {
        **bundle.manifest.preprocessing.to_json(),
        "input_format": info.input_format.value,
        "batch_minimum": info.batch.minimum,
        "note": "mean, std and color are applied inside the graph",
    }
    (folder / "preprocessing.json").write_text(json.dumps(how, indent=1) + "\n", encoding="utf-8")
    (folder / "classify.py").write_text(EXAMPLE, encoding="utf-8")
    return f"# {info.name} as an ONNX graph\n\nClassify a picture with\n\n    python classify.py PICTURE\n"
