"""A second build: what is unchanged is reused and told, what changed is made, and the bits are those of no cache."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from resnest_edge.errors import ImageError
from resnest_edge.graph.model import digest, load_graph, save_graph
from resnest_edge.images import sample
from resnest_edge.pipeline import calibrated
from resnest_edge.pipeline.calibrated import Calibrated, open_network
from resnest_edge.pipeline.export import export
from resnest_edge.pipeline.pictures import Pictures, open_pictures
from resnest_edge.pipeline.plan import BuildRequest
from resnest_edge.pipeline.progress import silent
from resnest_edge.pipeline.runtimes import backend_for
from resnest_edge.pipeline.sources import PreprocessingChoice, find_source
from resnest_edge.spec import Form, Precision, Target
from resnest_edge.stage_cache import StageCache
from tests.support.foreign import write_foreign
from tests.support.scenes import write_scenes

GRAPH, STATISTICS, SCALES = "the graph of", "the statistics of", "the scales of"


@pytest.fixture
def asked(tmp_path: Path) -> BuildRequest:
    """A foreign model's INT8 graph, calibrated on ten scenes."""
    return BuildRequest(
        what=str(write_foreign(tmp_path / "model.onnx")),
        choice=PreprocessingChoice(resize="36", mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), color="rgb"),
        precisions=(Precision.INT8,),
        targets=(Target.OPENVINO,),
        images=str(write_scenes(tmp_path / "pictures", "test", 20)),
        calib_images=10,
        out=tmp_path / "out",
        force=True,
    )


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[StageCache]:
    yield StageCache(tmp_path / "stages")
    assert [path.name for path in (tmp_path / "stages").iterdir() if path.name.startswith(".")] == []


def exported(request: BuildRequest, cache: StageCache | None) -> tuple[str, list[str]]:
    """The digest of what was written, and the stages reused, by the first words of each."""
    known = StageCache(cache.folder) if cache else None
    (bundle,) = export(replace(request, cache=known))
    reused = known.reused if known else []
    return bundle.manifest.files["model.onnx"], [" ".join(text.split()[:3]) for text in reused]


def test_an_unchanged_build_reuses_everything_and_the_bits_are_the_same(
    asked: BuildRequest, cache: StageCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    without, _ = exported(asked, None)
    first, nothing = exported(asked, cache)

    def broken(*_: object, **__: object) -> None:
        raise AssertionError("calibrated again")

    monkeypatch.setattr(calibrated, "calibrate", broken)
    monkeypatch.setattr(Calibrated, "_choose", broken)
    second, reused = exported(asked, cache)
    assert without == first == second
    assert nothing == [] and reused == [GRAPH, STATISTICS, SCALES]


def test_where_things_stand_does_not_matter(asked: BuildRequest, cache: StageCache, tmp_path: Path) -> None:
    first, _ = exported(asked, cache)
    shutil.copytree(str(asked.images), tmp_path / "moved")
    moved = replace(asked, images=str(tmp_path / "moved"), out=tmp_path / "another")
    assert exported(moved, cache) == (first, [GRAPH, STATISTICS, SCALES])


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"method": "max"}, [GRAPH, STATISTICS]),
        ({"bias_correction": False}, [GRAPH, STATISTICS]),
        ({"weight_bits": 7}, [GRAPH, STATISTICS]),
        ({"calib_images": 9}, [GRAPH]),
        ({"seed": 1}, [GRAPH]),
        ({"targets": (Target.ONNXRUNTIME,)}, [GRAPH, STATISTICS]),  # of this network, both observe the same tensors
        ({"precisions": (Precision.FP32,)}, [GRAPH]),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_what_changed_is_made_and_equals_that_of_no_cache(
    asked: BuildRequest, cache: StageCache, changed: dict[str, object], expected: list[str]
) -> None:
    exported(asked, cache)
    other = replace(asked, **changed)  # type: ignore[arg-type]
    found, reused = exported(other, cache)
    assert reused == expected
    assert found == exported(other, None)[0]


def test_other_preprocessing_is_calibrated_anew(asked: BuildRequest, cache: StageCache) -> None:
    exported(asked, cache)
    other = replace(asked, choice=replace(asked.choice, resize="32"))
    assert exported(other, cache) == (exported(other, None)[0], [GRAPH])


def test_one_changed_picture_is_noticed(asked: BuildRequest, cache: StageCache) -> None:
    exported(asked, cache)
    pictures = sorted(Path(str(asked.images)).rglob("*.png"))
    for picture in pictures:
        picture.write_bytes(pictures[0].read_bytes())
    assert exported(asked, cache) == (exported(asked, None)[0], [GRAPH])


def test_a_damaged_picture_still_fails(asked: BuildRequest, cache: StageCache) -> None:
    exported(asked, cache)
    for picture in Path(str(asked.images)).rglob("*.png"):
        picture.write_bytes(b"no picture")
    with pytest.raises(ImageError):
        exported(asked, cache)


def test_bad_pictures_are_named_from_the_cache_too(asked: BuildRequest, cache: StageCache) -> None:
    """They are warned of in every build, reused or not."""
    pictures = sorted(Path(str(asked.images)).rglob("*.png"))
    pictures[3].write_bytes(b"no picture")
    request = replace(asked, skip_bad=True, calib_images=20)
    source = find_source(request.what, choice=request.choice)
    images = sample(open_pictures(str(request.images), None), request.calib_images, request.seed)
    found = []
    for _ in range(2):
        again = replace(request, cache=StageCache(cache.folder))
        ready = Calibrated(open_network(again, source, silent), again, Pictures(images, None, ""), silent)
        ready.prepare([backend_for(Target.OPENVINO)])
        found.append(ready.skipped)
    assert found[0] == found[1] and len(found[0]) == 1


def test_an_exported_core_comes_back_as_it_was(tmp_path: Path) -> None:
    """Scales belong to a graph by its digest, and what is written from it must be the same to the last byte."""
    core = find_source(None).make_core(Form.SPLIT)
    save_graph(core, tmp_path / "core.onnx")
    assert digest(load_graph(tmp_path / "core.onnx")) == digest(core)
