"""Lists: what is written reads back the same, what is wrong is said with its line."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from resnest_edge.errors import ImageError, OutputError
from resnest_edge.images import (
    ImageFiles,
    ImageSet,
    Pixels,
    Subset,
    imagenet_wnids,
    open_images,
    sample,
    write_list,
)


def make(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((3, 3, 3), number, np.uint8)).save(path, "PNG")
    return root


def plain(folder: Path, text: str) -> Path:
    path = folder / "list.txt"
    path.write_text(text, encoding="utf-8")
    return path


def entries(images: ImageSet) -> list[tuple[str, int | None]]:
    return [(images.name(index), images.label(index)) for index in range(len(images))]


class Named:
    """Pictures that are only names."""

    source = "demo:test"
    class_names: tuple[str, ...] = ("a", "b")

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        return self.names[index]

    def label(self, index: int) -> int | None:
        return (0, 1, None)[index % 3]

    def load(self, index: int) -> Pixels:
        raise AssertionError("a list needs no pixels")

    def digest(self, index: int) -> str:
        return hashlib.sha256(self.names[index].encode("utf-8", "surrogatepass")).hexdigest()


def test_a_plain_list_in_all_its_forms(tmp_path: Path) -> None:
    names = ["a.png", "b c.png", "d 7.png", "e.png", "ü.png", "x/f.png"]
    make(tmp_path, *names)
    text = "\ufeff# comment\r\na.png 1\r\nb c.png 2\n\nd 7.png\n  e.png   0 \nü.png\t3\r\n./x/f.png\t\n"
    images = open_images(plain(tmp_path, text))
    assert entries(images) == [
        ("a.png", 1),
        ("b c.png", 2),
        ("d 7.png", None),
        ("e.png", 0),
        ("ü.png", 3),
        ("x/f.png", None),
    ]
    assert images.class_names == ("0", "1", "2", "3")
    assert images.load(5).max() == 5
    assert images.source == str(tmp_path / "list.txt")


def test_names_start_from_the_root_or_stand_for_themselves(tmp_path: Path) -> None:
    make(tmp_path / "data", "a.png")
    lists = tmp_path / "lists"
    lists.mkdir()
    assert open_images(plain(lists, "a.png"), root=tmp_path / "data").load(0).shape == (3, 3, 3)
    assert open_images(plain(lists, "../data/a.png")).load(0).shape == (3, 3, 3)
    assert open_images(plain(lists, str(tmp_path / "data" / "a.png"))).load(0).shape == (3, 3, 3)
    with pytest.raises(ImageError, match=r"none of the 1 listed pictures exists.*lists/a\.png.*root"):
        open_images(plain(lists, "a.png"))


def test_a_list_without_labels_is_unlabelled(tmp_path: Path) -> None:
    images = open_images(plain(make(tmp_path, "a.png"), "a.png\n"), classes=1000)
    assert entries(images) == [("a.png", None)]
    assert images.class_names == ()


def test_labels_of_a_plain_list_are_the_models_classes(tmp_path: Path) -> None:
    path = plain(make(tmp_path, "a.png"), "a.png 217")
    images = open_images(path, classes=1000, wnids=imagenet_wnids())
    assert images.class_names[217] == "n02102040"
    assert open_images(path, classes=300).class_names[299] == "299"
    with pytest.raises(ImageError, match="label 217 is listed, but the model has 10 classes"):
        open_images(path, classes=10)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no pictures"),
        ("# only a comment\n", "names no pictures"),
        ("a.png\tcat\n", r"list\.txt:1: the label 'cat'"),
        ("a.png\t-1\n", "the label '-1'"),
        ("a.png\t99999999999\n", "the label '99999999999'"),
        ("a.png\n\na.png 3\n", r"list\.txt:3: 'a\.png' is listed twice"),
        ("a.png\n./a.png\n", "listed twice"),
        ("\t3\n", "no name"),
        ("a.png\t1\tabc\n", "'abc' is no SHA-256"),
        ("a.png\t1\t\t\n", "4 columns"),
        ("b.png\n", "none of the 1 listed"),
        ("a\0.png\n", "none of the 1 listed|no usable path"),
        ("x" * 300 + "\n", "no usable path"),
        ("# resnest-edge image list 2\na.png\n", "another version"),
        ("# resnest-edge image list 1\na.png\t\t" + "0" * 64 + "\n", "damaged.*nothing"),
        ("# resnest-edge image list 1\n# count: 1\na.png\t0\n", "damaged.*1 of them without SHA-256"),
    ],
)
def test_an_ill_formed_list_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    make(tmp_path, "a.png")
    with pytest.raises(ImageError, match=message):
        open_images(plain(tmp_path, text))


def test_a_drawn_set_reads_back_the_same(tmp_path: Path) -> None:
    root = make(tmp_path / "data", *(f"{folder}/{number} ü.png" for folder in "abc" for number in range(5)))
    drawn = sample(open_images(root), 7, 42)
    path = tmp_path / "drawn.txt"
    write_list(drawn, path)
    header = path.read_text(encoding="utf-8").splitlines()[:6]
    assert header[1:5] == [f"# source: {root}", "# count: 7", "# seed: 42", "# classes:\ta\tb\tc"]
    back = open_images(path)
    assert entries(back) == entries(drawn)
    assert back.class_names == drawn.class_names
    for index in range(7):
        assert back.digest(index) == drawn.digest(index) == hashlib.sha256(back.path(index).read_bytes()).hexdigest()
        np.testing.assert_array_equal(back.load(index), drawn.load(index))


def test_a_written_list_follows_its_root_when_the_source_moved(tmp_path: Path) -> None:
    root = make(tmp_path / "data", "a.png")
    write_list(open_images(root), tmp_path / "out.txt")
    root.rename(tmp_path / "moved")
    with pytest.raises(ImageError, match="none of the 1 listed"):
        open_images(tmp_path / "out.txt")
    assert len(open_images(tmp_path / "out.txt", root=tmp_path / "moved").load(0)) == 3


def test_class_names_of_a_written_list_find_their_place_in_the_model(tmp_path: Path) -> None:
    root = make(tmp_path / "data", "n03888257/1.png", "n01440764/2.png")
    path = tmp_path / "out.txt"
    write_list(open_images(root), path)
    mapped = open_images(path, classes=1000, wnids=imagenet_wnids())
    assert entries(mapped) == [("n01440764/2.png", 0), ("n03888257/1.png", 701)]
    with pytest.raises(ImageError, match=r"2 classes .*has 10"):
        open_images(path, classes=10)


def test_a_picture_that_changed_is_refused_by_name(tmp_path: Path) -> None:
    root = make(tmp_path / "data", "a.png", "b.png")
    write_list(open_images(root), tmp_path / "out.txt")
    Image.new("RGB", (3, 3), "red").save(root / "b.png")
    images = open_images(tmp_path / "out.txt")
    assert images.load(0).shape == (3, 3, 3)
    with pytest.raises(ImageError, match=r"b\.png: the picture changed"):
        images.load(1)


def test_a_list_that_lost_lines_is_refused(tmp_path: Path) -> None:
    root = make(tmp_path / "data", "a.png", "b.png")
    path = tmp_path / "out.txt"
    write_list(open_images(root), path)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(ImageError, match="1 pictures where its header says 2"):
        open_images(path)


@given(
    names=st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\t\r\n\0/"), min_size=1, max_size=8).filter(
            lambda name: name not in (".", "..")
        ),
        min_size=1,
        max_size=5,
        unique=True,
    )
)
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_name_a_line_can_hold_survives_the_round_trip(tmp_path: Path, names: list[str]) -> None:
    images = Named([f"#{name}" for name in names])
    path = tmp_path / "any.txt"
    write_list(images, path, force=True)
    exists = tmp_path / images.name(0)
    exists.touch()  # a list with no file at all is refused
    back = open_images(path)
    exists.unlink()
    assert entries(back) == entries(images)
    assert [back.digest(index) for index in range(len(back))] == [images.digest(index) for index in range(len(images))]


def test_a_name_that_is_no_unicode_survives_the_round_trip(tmp_path: Path) -> None:
    images = ImageFiles("x", tmp_path, ["\udcff.png"], [None], (), digests=["0" * 64])
    write_list(images, tmp_path / "out.txt")
    assert b"\n\xff.png\t" in (tmp_path / "out.txt").read_bytes()
    with pytest.raises(ImageError, match="none of the 1"):
        open_images(tmp_path / "out.txt")


@pytest.mark.parametrize("name", ["a\tb.png", "a\nb.png", "a\rb.png"])
def test_a_name_a_line_cannot_hold_is_refused_and_nothing_is_left(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match="tab or a line break"):
        write_list(Named([name]), tmp_path / "out.txt")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_list_is_replaced_only_by_force(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    write_list(Named(["a"]), path)
    before = path.read_bytes()
    with pytest.raises(OutputError, match="already exists"):
        write_list(Named(["b"]), path)
    assert path.read_bytes() == before
    write_list(Subset(Named(["b"]), [0]), path, force=True)
    assert path.read_bytes() != before
    assert list(tmp_path.iterdir()) == [path]


def test_an_unwritable_place_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_list(Named(["a"]), tmp_path / "file" / "out.txt")


def test_an_unreadable_list_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = plain(make(tmp_path, "a.png"), "a.png")

    def deny(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", deny)
    with pytest.raises(ImageError, match="the list cannot be read: Permission denied"):
        open_images(path)
