"""How near the limit: what this machine's convolutions reach at best, what our engines reach, and where the rest goes.

    python -m benchmarks.ceilings resnest50 --engines E --make-only    # now make the engines, and measure later:
    python -m benchmarks.ceilings resnest50 --engines E

One run, interleaved: in each round every chain of plain convolutions of the network's shapes, every engine, and every
engine once more with its runtime's profiler on. A convolution's ceiling is the rate of the chain of its stage and kind;
a layer's time beyond it is what its place in the network costs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.ceiling_pages import write_pages
from benchmarks.conv_chains import LONG, SHORT, Run, Shape, chain, compiled, milliseconds, plain_shapes, shapes
from benchmarks.peer_engines import Made, Ours, Workshop, ours
from benchmarks.running import EngineFolder, exiting, machine, say
from benchmarks.time_account import Part, Role, account, macs_of
from resnest_edge import environment
from resnest_edge.backends.base import Session, SessionOptions
from resnest_edge.bundle import Bundle, open_bundle
from resnest_edge.errors import UsageError
from resnest_edge.files import write_text
from resnest_edge.models.config import cost_of
from resnest_edge.models.variants import find_variant
from resnest_edge.pipeline.inspection import engine_layers
from resnest_edge.pipeline.runtimes import open_session
from resnest_edge.spec import Form, Precision, Target


@dataclass
class Chain:
    """A shape on one runtime: the short and the long chain, and how long each took.

    Attributes:
        shape: measured.
        target: runtime.
        precision: asked.
        runs: short, long.
        ran: kernels or precisions of the long chain's convolutions, counted.
        times: milliseconds of the quickest (short, long), a pair a round.
    """

    shape: Shape
    target: Target
    precision: Precision
    runs: tuple[Run, Run]
    ran: dict[str, int]
    times: list[tuple[float, float]] = field(default_factory=list)

    def measure(self, seconds: float) -> None:
        """One round."""
        short, long = (min(milliseconds(run, seconds)) for run in self.runs)
        self.times.append((short, long))

    def rate(self) -> float:
        """Multiply-accumulates a second, from the quickest run of either chain: what disturbs a run only adds to it.

        Raises:
            UsageError: the long chain took no longer than the short one.
        """
        longer = min(long for _, long in self.times) - min(short for short, _ in self.times)
        if longer <= 0:
            raise UsageError(f"{self.shape.words()} is too quick to measure so", hint="Use more --rounds or --seconds.")
        return 2 * (LONG - SHORT) * self.shape.macs * 1000 / longer


@dataclass
class Engine:
    """One of our engines, with what each round told."""

    name: str
    bundle: Bundle
    session: Session
    macs: dict[str, int]
    latencies: list[float] = field(default_factory=list)
    accounts: list[dict[Role, Part]] = field(default_factory=list)

    def measure(self, seconds: float) -> None:
        """One round: the engine alone, then with the profiler."""
        side = self.session.info.image_size
        frames = np.zeros((1, side, side, 3), np.uint8)
        self.latencies.append(median(milliseconds(lambda: self.session.run(frames), seconds)))
        self.accounts.append(account(engine_layers(self.bundle)[0], self.macs))


def main() -> None:
    """Make what is missing, measure, print and write."""
    given = _arguments()
    made = Made(given.what, given.weights, given.image_size, given.images, given.calib_images)
    with tempfile.TemporaryDirectory(prefix="resnest-edge-ceilings-") as scratch:
        kept = EngineFolder(Path(given.engines or Path(scratch) / "engines"), made.identity())
        wanted = [one for one in ours() if one.form == Form.SPLIT]
        Workshop(made, kept).make([(one.name, one.target.value) for one in wanted])
        for one in wanted:
            if one.name in kept.failed:
                raise UsageError(f"{one.name} could not be made: {kept.failed[one.name]}")
        if not given.make_only:
            _report(given, kept, wanted)


def _report(given: argparse.Namespace, kept: EngineFolder, wanted: list[Ours]) -> None:
    config, side = find_variant(given.what).config, kept.notes["image_size"]
    chains = list(_chains([*shapes(config, side), *plain_shapes()]))
    engines = [_engine(one, kept) for one in wanted]
    work: list[Callable[[float], None]] = [*(one.measure for one in chains), *(one.measure for one in engines)]
    order = np.random.default_rng(0)
    for turn in range(given.rounds):
        for index in order.permutation(len(work)).tolist():
            work[index](given.seconds)
        say(f"round {turn + 1} of {given.rounds}")
    value = {
        **kept.notes,
        "machine": machine(),
        "rounds": given.rounds,
        "seconds": given.seconds,
        "ceilings": [_ceiling(one) for one in chains],
        "engines": [_told(one, chains, list(shapes(config, side)), cost_of(config, side).macs) for one in engines],
    }
    out = Path(given.out or Path("reports/ceilings") / given.what)
    write_text(out / "ceilings.json", json.dumps(value, indent=1) + "\n")
    print(write_pages(value, out))
    for one in engines:
        one.session.close()


def _chains(found: list[Shape]) -> Iterator[Chain]:
    """Every shape in every precision that a runtime computes on this CPU; shapes of the same size are one."""
    geometries = {shape.words(): shape for shape in found}
    precisions = [Precision.INT8, *([Precision.BF16] if environment.has_bf16() else []), Precision.FP32]
    pairs = [(Target.OPENVINO, precision) for precision in precisions]
    pairs += [(Target.ONNXRUNTIME, Precision.INT8), (Target.ONNXRUNTIME, Precision.FP32)]
    for shape in geometries.values():
        graphs = {quantized: [chain(shape, count, quantized) for count in (SHORT, LONG)] for quantized in (True, False)}
        for target, precision in pairs:
            short, long = (compiled(graph, target, precision) for graph in graphs[precision is Precision.INT8])
            yield Chain(shape, target, precision, (short[0], long[0]), long[1])


def _engine(one: Ours, kept: EngineFolder) -> Engine:
    path = kept.folder(one.name) / "engine"
    bundle = open_bundle(path)
    return Engine(one.name, bundle, open_session(path, SessionOptions()), macs_of(bundle.model))


def _ceiling(one: Chain) -> dict[str, Any]:
    return {
        "target": one.target.value,
        "precision": one.precision.value,
        "stage": one.shape.stage,
        "kind": one.shape.kind,
        "shape": one.shape.words(),
        "macs": one.shape.macs,
        "ran": one.ran,
        "tmacs_per_second": one.rate() / 1e12,
    }


def _told(engine: Engine, chains: list[Chain], found: list[Shape], macs: int) -> dict[str, Any]:
    """An engine's time, part by part, beside what its convolutions would take at their chains' rates."""
    manifest = engine.bundle.manifest
    rates = {
        one.shape.words(): one.rate()
        for one in chains
        if (one.target, one.precision) == (manifest.target, manifest.info.precision)
    }
    ceilings: dict[Role, float] = {}
    for shape in found:
        role = Role(shape.stage, shape.kind)
        ceilings[role] = max(ceilings.get(role, 0.0), rates[shape.words()])
    latency = median(engine.latencies)
    roles = sorted(engine.accounts[0])
    parts = [_part([told[role] for told in engine.accounts], ceilings.get(role)) for role in roles]
    layers = [sum(part.milliseconds for part in told.values()) for told in engine.accounts]
    return {
        "name": engine.name,
        "target": manifest.target.value,
        "precision": manifest.info.precision.value,
        "float_type": manifest.info.float_type.value,
        "latency_ms": latency,
        "tmacs_per_second": macs / latency / 1e9,
        "outside_ms": median(whole - inside for whole, inside in zip(engine.latencies, layers, strict=True)),
        "parts": parts,
    }


def _part(found: list[Part], rate: float | None) -> dict[str, Any]:
    role, macs = found[0].role, found[0].macs
    spent = median(part.milliseconds for part in found)
    ideal = None if rate is None else 1000 * macs / rate
    return {
        "stage": role.stage,
        "kind": role.kind,
        "layers": found[0].layers,
        "macs": macs,
        "milliseconds": spent,
        "tmacs_per_second": macs / spent / 1e9 if macs and spent else None,
        "ceiling_tmacs_per_second": None if rate is None else rate / 1e12,
        "at_ceiling_ms": ideal,
        "beyond_ms": spent - (ideal or 0.0),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", default="resnest50")
    parser.add_argument("--weights", default="none")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--images", default="demo:train", help="calibration pictures; the demo's scenes if left out")
    parser.add_argument("--calib-images", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.02, help="of each slice")
    parser.add_argument("--engines", help="folder that keeps the engines; made anew each time if left out")
    parser.add_argument("--make-only", action="store_true", help="make the engines into --engines, and stop")
    parser.add_argument("--out")
    given = parser.parse_args()
    if given.make_only and given.engines is None:
        parser.error("--make-only needs --engines DIR, which keeps what is made")
    return given


if __name__ == "__main__":
    exiting(main)
