"""A measurement as `tune` keeps it, of a network that nobody measured."""

from __future__ import annotations

from resnest_edge.pipeline.tunings import Device, Key, Record, Trial

MIXED = "split/split/dense/grouped+early-pool"
KEY = Key("resnest50", 224, "openvino", "2026.4.1", "int8", 1, 2, Device("AMD EPYC", "avx2 avx512f avx512_vnni", 2))
TRIAL = Trial(
    *("stage 3", MIXED, (), "split", (), 9.0, 10.0, 0.9, (0.88, 0.92), None, None, True, "the fastest"),
)
RECORD = Record(
    key=KEY,
    form=MIXED,
    placement=(),
    begun_with="split",
    ratio=0.9,
    ratio_ci95=(0.88, 0.92),
    weights=None,
    max_loss_db=None,
    trials=(TRIAL,),
    conditions={"rounds": 12},
    created="2026-01-02T03:04:05+00:00",
    command="resnest-edge tune resnest50",
    versions={"openvino": "2026.4.1"},
)
