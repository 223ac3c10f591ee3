"""The search: what replaces what, on a bench whose clock is made up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resnest_edge.errors import UsageError
from resnest_edge.measure.statistics import median_interval
from resnest_edge.models.config import ResNeStConfig
from resnest_edge.models.resnest import ResNeSt
from resnest_edge.pipeline.choice import Choice
from resnest_edge.pipeline.sources import Source
from resnest_edge.quantize.alternatives import vary, words
from resnest_edge.quantize.placement import FUSING, POOLS, Placement
from resnest_edge.search.tune import TOGETHER, Axis, Change, Timing, tune
from resnest_edge.search.tuning import make_axes, stage_forms
from resnest_edge.spec import Form, Preprocessing, QdqStyle

SPLIT, DENSE = Choice(Form.SPLIT), Choice(Form.DENSE)
FORMS = {name: Choice(Form.parse(name)) for name in ("split", "grouped", "dense", "split-dense")}
OWN = Placement(QdqStyle.CPU, outputs=True, output_readers=FUSING, elementwise=POOLS)
ROUNDS = 12


class Clock:
    """Every choice takes its own time; the machine drifts from round to round, for all alike.

    Args:
        ms: time of a choice.
        jitter: a factor for each choice and round, on top.
        change: what a choice does to the answers.
    """

    def __init__(
        self,
        ms: Callable[[Choice], float],
        jitter: Callable[[Choice, int], float] = lambda _, __: 1.0,
        change: Callable[[Choice], Change | None] = lambda _: None,
    ) -> None:
        self._ms, self._jitter, self.change = ms, jitter, change
        self.runs: list[list[str]] = []

    def time(self, choices: Sequence[Choice]) -> list[Timing]:
        self.runs.append([str(choice) for choice in choices])
        drift = [1 + 0.4 * (place % 5) for place in range(ROUNDS)]
        return [
            Timing(
                self._ms(choice),
                tuple(1e3 / (self._ms(choice) * drift[r] * self._jitter(choice, r)) for r in range(ROUNDS)),
            )
            for choice in choices
        ]


def source(radix: int) -> Source:
    """A tiny network that is only looked at."""
    config = ResNeStConfig((1, 1, 1, 1), radix=radix, stem_width=4, planes=(8, 8, 8, 8))

    def never(_: Form) -> Any:
        raise AssertionError("nothing is exported here")

    return Source("tiny", Preprocessing(), 10, never, load=lambda: ResNeSt(config, 10))


def rivals(*names: str) -> Axis:
    return Axis("form", lambda _: [FORMS[name] for name in names])


def of(**times: float) -> Callable[[Choice], float]:
    return lambda choice: times[str(choice).replace("-", "_")]


def test_the_fastest_wins_and_is_measured_once_more() -> None:
    clock = Clock(of(split=10.0, grouped=9.0, dense=8.0))
    found = tune(SPLIT, [rivals("split", "grouped", "dense")], clock)
    assert found.choice == DENSE
    assert found.ratio is not None and found.ratio[0] == pytest.approx(0.8)
    assert clock.runs == [["split", "grouped", "dense"], ["split", "dense"]]
    assert [(trial.form, trial.chosen, trial.why) for trial in found.trials] == [
        ("grouped", False, "faster, but not the fastest"),
        ("dense", True, "the fastest"),
        ("dense", True, "the fastest"),
    ]
    assert found.trials[-1].axis == TOGETHER
    assert (found.trials[1].ms, found.trials[1].against_ms) == (8.0, 10.0)


@pytest.mark.parametrize(
    ("dense", "why"), [(9.95, "no faster than noise"), (10.0, "not faster"), (10.05, "not faster"), (12.0, "slower")]
)
def test_what_is_not_faster_by_more_than_noise_replaces_nothing(dense: float, why: str) -> None:
    clock = Clock(of(split=10.0, dense=dense))
    found = tune(SPLIT, [rivals("dense")], clock)
    assert found.choice == SPLIT and found.ratio is None
    assert [trial.why for trial in found.trials] == [why]
    assert len(clock.runs) == 1, "what was kept needs no second look"


def test_a_gain_in_fewer_rounds_than_the_interval_asks_for_is_no_gain() -> None:
    """Faster by a fifth in 9 rounds of 12 and slower in 3: the interval of the median reaches beyond 1."""
    clock = Clock(of(split=10.0, dense=8.0), jitter=lambda choice, r: 1.5 if choice == DENSE and r % 4 == 0 else 1.0)
    found = tune(SPLIT, [rivals("dense")], clock)
    assert found.choice == SPLIT
    (trial,) = found.trials
    assert trial.ratio == pytest.approx(0.8) and trial.ratio_ci95[1] == pytest.approx(1.2)


def test_a_lucky_choice_is_found_out() -> None:
    """Fast in the first run and slow in the second: what the search began with stays."""
    clock = Clock(of(split=10.0, dense=10.0), jitter=lambda _, __: 1.0)
    clock._ms = lambda choice: 8.0 if choice == DENSE and len(clock.runs) == 1 else 10.0
    found = tune(SPLIT, [rivals("dense")], clock)
    assert found.choice == SPLIT and found.ratio is None
    assert [(trial.axis, trial.chosen) for trial in found.trials] == [("form", True), (TOGETHER, False)]


def test_each_axis_starts_from_what_the_last_one_chose() -> None:
    start, axes = Choice(Form.SPLIT), make_axes(source(2), None)
    assert [axis.name for axis in axes] == ["stage 1", "stage 2", "stage 3", "stage 4", "pool"]
    gains = {"grouped": 0.9, "dense": 1.2, "split": 1.0}

    def ms(choice: Choice) -> float:
        time = 10.0
        for stage in choice.form.stages:
            time *= gains[str(stage)]
        return time * (0.95 if choice.form.early_pool else 1.0)

    found = tune(start, axes, Clock(ms))
    assert str(found.choice) == "grouped+early-pool"
    assert found.ratio is not None and found.ratio[0] == pytest.approx(0.9**4 * 0.95)
    assert [trial.against_form for trial in found.trials if trial.axis.startswith("stage")] == [
        *["split"] * 2,
        *["grouped/split/split/split"] * 2,
        *["grouped/grouped/split/split"] * 2,
        *["grouped/grouped/grouped/split"] * 2,
    ]


@given(st.lists(st.floats(1, 100), min_size=4, max_size=4))
def test_the_choice_is_never_slower_than_the_start_and_no_candidate_beats_it(times: list[float]) -> None:
    named = dict(zip(FORMS, times, strict=True))
    found = tune(SPLIT, [rivals(*FORMS)], Clock(lambda choice: named[str(choice)]))
    chosen = named[str(found.choice)]
    assert chosen <= named["split"]
    assert chosen * 0.985 <= min(times)  # within what counts as noise


def lossy(db: float, low: float, high: float) -> Callable[[Choice], Change | None]:
    return lambda choice: None if choice == SPLIT else Change(db, (low, high))


@pytest.mark.parametrize(
    ("placement", "change", "max_loss", "taken"),
    [
        (False, (-0.1, -0.5, 0.3), None, True),  # a form that is not measurably worse
        (False, (-0.4, -0.7, -0.1), None, False),  # a form that INT8 makes measurably worse
        (False, (-0.4, -0.7, -0.1), 0.2, True),  # the interval reaches into what is allowed
        (True, (-0.1, -0.5, 0.3), 0.2, False),  # a placement that may lose more than is allowed
        (True, (-0.1, -0.19, 0.3), 0.2, True),  # a placement that is shown to hold
        (True, (-3.0, -4.0, -2.0), 1.0, False),
    ],
)
def test_accuracy_is_held(
    placement: bool, change: tuple[float, float, float], max_loss: float | None, taken: bool
) -> None:
    axis = Axis("axis", lambda _: [DENSE], placement=placement)
    found = tune(SPLIT, [axis], Clock(of(split=10.0, dense=5.0), change=lossy(*change)), max_loss=max_loss)
    assert (found.choice == DENSE) is taken
    assert found.trials[0].sqnr_change_db == change[0] and found.trials[0].sqnr_change_ci95 == change[1:]
    assert taken or "lose" in found.trials[0].why


def test_without_rivals_nothing_is_measured() -> None:
    clock = Clock(of(split=1.0))
    assert tune(SPLIT, [Axis("none", lambda incumbent: [incumbent])], clock).trials == ()
    assert clock.runs == []


@pytest.mark.parametrize(
    ("radix", "cardinality", "names"),
    [
        (0, 32, ["split"]),
        (1, 1, ["split"]),
        (1, 4, ["split", "dense"]),
        (2, 1, ["split", "grouped", "dense"]),
        (4, 2, ["split", "split-dense", "grouped", "dense"]),
    ],
)
def test_forms_that_are_one_graph_are_measured_once(radix: int, cardinality: int, names: list[str]) -> None:
    config = ResNeStConfig((1, 1, 1, 1), radix=radix, cardinality=cardinality)
    assert [str(form) for form in stage_forms(config)] == names


def test_a_network_of_one_form_has_nothing_to_choose() -> None:
    with pytest.raises(UsageError, match=r"nothing to choose between for tiny.*--max-loss"):
        make_axes(source(0), None)
    assert [axis.name for axis in make_axes(source(0), OWN)] == ["outputs", "elementwise", "first", "last"]
    assert [axis.name for axis in make_axes(source(1), None)] == ["pool"]


def test_placements_that_are_the_targets_own_are_no_rivals() -> None:
    axes = {axis.name: axis for axis in make_axes(source(0), OWN)}
    assert [str(rival) for rival in axes["outputs"].rivals(SPLIT)] == ["split outputs=none", "split outputs=all"]
    assert [str(rival) for rival in axes["elementwise"].rivals(Choice(Form.SPLIT, ("first=float",)))] == [
        "split elementwise=none first=float",
        "split elementwise=all first=float",
    ]
    assert all(axis.placement for axis in axes.values())


def test_words_vary_a_placement_each_on_its_own_axis() -> None:
    varied = vary(OWN, ["outputs=all", "elementwise=none", "first=float", "last=float"], ["stem.conv1", "a", "fc"])
    assert varied.outputs and varied.output_readers is None and varied.elementwise == frozenset()
    assert varied.keep_float == {"stem.conv1", "fc"}
    assert vary(OWN, [], ["a"]) == OWN
    assert len(set(words())) == len(words()) == 8
    for bad in (["outputs"], ["outputs=some"], ["middle=float"], ["outputs=all", "outputs=none"]):
        with pytest.raises(UsageError, match="is not known"):
            vary(OWN, bad, ["a"])


@pytest.mark.parametrize(("count", "rank"), [(6, 1), (8, 1), (9, 2), (12, 3), (15, 4), (20, 6), (25, 8)])
def test_the_interval_of_a_median_is_that_of_the_tables(count: int, rank: int) -> None:
    """Ranks as in Conover's and Hollander's tables of the sign test, at 95 %."""
    values = [float(value) for value in range(1, count + 1)]
    assert median_interval(values[::-1]) == ((count + 1) / 2, (rank, count + 1 - rank))


@given(st.lists(st.floats(0.1, 10), min_size=6, max_size=40))
def test_a_median_lies_in_its_interval_and_one_outlier_does_not_matter(values: list[float]) -> None:
    median, (low, high) = median_interval(values)
    assert min(values) <= low <= median <= high <= max(values)
    outlier = [*sorted(values)[:-1], 1e9]
    assert median_interval(outlier)[1][0] == low


def test_too_few_rounds_have_no_interval() -> None:
    with pytest.raises(UsageError, match=r"5 rounds give no 95 % interval. Use at least 6"):
        median_interval([1.0] * 5)
