"""What the camera stream costs over the bare session at full load, measured interleaved on one loaded engine.

    python -m benchmarks.camera                            # ResNeSt-50 in FP32, random weights, built for this machine
    python -m benchmarks.camera engines/cam --batch 1 --sources 1 --sources 4

Three ways to push frames through the same session, in turn, round after round:

    bare       inputs that are ready, submitted one after the other: the most that the session does
    stream     the stream, fed pictures of the network's resize side: queues, crop, threads, answers, accounts
    640×480    the stream, fed VGA pictures, whose resize is work that the bare session is not given

Overhead is the bare session's frames a second over the stream's in the same round, less one.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from itertools import cycle
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from resnest_edge import environment
from resnest_edge.backends.base import Outputs
from resnest_edge.camera.answers import Answerer
from resnest_edge.camera.base import CameraResult, SourceCounts
from resnest_edge.camera.engine import CameraEngine
from resnest_edge.camera.sources import Damage, Picture
from resnest_edge.camera.stream import Stream, StreamOptions
from resnest_edge.images import transform
from resnest_edge.pipeline.build import build
from resnest_edge.pipeline.cameras import load_engine
from resnest_edge.pipeline.plan import BuildRequest
from resnest_edge.spec import Precision

_PICTURES = 16
VGA = (480, 640)
Image = npt.NDArray[np.uint8]


class Kept(CameraEngine):
    """An engine that the streams of all rounds share: closing it is left to the end."""

    def __init__(self, engine: CameraEngine) -> None:
        super().__init__(engine.name, engine.contract, engine._sessions)

    def close(self) -> None:
        """Nothing."""


class Camera:
    """Gives pictures that are there already, as fast as they are taken."""

    live = endless = False

    def __init__(self, name: str, pictures: Sequence[Image]) -> None:
        self.name, self._pictures, self._stopped = name, pictures, False

    def frames(self) -> Generator[Picture | Damage, None, None]:
        """Round and round until interrupted."""
        for picture in cycle(self._pictures):
            if self._stopped:
                return
            yield Picture(picture)

    def interrupt(self) -> None:
        """End before the next picture."""
        self._stopped = True


class Clock:
    """A sink that knows when results came; the first ``warm`` seconds do not count."""

    name = "clock"

    def __init__(self, warm: float) -> None:
        self._from = perf_counter() + warm
        self._first = self._last = 0.0
        self._count = 0

    def write(self, result: CameraResult) -> None:  # noqa: ARG002 - the protocol's name
        """Count one result."""
        now = perf_counter()
        if now < self._from:
            return
        self._first = self._first or now
        self._last, self._count = now, self._count + 1

    def status(self, counts: Mapping[str, SourceCounts]) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""

    @property
    def rate(self) -> float:
        """Results a second: intervals over their time."""
        return (self._count - 1) / (self._last - self._first)


def bare(engine: CameraEngine, pictures: Sequence[Image], seconds: float) -> float:
    """Frames a second of the session alone, at its largest batch."""
    inputs = np.stack([transform(picture, engine.contract.preprocessing) for picture in pictures])
    count = engine.batch
    batches = cycle([np.take(inputs, range(at, at + count), axis=0, mode="wrap") for at in range(len(inputs))])
    flying: deque[Future[Outputs]] = deque()
    done, start = 0, perf_counter()
    while perf_counter() - start < seconds:
        flying.append(engine.submit(next(batches)))
        if len(flying) > 2:
            flying.popleft().result()
            done += count
    for future in flying:
        future.result()
        done += count
    return done / (perf_counter() - start)


def streamed(engine: CameraEngine, pictures: Sequence[Image], sources: int, seconds: float) -> float:
    """Frames a second of the stream from ``sources`` sources that always have the next picture."""
    clock = Clock(warm=min(0.3, seconds / 4))
    cameras = [Camera(f"camera-{number}", pictures) for number in range(sources)]
    answerer = Answerer(engine.contract.labels, top_k=5)
    Stream(Kept(engine), cameras, answerer, [clock], StreamOptions(duration=seconds)).run()
    return clock.rate


def rows(given: argparse.Namespace, bundle: Path) -> Iterator[dict[str, Any]]:
    """Measure one batch size and number of sources after the other."""
    rng = np.random.default_rng(0)
    for batch in given.batch:
        engine = load_engine(bundle, batch=batch)
        side = engine.contract.preprocessing.resize
        near = [rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(_PICTURES)]
        far = [rng.integers(0, 256, (*VGA, 3), dtype=np.uint8) for _ in range(_PICTURES)]
        bare(engine, near, given.seconds / 2)  # warm
        for sources in given.sources:
            rounds = [
                (
                    bare(engine, near, given.seconds),
                    streamed(engine, near, sources, given.seconds),
                    streamed(engine, far, sources, given.seconds),
                )
                for _ in range(given.rounds)
            ]
            yield {"batch": batch, "sources": sources, "rounds": given.rounds, **_summary(rounds)}
        engine.close()


def _summary(rounds: Sequence[tuple[float, float, float]]) -> dict[str, Any]:
    names = ("bare", "stream", "vga")
    value: dict[str, Any] = {f"{name}_fps": median(r[place] for r in rounds) for place, name in enumerate(names)}
    for place, name in enumerate(names[1:], start=1):
        overheads = sorted(100 * (r[0] / r[place] - 1) for r in rounds)
        value[f"{name}_overhead_percent"] = {
            "median": median(overheads),
            "min": overheads[0],
            "max": overheads[-1],
        }
    return value


def _line(row: Mapping[str, Any]) -> str:
    def overhead(name: str) -> str:
        found = row[f"{name}_overhead_percent"]
        return f"{found['median']:+5.1f} % ({found['min']:+.1f} to {found['max']:+.1f})"

    return (
        f"batch {row['batch']:2d}, {row['sources']} sources: bare {row['bare_fps']:7.1f} fps, "
        f"stream {row['stream_fps']:7.1f} fps, overhead {overhead('stream')}; "
        f"640×480 {row['vga_fps']:7.1f} fps, {overhead('vga')}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path, nargs="?", help="ResNeSt-50 in FP32 with random weights if not given")
    parser.add_argument("--batch", type=int, action="append", help="frames an inference; may be repeated (default: 1)")
    parser.add_argument("--sources", type=int, action="append", help="may be repeated (default: 1)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one slice")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    given.batch, given.sources = given.batch or [1], given.sources or [1]
    with tempfile.TemporaryDirectory() as folder:
        bundle = given.bundle
        if bundle is None:
            bundle = Path(folder) / "resnest50"
            build(BuildRequest(what="resnest50", weights="none", precisions=(Precision.FP32,), out=bundle))
        machine = environment.describe()
        print(f"{bundle.name} on {machine['cpu']}, {machine['cores']} cores", file=sys.stderr)
        found = []
        for row in rows(given, bundle):
            found.append(row)
            print(_line(row), file=sys.stderr if given.json else sys.stdout, flush=True)
    if given.json:
        print(json.dumps({"bundle": bundle.name, "machine": machine, "results": found}, indent=1))


if __name__ == "__main__":
    main()
