"""The Python API's engine: a bundle that answers for pictures of any size, from any thread."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from resnest_edge.backends.base import Outputs, Session, SessionOptions
from resnest_edge.bundle import Bundle, open_bundle
from resnest_edge.camera.answers import Answerer
from resnest_edge.camera.base import Answer
from resnest_edge.errors import InputError, UsageError
from resnest_edge.images import Pixels, transform
from resnest_edge.measure.frames import engine_input
from resnest_edge.pipeline.runtimes import load_session
from resnest_edge.spec import Preprocessing


@dataclass(frozen=True)
class Result:
    """What an engine says of N pictures.

    Attributes:
        logits: (N, classes) float32.
        probabilities: (N, classes) float32, each row adding up to 1.
        labels: class names, in class order.
    """

    logits: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float32]
    labels: tuple[str, ...]

    def top(self, k: int = 1) -> list[tuple[Answer, ...]]:
        """The ``k`` most probable classes of each picture, most probable first.

        Raises:
            UsageError: ``k`` is below 1.
        """
        name = Answerer(self.labels, top_k=k)
        return [name("", row) for row in self.probabilities]


class Engine(Session):
    """A loaded bundle. Thread-safe: it may be called from several threads at once.

    Called, it takes pictures of any size, and resizes and crops them as the network was evaluated. ``run`` and
    ``submit``, as those of any :class:`~resnest_edge.backends.base.Session`, take frames that are inputs already.
    """

    def __init__(self, bundle: Bundle, session: Session) -> None:
        super().__init__(session.info, session.options)
        self._bundle, self._session, self._closed = bundle, session, False

    @property
    def path(self) -> Path:
        """Where the bundle is."""
        return self._bundle.path

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, in class order."""
        return self._bundle.labels

    @property
    def preprocessing(self) -> Preprocessing:
        """How a picture becomes the network's input."""
        return self._bundle.manifest.preprocessing

    def __call__(self, pictures: Pixels | Sequence[Pixels]) -> Result:
        """Classify pictures.

        Args:
            pictures: one (H, W, 3), several (N, H, W, 3), or a sequence of (H, W, 3) of different sizes; uint8 RGB,
                values in [0, 255].

        Raises:
            InputError: no picture, or not uint8 RGB.
            UsageError: the engine is closed.
        """
        several = [pictures] if isinstance(pictures, np.ndarray) and pictures.ndim == 3 else list(pictures)
        if not several:
            raise InputError("there is no picture to classify")
        images = np.stack([transform(picture, self.preprocessing) for picture in several])
        logits, probabilities = self.run(engine_input(images, self.info))
        return Result(logits, probabilities, self.labels)

    def submit(self, images: npt.NDArray[Any]) -> Future[Outputs]:
        if self._closed:
            raise UsageError("this engine is closed", where=self.path, hint="Load it again.")
        return self._session.submit(images)

    def timings(self) -> dict[str, float]:
        return self._session.timings()

    def effective_settings(self) -> dict[str, Any]:
        return self._session.effective_settings()

    def close(self) -> None:
        self._closed = True
        self._session.close()

    def __enter__(self) -> Engine:
        return self


def load(path: str | Path, options: SessionOptions | None = None, *, trust: str | Path | None = None) -> Engine:
    """Verify a bundle and load its engine.

    Args:
        path: a folder that ``build`` wrote.
        options: images per inference, inferences in flight, CPU threads.
        trust: a public key that must have signed the bundle; None asks for no signature.

    Raises:
        BundleError: damaged, not signed by ``trust``, or not for this machine.
        InputError: ``trust`` holds no public key.
        UnavailableError: its runtime or device is not here.
        UsageError: the batch size is outside what the engine was built for.
    """
    bundle = open_bundle(Path(path), trust=None if trust is None else Path(trust))
    return Engine(bundle, load_session(bundle, options or SessionOptions()))
