"""The Python API: an engine that takes pictures of any size, from any thread, and is still a session."""

from __future__ import annotations

import asyncio
import gc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

import resnest_edge
from resnest_edge.demo.scenes import draw_scene
from resnest_edge.errors import ImageError, InputError, UsageError
from resnest_edge.spec import InputFormat
from tests.support.demo_bundle import demo_bundle


@pytest.fixture(scope="module")
def bundle(workstation: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo_bundle(tmp_path_factory.mktemp("engine"))


def test_pictures_of_any_size_are_prepared_as_the_manifest_says(bundle: Path) -> None:
    scenes = [draw_scene("test", index) for index in range(20)]
    with resnest_edge.load(bundle) as engine:
        assert engine.labels == tuple("0123456789") and engine.path == bundle
        result = engine(scenes)
        prepared = np.stack([resnest_edge.transform(scene, engine.preprocessing) for scene in scenes])
        np.testing.assert_allclose(result.probabilities, engine.run(prepared).probabilities, atol=1e-6)
        assert result.logits.shape == result.probabilities.shape == (20, 10)
        mixed = engine([scenes[3], np.repeat(np.repeat(scenes[4], 3, axis=0), 3, axis=1)])
        np.testing.assert_allclose(mixed.probabilities[0], result.probabilities[3], atol=1e-6)
        assert mixed.top()[1][0].label == result.top()[4][0].label
        single = engine(scenes[5])
        np.testing.assert_allclose(single.probabilities[0], result.probabilities[5], atol=1e-6)
        assert sum(answer.label == str(index % 10) for index, (answer,) in enumerate(result.top())) >= 16


def test_the_best_classes_by_name(bundle: Path) -> None:
    with resnest_edge.load(str(bundle)) as engine:
        result = engine(draw_scene("test", 7))
    ((first, second, third),) = result.top(3)
    order = np.argsort(-result.probabilities[0])
    assert [first.index, second.index, third.index] == order[:3].tolist()
    assert first.probability == pytest.approx(result.probabilities[0].max()) and first.label == str(order[0])
    with pytest.raises(UsageError):
        result.top(0)


def test_it_is_called_from_many_threads_at_once(bundle: Path) -> None:
    scenes = [draw_scene("test", index) for index in range(40)]
    with resnest_edge.load(bundle, resnest_edge.SessionOptions(batch=2, streams=2)) as engine:
        alone = engine(scenes).probabilities
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda scene: engine(scene).probabilities[0], scenes * 5))
    np.testing.assert_allclose(found, np.tile(alone, (5, 1)), atol=1e-5)


def test_what_it_refuses(bundle: Path) -> None:
    engine = resnest_edge.load(bundle)
    assert isinstance(engine, resnest_edge.Session)
    with pytest.raises(InputError, match="no picture"):
        engine([])
    with pytest.raises(ImageError, match="uint8"):
        engine(np.zeros((2, 8, 8, 3), np.float32))
    with pytest.raises(InputError, match="96"):
        engine.run(np.zeros((1, 8, 8, 3), np.uint8))
    engine.close()
    engine.close()
    with pytest.raises(UsageError, match="closed"):
        engine(draw_scene("test", 0))


@pytest.mark.slow
def test_planar_engines_take_the_same_pictures(bundle: Path, tmp_path: Path) -> None:
    other = demo_bundle(tmp_path, input_format=InputFormat.FLOAT_NCHW)
    scenes = [draw_scene("test", index) for index in range(3)]
    with resnest_edge.load(other) as planar, resnest_edge.load(bundle) as engine:
        np.testing.assert_allclose(planar(scenes).probabilities, engine(scenes).probabilities, atol=1e-5)


def test_watching_with_a_real_engine(bundle: Path) -> None:
    async def main() -> list[resnest_edge.CameraResult]:
        return [result async for result in resnest_edge.watch(bundle, "demo:?fps=0&frames=40&hold=1", top_k=2)]

    results = asyncio.run(main())
    with resnest_edge.load(bundle) as engine:
        expected = engine([draw_scene("test", index) for index in range(40)]).top(2)
    assert [tuple(a.index for a in result.answers) for result in results] == [
        tuple(a.index for a in answers) for answers in expected
    ]


def test_closing_frees_the_engine(bundle: Path) -> None:
    """OpenVINO maps the weights' file: an engine that is not freed keeps a descriptor and its memory."""
    process, found = psutil.Process(), []
    for _ in range(4):
        engine = resnest_edge.load(bundle)
        engine(draw_scene("test", 0))
        engine.close()
        del engine
        gc.collect()
        found.append(process.num_fds())
    assert found[1:] == found[:1] * 3
