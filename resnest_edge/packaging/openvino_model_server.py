"""A model repository for OpenVINO Model Server, after its "Model Server Parameters" page."""

from __future__ import annotations

import json
from pathlib import Path

from resnest_edge.bundle import LABELS, Bundle
from resnest_edge.errors import UsageError
from resnest_edge.packaging.names import model_name
from resnest_edge.spec import Precision, Target


def write(bundle: Bundle, folder: Path) -> str:
    """Write ``config.json``, ``NAME/1/model.xml``, ``NAME/1/model.bin`` and the labels; return the README.

    Raises:
        UsageError: the bundle is for another runtime.
        BundleMisfitError: the bundle has no engine yet.
    """
    manifest = bundle.manifest
    if manifest.target is not Target.OPENVINO:
        raise UsageError(
            f"OpenVINO Model Server cannot serve a bundle for {manifest.target}",
            where=bundle.path,
            hint="Build it with --target openvino.",
        )
    name = model_name(bundle)
    version = folder / name / "1"
    version.mkdir(parents=True)
    for suffix in (".xml", ".bin"):
        bundle.copy_file(bundle.engine.with_suffix(suffix).name, version / f"model{suffix}")
    bundle.copy_file(LABELS, folder / LABELS)
    # Left to itself, OpenVINO would run a float32 graph in BF16 on some CPUs.
    hint = "bf16" if manifest.info.float_type is Precision.BF16 else "f32"
    model = {
        "name": name,
        "base_path": name,
        "target_device": "CPU",
        "plugin_config": {"INFERENCE_PRECISION_HINT": hint},
    }
    (folder / "config.json").write_text(
        json.dumps({"model_config_list": [{"config": model}]}, indent=1) + "\n", encoding="utf-8"
    )
    return (
        f"# {name} for OpenVINO Model Server\n\n"
        "Start the server, here, with\n\n"
        '    docker run --rm -v "$PWD:/models:ro" -p 9000:9000 -p 8000:8000 openvino/model_server:latest \\\n'
        "        --config_path /models/config.json --port 9000 --rest_port 8000\n"
    )
