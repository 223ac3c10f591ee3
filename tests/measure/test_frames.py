from __future__ import annotations

import numpy as np
import pytest

from resnest_edge.errors import InputError
from resnest_edge.measure.frames import BATCHES, batch_ring, engine_input, random_frames
from resnest_edge.spec import InputFormat
from tests.measure.fakes import SIDE, info


def test_planar_engines_get_the_same_pixels_as_floats() -> None:
    frames = random_frames(3, SIDE, seed=5)
    planar = engine_input(frames, info(input_format=InputFormat.FLOAT_NCHW))
    assert planar.shape == (3, 3, SIDE, SIDE)
    assert planar.dtype == np.float32
    assert planar.flags.c_contiguous
    assert np.array_equal(planar.transpose(0, 2, 3, 1), frames)
    assert np.array_equal(engine_input(frames, info()), frames)


def test_noise_is_the_same_for_the_same_seed_only() -> None:
    assert np.array_equal(random_frames(2, SIDE, 0), random_frames(2, SIDE, 0))
    assert not np.array_equal(random_frames(2, SIDE, 0), random_frames(2, SIDE, 1))


def test_a_ring_starts_over_when_the_frames_run_out() -> None:
    frames = random_frames(3, SIDE, 0)
    ring = batch_ring(frames, 2, info())
    assert len(ring) == BATCHES
    assert np.array_equal(np.concatenate(ring), frames[[0, 1, 2, 0, 1, 2, 0, 1]])


def test_frames_of_another_size_are_refused() -> None:
    with pytest.raises(InputError, match="Resize and crop the pictures to 8×8"):
        engine_input(random_frames(1, SIDE + 1, 0), info())
