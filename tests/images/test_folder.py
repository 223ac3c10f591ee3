"""Folders: labels follow the rules or are refused, order is fixed, nothing is left out silently."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from resnest_edge.errors import ImageError, InputError
from resnest_edge.images import EXTENSIONS, ImageFiles, imagenet_wnids, open_images


def put(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()  # opening a set decodes nothing
    return root


def contents(images: ImageFiles) -> dict[str, int | None]:
    return {images.name(index): images.label(index) for index in range(len(images))}


def test_sorted_folders_are_the_classes(tmp_path: Path) -> None:
    images = open_images(put(tmp_path, "b/2.png", "a/1.png", "c/3.png", "a/0.png"), classes=3)
    assert contents(images) == {"a/0.png": 0, "a/1.png": 0, "b/2.png": 1, "c/3.png": 2}
    assert images.class_names == ("a", "b", "c")
    assert images.source == str(tmp_path)


def test_wnid_folders_take_the_index_of_their_wnid(tmp_path: Path) -> None:
    put(tmp_path, "n03888257/x.JPEG", "n01440764/y.JPEG")
    images = open_images(str(tmp_path), classes=1000, wnids=imagenet_wnids())
    assert contents(images) == {"n01440764/y.JPEG": 0, "n03888257/x.JPEG": 701}
    assert images.class_names == imagenet_wnids()


def test_a_folder_for_each_class_needs_no_wnid_names(tmp_path: Path) -> None:
    wnids = ("n1", "n2")
    images = open_images(put(tmp_path, "x/1.png", "y/1.png"), classes=2, wnids=wnids)
    assert images.class_names == ("x", "y")


@pytest.mark.parametrize(
    ("folders", "classes", "wnids"),
    [
        (["a", "b"], 3, None),
        (["a", "b", "c"], 2, None),
        (["n01440764", "cats"], 1000, imagenet_wnids()),
        (["n01440764", "n02102040"], 1000, None),
        (["n01440764", "n02102040"], 10, imagenet_wnids()),
    ],
    ids=["fewer", "more", "one is no wnid", "no wnids given", "wnids of another model"],
)
def test_any_other_count_is_refused_with_both_counts(
    tmp_path: Path, folders: list[str], classes: int, wnids: tuple[str, ...] | None
) -> None:
    put(tmp_path, *(f"{folder}/1.png" for folder in folders))
    with pytest.raises(InputError, match=rf"\b{len(folders)} classes .*\b{classes}\b") as caught:
        open_images(tmp_path, classes=classes, wnids=wnids)
    assert caught.value.exit_code == 2


def test_a_flat_folder_is_unlabelled(tmp_path: Path) -> None:
    images = open_images(put(tmp_path, "b.png", "a.jpg"), classes=1000)
    assert contents(images) == {"a.jpg": None, "b.png": None}
    assert images.class_names == ()


def test_order_is_that_of_the_bytes_of_relative_paths(tmp_path: Path) -> None:
    names = ["B/1.png", "a b/ü.png", "a b/z.png", "a-b/1.png", "a/1.png", "a/10.png", "a/2.png", "é/日本.png"]
    images = open_images(put(tmp_path, *reversed(names)))
    got = [images.name(index) for index in range(len(images))]
    assert got == sorted(names, key=lambda name: name.encode())
    assert got != names  # "a b/z" sorts before "a b/ü"


def test_a_name_that_is_no_unicode_survives(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/\xff.png"
    try:
        with open(raw, "wb"):
            pass
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    images = open_images(tmp_path)
    assert os.fsencode(images.path(0)) == raw


def test_extensions_count_in_any_case_and_the_rest_is_reported(tmp_path: Path) -> None:
    put(tmp_path, "a/1.JPEG", "a/2.Jpg", "a/3.PNG", "a/4.gif", "a/notes.txt", "a/.hidden.png", "README")
    images = open_images(tmp_path)
    assert [images.name(index) for index in range(len(images))] == ["a/1.JPEG", "a/2.Jpg", "a/3.PNG"]
    assert images.ignored == ("README", "a/.hidden.png", "a/4.gif", "a/notes.txt")


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_every_extension_named_is_one_pillow_opens(extension: str, tmp_path: Path) -> None:
    Image.new("RGB", (3, 2)).save(tmp_path / f"a{extension}")
    assert open_images(tmp_path).load(0).shape == (2, 3, 3)


def test_hidden_folders_are_no_classes(tmp_path: Path) -> None:
    images = open_images(put(tmp_path, ".git/x.png", "a/1.png"))
    assert images.class_names == ("a",)
    assert images.ignored == (".git",)


def test_an_empty_class_folder_keeps_its_label(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    images = open_images(put(tmp_path, "a/1.png", "c/1.png"), classes=3)
    assert contents(images) == {"a/1.png": 0, "c/1.png": 2}


def test_pictures_of_deeper_folders_belong_to_the_class_at_the_top(tmp_path: Path) -> None:
    images = open_images(put(tmp_path, "a/x/y/1.png", "b/1.png"))
    assert contents(images) == {"a/x/y/1.png": 0, "b/1.png": 1}


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="the folder is empty"):
        open_images(tmp_path)


def test_a_folder_without_pictures_says_what_it_found(tmp_path: Path) -> None:
    put(tmp_path, "a.gif", "b/c.gif", "d.txt", ".x.png", "LICENSE")
    with pytest.raises(ImageError, match=r"2 \.gif, 1 \.txt, 1 hidden, 1 no ending.*\.jpeg"):
        open_images(tmp_path)


def test_pictures_beside_class_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="2 pictures lie beside 1 class folders"):
        open_images(put(tmp_path, "1.png", "2.png", "a/3.png"))


def test_linked_class_folders_are_followed(tmp_path: Path) -> None:
    put(tmp_path / "real", "1.png")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a").symlink_to(tmp_path / "real")
    (tmp_path / "set" / "b").symlink_to(tmp_path / "real")
    assert contents(open_images(tmp_path / "set")) == {"a/1.png": 0, "b/1.png": 1}


@pytest.mark.parametrize("target", [".", ".."])
def test_a_loop_of_links_is_refused_by_name(tmp_path: Path, target: str) -> None:
    put(tmp_path, "a/1.png")
    (tmp_path / "a" / "loop").symlink_to(target)
    with pytest.raises(ImageError, match=r"a/loop: this link leads back"):
        open_images(tmp_path)


def test_a_link_to_itself_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png")
    (tmp_path / "a" / "self").symlink_to("self")
    with pytest.raises(ImageError, match="cannot be read"):
        open_images(tmp_path)


def test_a_broken_link_to_a_picture_fails_by_name_when_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("nowhere.png")
    images = open_images(tmp_path)
    with pytest.raises(ImageError, match=r"a\.png: the picture does not exist"):
        images.load(0)


def test_an_unreadable_folder_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(os, "scandir", deny)
    with pytest.raises(ImageError, match=r"cannot be read: Permission denied"):
        open_images(tmp_path)


def test_what_is_neither_folder_nor_list_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    with pytest.raises(ImageError, match="neither a folder"):
        open_images(tmp_path / "a.png")
    with pytest.raises(ImageError, match="does not exist"):
        open_images(tmp_path / "nowhere")
    with pytest.raises(ImageError, match="path of the images is empty"):
        open_images("")
    with pytest.raises(ImageError, match="no other root"):
        open_images(tmp_path, root=tmp_path)


def test_the_wnids_are_the_thousand_of_imagenet() -> None:
    wnids = imagenet_wnids()
    assert len(wnids) == len(set(wnids)) == 1000
    assert list(wnids) == sorted(wnids)
    assert all(len(wnid) == 9 and wnid[0] == "n" and wnid[1:].isdigit() for wnid in wnids)
    # Imagenette's ten classes at their published ImageNet-1k indices.
    known = {
        "n01440764": 0,
        "n02102040": 217,
        "n02979186": 482,
        "n03000684": 491,
        "n03028079": 497,
        "n03394916": 566,
        "n03417042": 569,
        "n03425413": 571,
        "n03445777": 574,
        "n03888257": 701,
    }
    assert {wnid: wnids.index(wnid) for wnid in known} == known
