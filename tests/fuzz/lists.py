"""Image lists: lines mutated column by column and header by header; the pictures they name are opened."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from resnest_edge.errors import ImageError
from resnest_edge.images import open_images, read_source, write_list
from tests.fuzz.junk import TEXTS, damage, text_like
from tests.fuzz.outcome import Outcome

_LABELS = ("0", "1", "2", "3", "9", "10", "999", "999999", "1000000", "-1", "1.0", "x", "²", "9" * 30, " 1", "")
_NAMES = ("dog/0.png", "cat/1.png", "./dog/0.png", "dog/../cat/1.png", "missing.png", "#dog.png", "dog", "/dev/null")


class Lists:
    """A reader to fuzz: a list of ours, and two that users write."""

    name = "image list"

    def __init__(self, folder: Path) -> None:
        for number, name in enumerate(("dog/0.png", "cat/1.png", "cat/b c 7.png")):
            path = folder / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((3, 3, 3), number, np.uint8)).save(path)
        self._path = folder / "data" / "list.txt"
        write_list(open_images(folder / "data"), self._path)
        plain = "# mine\ndog/0.png 0\ncat/1.png\t1\ncat/b c 7.png\t1\n\n"
        self._texts = [self._path.read_text(encoding="utf-8"), plain, "dog/0.png\ncat/1.png\n"]

    def check(self, random: Random) -> tuple[bytes, Outcome]:
        """Write one mutated list, and open it for a model of some number of classes."""
        text = random.choice(self._texts)
        if random.random() < 0.15:
            data = damage(text.encode(), random)
        else:
            data = _mutate(text, random).encode("utf-8", "surrogatepass")
        self._path.write_bytes(data)
        return data, self._read(random.choice((None, None, 2, 10, 1000)))

    def _read(self, classes: int | None) -> Outcome:
        """The first parser splits lines into columns; behind it, labels meet classes and names meet the disk."""
        try:
            read_source(self._path)
        except ImageError:
            return Outcome.UNPARSED
        try:
            images = open_images(self._path, classes=classes)
            for index in range(min(len(images), 3)):
                label = images.label(index)
                assert label is None or 0 <= label < len(images.class_names)
                images.load(index)
        except ImageError:
            return Outcome.REFUSED
        return Outcome.ACCEPTED


def _mutate(text: str, random: Random) -> str:
    lines = text.split("\n")
    for _ in range(random.choice((1, 2, 3))):
        at = random.randrange(len(lines))
        lines[at] = _line(lines[at], random)
    action = random.random()
    if action < 0.08:
        random.shuffle(lines)
    elif action < 0.12:
        lines.insert(at, random.choice(lines))
    elif action < 0.16:
        del lines[at]
    return random.choice(("\n", "\n", "\n", "\r\n")).join(lines)


def _line(line: str, random: Random) -> str:
    if line.startswith("#"):
        key, colon, value = line.partition(":")
        return key + colon + (text_like(value, random) if random.random() < 0.7 else random.choice(_LABELS))
    columns = line.split("\t")
    which = random.randrange(len(columns) + 1)
    if which == 0:
        columns[0] = random.choice(_NAMES) if random.random() < 0.6 else text_like(columns[0], random)
    elif which == 1 and len(columns) > 1:
        columns[1] = random.choice((*_LABELS, str(random.randrange(2000))))
    elif which < len(columns):
        columns[which] = random.choice((columns[which][::-1], "0" * 64, "", random.choice(TEXTS)))
    else:
        columns = [*columns, random.choice(_LABELS)] if random.random() < 0.5 else columns[: max(len(columns) - 1, 1)]
    return random.choice(("\t", "\t", "\t", " ")).join(columns)
