"""Batches: every picture once and in order, bad ones by name, memory bounded, threads ended."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from resnest_edge.errors import ImageError, UsageError
from resnest_edge.images import Batch, Pixels, imagenet_wnids, iter_batches, open_images, transform
from resnest_edge.spec import InputFormat, Preprocessing

TINY = Preprocessing(8, 8)


class Numbered:
    """Picture i is filled with i; counts what was loaded; ``bad`` ones fail."""

    class_names: tuple[str, ...] = ()
    source = "memory"

    def __init__(self, count: int, bad: tuple[int, ...] = (), hook: Callable[[int], None] | None = None) -> None:
        self.count = count
        self.bad = bad
        self.hook = hook
        self.loaded: list[int] = []
        self.lock = threading.Lock()

    def __len__(self) -> int:
        return self.count

    def name(self, index: int) -> str:
        return f"pic{index}"

    def label(self, index: int) -> int | None:
        return index % 10 if index % 3 else None

    def load(self, index: int) -> Pixels:
        if self.hook:
            self.hook(index)
        with self.lock:
            self.loaded.append(index)
        if index in self.bad:
            raise ImageError("it is bad", where=self.name(index))
        return np.full((8, 8, 3), index % 256, np.uint8)

    def digest(self, index: int) -> str:
        return hashlib.sha256(b"%d" % index).hexdigest()


def decoders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


@given(count=st.integers(0, 20), size=st.integers(1, 7), prefetch=st.integers(1, 3), workers=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_every_picture_comes_once_in_order_in_full_batches(count: int, size: int, prefetch: int, workers: int) -> None:
    batches = list(iter_batches(Numbered(count), TINY, size, prefetch=prefetch, workers=workers))
    assert [len(batch.images) for batch in batches] == [size] * (count // size) + [count % size] * (count % size > 0)
    indices = [index for batch in batches for index in batch.indices]
    assert indices == list(range(count))
    values = [int(image[0, 0, 0]) for batch in batches for image in batch.images]
    assert values == indices  # N distinct pictures give N distinct entries
    labels = [int(label) for batch in batches for label in batch.labels]
    assert labels == [index % 10 if index % 3 else -1 for index in indices]


def test_slow_pictures_do_not_change_the_order() -> None:
    images = Numbered(12, hook=lambda index: time.sleep(0.02 if index % 4 == 0 else 0))
    batches = list(iter_batches(images, TINY, 4, workers=4))
    assert [index for batch in batches for index in batch.indices] == list(range(12))


def test_batches_do_not_share_memory() -> None:
    first, second = iter_batches(Numbered(4), TINY, 2)
    first.images[:] = 99
    assert second.images[0, 0, 0, 0] == 2


@pytest.mark.parametrize("input_format", list(InputFormat))
def test_both_input_formats_hold_the_same_pixels(input_format: InputFormat) -> None:
    class Colours(Numbered):
        def load(self, index: int) -> Pixels:
            return np.random.default_rng(index).integers(0, 256, (11, 13, 3), dtype=np.uint8)

    images = Colours(3)
    (batch,) = iter_batches(images, TINY, 5, input_format=input_format)
    expected = np.stack([transform(images.load(index), TINY) for index in range(3)])
    if input_format is InputFormat.FLOAT_NCHW:
        assert batch.images.dtype == np.float32
        assert batch.images.shape == (3, 3, 8, 8)
        expected = expected.transpose(0, 3, 1, 2)
    else:
        assert batch.images.dtype == np.uint8
    assert batch.images.flags.c_contiguous
    np.testing.assert_array_equal(batch.images, expected)
    assert batch.labels.dtype == np.int64
    assert batch.indices.dtype == np.int64


@pytest.mark.parametrize("bad", [0, 3, 8, 9])
def test_a_bad_picture_fails_the_iteration_by_name(bad: int) -> None:
    batches: list[Batch] = []
    with pytest.raises(ImageError, match=f"^pic{bad}: it is bad"):
        batches.extend(iter_batches(Numbered(10, bad=(bad,)), TINY, 4))
    assert not decoders()


@given(bad=st.sets(st.integers(0, 11), max_size=11), size=st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_skipping_leaves_out_the_bad_ones_and_names_every_one(bad: set[int], size: int) -> None:
    batches: list[Batch] = []
    stream = iter_batches(Numbered(12, bad=tuple(bad)), TINY, size, skip_bad=True)
    batches.extend(stream)
    good = [index for index in range(12) if index not in bad]
    assert [index for batch in batches for index in batch.indices] == good
    assert all(len(batch.images) == size for batch in batches[:-1])
    assert [name for batch in batches for name in batch.skipped] == [f"pic{index}" for index in sorted(bad)]


def test_nothing_but_bad_pictures_is_an_error_even_when_skipping() -> None:
    with pytest.raises(ImageError, match="all 5 pictures are bad; the first is pic0"):
        list(iter_batches(Numbered(5, bad=tuple(range(5))), TINY, 2, skip_bad=True))


def test_a_picture_that_cannot_be_resized_is_bad_by_name() -> None:
    class Long(Numbered):
        def load(self, index: int) -> Pixels:
            return np.zeros((1, 60000, 3), np.uint8)

    with pytest.raises(ImageError, match=r"^pic0: .*elongated"):
        next(iter_batches(Long(1), Preprocessing(), 1))


def test_an_error_of_another_kind_is_never_skipped() -> None:
    def fail(index: int) -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        list(iter_batches(Numbered(3, hook=fail), TINY, 2, skip_bad=True))
    assert not decoders()


@pytest.mark.parametrize(("size", "prefetch"), [(4, 1), (4, 3), (1, 2)])
def test_decoding_runs_ahead_by_a_bounded_number_of_pictures(size: int, prefetch: int) -> None:
    images = Numbered(200)
    most = 0
    for delivered, batch in enumerate(iter_batches(images, TINY, size, prefetch=prefetch, workers=3), start=1):
        time.sleep(0.002)  # let the threads run as far as they may
        most = max(most, len(images.loaded) - delivered * size)
        assert len(batch.images) == size
    # The batches ahead, and the one picture that the delivered batch waited for.
    assert 1 <= most <= prefetch * size + 1


def test_decoding_runs_in_several_threads_at_once() -> None:
    meeting = threading.Barrier(3, timeout=10)  # breaks, and so fails, unless three decode at the same time

    def meet(index: int) -> None:
        meeting.wait()

    assert len(list(iter_batches(Numbered(3, hook=meet), TINY, 3, workers=3))) == 1


def test_leaving_early_ends_the_threads_and_decodes_no_further() -> None:
    images = Numbered(1000)
    stream = iter_batches(images, TINY, 2, workers=2)
    next(stream)
    assert decoders()
    stream.close()
    assert not decoders()
    assert len(images.loaded) < 20


def test_progress_counts_every_picture_once() -> None:
    calls: list[int] = []
    batches = list(iter_batches(Numbered(10, bad=(1, 9)), TINY, 3, skip_bad=True, on_progress=calls.append))
    assert calls == [4, 7, 10]
    assert len(batches) == 3


@pytest.mark.parametrize(("size", "prefetch", "workers"), [(0, 1, 1), (1, 0, 1), (1, 1, 0), (-1, 1, 1)])
def test_senseless_numbers_are_refused_at_once(size: int, prefetch: int, workers: int) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        iter_batches(Numbered(1), TINY, size, prefetch=prefetch, workers=workers)


def test_files_of_every_format_batch_together(tmp_path: Path) -> None:
    for number, name in enumerate(["a.jpg", "b.PNG", "c.webp", "d.bmp"]):
        Image.new("RGB", (20, 10), (60 * number, 0, 0)).save(tmp_path / name)
    (batch,) = iter_batches(open_images(tmp_path), TINY, 8)
    reds = batch.images[:, 4, 4, 0].astype(int)
    assert np.abs(reds - [0, 60, 120, 180]).max() <= 4  # JPEG and WebP are lossy
    (tmp_path / "b.PNG").write_bytes(b"broken")
    with pytest.raises(ImageError, match=r"b\.PNG: not a readable picture"):
        list(iter_batches(open_images(tmp_path), TINY, 8))


@pytest.fixture
def photographs() -> Path:
    given_root = os.environ.get("RESNEST_EDGE_DATA")
    root = Path(given_root) if given_root else Path(__file__).parents[3] / "shared" / "data"
    folder = root / "imagenette" / "val"
    if not folder.is_dir():
        pytest.skip("real photographs are not here; set RESNEST_EDGE_DATA")
    return folder


def test_real_photographs_have_their_imagenet_labels(photographs: Path) -> None:
    images = open_images(photographs, classes=1000, wnids=imagenet_wnids())
    assert sorted({images.label(index) for index in range(len(images))}, key=str) == sorted(
        [0, 217, 482, 491, 497, 566, 569, 571, 574, 701], key=str
    )
    batch = next(iter_batches(images, Preprocessing(), 16))
    assert len({image.tobytes() for image in batch.images}) == 16
    assert 60 < batch.images.mean() < 190
