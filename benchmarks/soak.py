"""An hour's worth of camera frames through one engine, as fast as they go, with memory watched: `make soak`.

    python -m benchmarks.soak                              # 108,000 frames, an hour at 30 frames a second
    python -m benchmarks.soak --bundle engines/cam --minutes 10 --log soak.log

A minute of demo scenes is encoded as H.264 and played again and again: every minute the source ends, and is opened
again as a lost camera is; every ten minutes the engine is swapped. Exit code 1 when memory, descriptors or threads grew
after the first ten minutes, a frame is not accounted for, or an answer went missing.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from statistics import median
from time import perf_counter

import av
import psutil

from resnest_edge import environment
from resnest_edge.camera.answers import Answerer
from resnest_edge.camera.base import CameraResult, SourceCounts
from resnest_edge.camera.capture import CapturePolicy
from resnest_edge.camera.engine import CameraEngine
from resnest_edge.camera.sinks import open_sink
from resnest_edge.camera.source_video import VideoSource
from resnest_edge.camera.stream import Stream, StreamOptions
from resnest_edge.camera.summary import Summary
from resnest_edge.demo.scenes import draw_scene
from resnest_edge.files import write_atomically
from resnest_edge.pipeline.build import build
from resnest_edge.pipeline.cameras import load_engine
from resnest_edge.pipeline.plan import BuildRequest
from resnest_edge.spec import Precision

FPS = 30
HOLD = 6
"""Frames for which a scene stays: the digit of frame i of a minute is ``i // HOLD % 10``."""

MINUTE = 60 * FPS
WARM_UP = 10
SWAP_EVERY = 10
MAX_GROWTH_MIB = 8.0
"""Growth of resident memory that still counts as flat; a leak of one 112 × 112 picture a minute would be 1.8 MiB."""


@dataclass(frozen=True)
class Sample:
    """The process at the end of a minute of frames."""

    minute: int
    seconds: float
    rss_mib: float
    descriptors: int
    threads: int

    def __str__(self) -> str:
        return (
            f"minute {self.minute:3d}  {self.seconds:7.1f} s  RSS {self.rss_mib:7.1f} MiB  "
            f"descriptors {self.descriptors:3d}  threads {self.threads:3d}"
        )


class Watcher:
    """A sink that samples the process each minute of frames, asks for swaps, and counts right answers."""

    name = "watcher"

    def __init__(self, say: Callable[[str], None], swap: Callable[[], None]) -> None:
        self.samples: list[Sample] = []
        self.right = self.seen = 0
        self._say, self._swap = say, swap
        self._process, self._started = psutil.Process(), perf_counter()

    def write(self, result: CameraResult) -> None:
        """Count one result."""
        self.seen += 1
        self.right += result.answers[0].index == result.frame.frame_id % MINUTE // HOLD % 10
        if self.seen % MINUTE == 0:
            self._sample(self.seen // MINUTE)
        if self.seen % (SWAP_EVERY * MINUTE) == MINUTE // 2:
            self._swap()

    def status(self, counts: Mapping[str, SourceCounts]) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""

    def _sample(self, minute: int) -> None:
        gc.collect()
        info = self._process.memory_info().rss / 2**20
        elapsed = perf_counter() - self._started
        sample = Sample(minute, elapsed, info, self._process.num_fds(), threading.active_count())
        self.samples.append(sample)
        self._say(str(sample))


def write_minute(path: Path) -> Path:
    """A minute of demo scenes: H.264, 112 × 112, 30 frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width = stream.height = 112
        stream.pix_fmt, stream.time_base, stream.options = "yuv420p", Fraction(1, FPS), {"crf": "18"}
        for index in range(MINUTE):
            scene = draw_scene("test", index // HOLD)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(scene, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def soak(
    load: Callable[[], CameraEngine], video: Path, frames: int, say: Callable[[str], None]
) -> tuple[Watcher, Summary]:
    """Play ``frames`` frames of a minute's video through the engine that ``load`` gives, and others like it."""
    source = VideoSource("camera", str(video), None, {}, live=False)
    source.endless = True  # its end is a loss, after which it is opened again
    watcher = Watcher(say, lambda: stream.swap_soon(Path("again")))
    engine = load()
    options = StreamOptions(capture=CapturePolicy(backoff=0.001, most=0.001, frames=frames))
    sinks = (open_sink("jsonl:/dev/null", labels=engine.contract.labels), watcher)
    answerer = Answerer(engine.contract.labels, top_k=3)
    stream = Stream(engine, [source], answerer, sinks, options, load=lambda _: load())
    return watcher, stream.run()


def verdict(samples: Sequence[Sample], summary: Summary, frames: int) -> list[str]:
    """What is wrong; empty when nothing is."""
    wrong = []
    (counts,) = summary.sources.values()
    if not counts.captured == counts.inferred == frames or counts.dropped or counts.failed:
        wrong.append(f"{frames} frames were to be answered, and the account is {counts}")
    expected = sum(at % (SWAP_EVERY * MINUTE) == MINUTE // 2 for at in range(frames + 1))
    if summary.swaps != expected:
        wrong.append(f"the engine was swapped {summary.swaps} times, not {expected}")
    settled = [sample for sample in samples if sample.minute > WARM_UP]
    if len(settled) < 2:
        return [*wrong, f"{len(samples)} minutes are too few to see growth after the first {WARM_UP}"]
    part = max(1, len(settled) // 5)
    growth = median(s.rss_mib for s in settled[-part:]) - median(s.rss_mib for s in settled[:part])
    if growth > MAX_GROWTH_MIB:
        wrong.append(f"memory grew by {growth:.1f} MiB, more than {MAX_GROWTH_MIB:g}")
    for what in ("descriptors", "threads"):
        first, last = getattr(settled[0], what), getattr(settled[-1], what)
        if last > first:
            wrong.append(f"{what} grew from {first} to {last}")
    return wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """Play, sample, judge, and write the log."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", type=Path, help="an engine of the demo's digits; built if not given")
    parser.add_argument("--minutes", type=int, default=60, help="of frames, at 30 a second")
    parser.add_argument("--log", type=Path, help="where the log is written; replaced if there is one")
    given = parser.parse_args(arguments)
    lines: list[str] = []

    def say(text: str) -> None:
        lines.append(text)
        print(text, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        bundle = given.bundle or Path(folder) / "engine"
        if given.bundle is None:
            build(BuildRequest(precisions=(Precision.FP32,), out=bundle))
        video = write_minute(Path(folder) / "minute.mp4")
        machine = environment.describe()
        say(f"{machine['cpu']}, {machine['cores']} cores; {given.minutes} minutes of {MINUTE} frames, 112 × 112, H.264")
        watcher, summary = soak(lambda: load_engine(bundle), video, given.minutes * MINUTE, say)
    (counts,) = summary.sources.values()
    say(
        f"account: {counts.captured} captured = {counts.inferred} inferred + {counts.dropped} dropped + {counts.failed}"
    )
    say(f"         failed; opened again {counts.reconnects} times; engine swapped {summary.swaps} times")
    say(f"answers: {100 * watcher.right / max(watcher.seen, 1):.2f} % right")
    say(f"speed:   {counts.inferred / summary.seconds:.0f} frames a second, {summary.seconds:.0f} s in all")
    wrong = verdict(watcher.samples, summary, given.minutes * MINUTE)
    for text in wrong or [
        "memory, descriptors and threads are flat after the first ten minutes; every frame is counted"
    ]:
        say(f"verdict: {text}")
    if given.log is not None:
        write_atomically(given.log, ("\n".join(lines) + "\n").encode())
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
