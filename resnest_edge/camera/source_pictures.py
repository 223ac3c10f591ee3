"""Sources that need no video decoder: image files, and the demo's synthetic scenes."""

from __future__ import annotations

import threading
from collections.abc import Generator
from pathlib import Path
from time import perf_counter

from resnest_edge.camera.sources import Damage, Picture
from resnest_edge.demo.scenes import draw_scene
from resnest_edge.images import ImageFiles, open_images
from resnest_edge.images.decode import is_picture

SCENES = 200
"""Scenes of a split that a demo source goes through before it begins again; drawn once and kept (7 MB)."""


class PictureSource:
    """The pictures of a folder, a list, or one file, decoded as ``evaluate`` decodes them; a bad one fails the source.

    Args:
        name: the source's name.
        path: a folder, a list (``.txt``), or a picture.
    """

    live = endless = False

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        file = Path(path)
        single = is_picture(path) and file.is_file()
        self._images = ImageFiles(path, file.parent, [file.name], [None], ()) if single else open_images(path)
        self._stopped = threading.Event()

    def frames(self) -> Generator[Picture | Damage, None, None]:
        """Decode one picture after another."""
        self._stopped.clear()
        for index in range(len(self._images)):
            if self._stopped.is_set():
                return
            yield Picture(self._images.load(index), self._images.name(index))

    def interrupt(self) -> None:
        """End before the next picture."""
        self._stopped.set()


class DemoSource:
    """Scenes of the demo: the digit of frame i is ``i // hold % 10``.

    Args:
        name: the source's name.
        split: ``train`` or ``test``.
        fps: frames a second, as a live camera; 0 gives them as fast as they are taken, and drops none.
        hold: frames for which a scene stays.
        frames: how many frames there are; None never ends.
    """

    endless = False

    def __init__(self, name: str, split: str, *, fps: float = 15.0, hold: int = 15, frames: int | None = None) -> None:
        self.name = name
        self.live = fps > 0
        self._split, self._fps, self._hold, self._frames = split, fps, hold, frames
        self._given = 0
        self._stopped = threading.Event()

    def frames(self) -> Generator[Picture | Damage, None, None]:
        """Draw the scenes, each at its time; opened again, they go on where they were."""
        self._stopped.clear()
        first, start = self._given, perf_counter()
        while self._frames is None or self._given < self._frames:
            due = start + (self._given - first) / self._fps - perf_counter() if self._fps else 0.0
            if self._stopped.wait(max(0.0, due)) if due > 0 else self._stopped.is_set():
                return
            image = draw_scene(self._split, self._given // self._hold % SCENES)
            self._given += 1
            yield Picture(image)

    def interrupt(self) -> None:
        """End before the next scene."""
        self._stopped.set()
