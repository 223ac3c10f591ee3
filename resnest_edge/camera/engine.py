"""One engine at several batch sizes, and the contract that another one must keep to take its place."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resnest_edge.backends.base import Outputs, Session
from resnest_edge.errors import ResnestEdgeError
from resnest_edge.measure.frames import engine_input
from resnest_edge.spec import BatchRange, InputFormat, Preprocessing


@dataclass(frozen=True)
class Contract:
    """What the stream and its sinks rely on. Mean, std and color are the graph's own business and may differ.

    Attributes:
        labels: class names in class order.
        preprocessing: how a picture becomes an input.
        input_format: what the engine takes.
    """

    labels: tuple[str, ...]
    preprocessing: Preprocessing
    input_format: InputFormat

    def differences(self, other: Contract) -> list[str]:
        """What another engine has otherwise, each as ``what it is there, not what it is here``; empty if nothing."""
        found = []
        if len(other.labels) != len(self.labels):
            found.append(f"{len(other.labels)} classes, not {len(self.labels)}")
        elif other.labels != self.labels:
            index = next(i for i, label in enumerate(self.labels) if other.labels[i] != label)
            found.append(f"class {index} is {other.labels[index]!r}, not {self.labels[index]!r}")
        for name in ("image_size", "resize", "mode", "interpolation"):
            theirs, ours = getattr(other.preprocessing, name), getattr(self.preprocessing, name)
            if theirs != ours:
                found.append(f"{name} {theirs}, not {ours}")
        if other.input_format is not self.input_format:
            found.append(f"input format {other.input_format}, not {self.input_format}")
        return found


def batch_sizes(batch: BatchRange, most: int) -> tuple[int, ...]:
    """The batch sizes that a stream of up to ``most`` frames at a time loads: powers of two between, and the two ends.

    Any number of frames is then a sum of few sizes, and nothing is padded unless the engine's minimum asks for it.
    """
    top = max(batch.minimum, min(most, batch.maximum))
    powers = [1 << power for power in range(top.bit_length())]
    return tuple(sorted({batch.minimum, top, *(size for size in powers if batch.minimum < size < top)}))


class CameraEngine:
    """A bundle's engine, loaded at several batch sizes, for one thread that submits.

    Args:
        name: the bundle's path, as results name it.
        contract: what it takes and answers.
        sessions: by batch size.
    """

    def __init__(self, name: str, contract: Contract, sessions: Mapping[int, Session]) -> None:
        self.name, self.contract = name, contract
        self._sessions = dict(sorted(sessions.items()))
        self.batch = max(self._sessions)

    def part(self, count: int) -> int:
        """How many of ``count`` frames go into the next inference: the largest batch size that they fill."""
        return max((size for size in self._sessions if size <= count), default=count)

    def submit(self, images: npt.NDArray[np.uint8]) -> Future[Outputs]:
        """Start one inference; blocks while the session is at work on another.

        Args:
            images: (N, S, S, 3) uint8 RGB, N being at most the largest batch size. The engine's smallest batch is
                filled up with the last image, whose extra answers come last.
        """
        size = next(size for size in self._sessions if size >= len(images))
        session = self._sessions[size]
        if len(images) < size:
            images = np.concatenate([images, np.repeat(images[-1:], size - len(images), axis=0)])
        try:
            return session.submit(engine_input(images, session.info))
        except (RuntimeError, ResnestEdgeError) as exc:  # what runtimes raise; the frames count as failed
            future: Future[Outputs] = Future()
            future.set_exception(exc)
            return future

    def close(self) -> None:
        """Wait for what is in flight and free the engine."""
        for session in self._sessions.values():
            session.close()
