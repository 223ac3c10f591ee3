"""Calibration on thousands of pictures holds no more memory than on hundreds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="exporting needs the extra export")

ROOT = Path(__file__).resolve().parents[2]

CALIBRATE = """
import json, sys
from resnest_edge.demo.scenes import DemoImages, draw_scene
from resnest_edge.measure.worker import peak_rss_mib
from resnest_edge.pipeline.calibrated import open_network
from resnest_edge.pipeline.plan import BuildRequest
from resnest_edge.pipeline.progress import silent
from resnest_edge.pipeline.sources import find_source
from resnest_edge.pipeline.typed import calibrate
from resnest_edge.quantize.placement import WIDEST

class Scenes(DemoImages):
    # drawn anew each time, as files are read anew: the scenes' own cache would grow
    def load(self, index):
        return draw_scene.__wrapped__("train", index)

count, held = int(sys.argv[1]), {}

def look(stage, done, total):
    if done >= 500 * (len(held) + 1):
        held[done] = peak_rss_mib()

network = open_network(BuildRequest(), find_source(None), silent)
statistics, _ = calibrate(network, [WIDEST], Scenes("train", count), skip_bad=False, progress=look)
print(json.dumps({"images": statistics.images, "held": list(held.values())}))
"""


@pytest.mark.slow
def test_five_thousand_scenes_hold_no_more_memory_than_five_hundred() -> None:
    count = 5000
    command = [sys.executable, "-c", CALIBRATE, str(count)]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["images"] == count and len(found["held"]) == 10
    first, last = found["held"][0], found["held"][-1]
    # a picture as the network takes it is 0.1 MiB in float32, what is observed of it several MiB
    assert last - first < 32, f"from {first:.0f} to {last:.0f} MiB"
