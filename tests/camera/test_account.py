"""The law of the account: captured = inferred + dropped + failed, whatever sources, pictures and engines do."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from resnest_edge.camera.capture import CapturePolicy
from resnest_edge.camera.sources import Damage, Picture
from resnest_edge.camera.stream import Stream, StreamOptions
from resnest_edge.errors import InputError, UnavailableError
from tests.camera.fakes import Best, Item, Kept, ScriptedSource, balanced, engine, run
from tests.support.video import stamped

EAGER = CapturePolicy(backoff=0.001, most=0.002)


@st.composite
def scripts(draw: st.DrawFn) -> list[list[str]]:
    """Openings of a source: pictures, bad pictures, damage, and how each opening ends."""
    kinds = st.lists(st.sampled_from(["picture", "picture", "bad", "damage"]), max_size=12)
    return draw(st.lists(st.tuples(kinds, st.sampled_from(["end", "lost"])).map(lambda t: [*t[0], t[1]]), max_size=5))


@settings(max_examples=40)
@given(st.lists(st.tuples(scripts(), st.booleans()), min_size=1, max_size=3), st.integers(1, 3), st.booleans())
def test_the_account_closes_whatever_happens(
    plans: list[tuple[list[list[str]], bool]], queue: int, flaky: bool
) -> None:
    def script(openings: list[list[str]]) -> ScriptedSource:
        def items(opening: int) -> Iterable[Item]:
            if opening >= len(openings):
                raise InputError("gone for good")
            for kind in openings[opening]:
                if kind == "picture":
                    yield Picture(stamped(1, 16, 16))
                elif kind == "bad":
                    yield Picture(np.zeros((0, 1, 3), np.uint8))
                elif kind == "damage":
                    yield Damage("refused")
                elif kind == "lost":
                    raise UnavailableError("lost")

        return ScriptedSource("", items, endless=True)

    sources = []
    for place, (openings, live) in enumerate(plans):
        source = script(openings)
        source.name, source.live = str(place), live
        sources.append(source)
    calls = iter(range(10**6))

    def behave() -> None:
        if flaky and next(calls) % 2:
            raise RuntimeError("flaky")

    kept = Kept()
    summary = run(Stream(engine((1, 2, 4), behave), sources, Best(), [kept], StreamOptions(queue=queue, capture=EAGER)))
    assert balanced(summary)
    for place, (openings, live) in enumerate(plans):
        counts = summary.sources[str(place)]
        flat = [kind for opening in openings for kind in opening]
        assert counts.captured == flat.count("picture") + flat.count("bad")
        assert counts.corrupt == flat.count("damage") and counts.reconnects == len(openings)
        assert counts.inferred == len(kept.ids(str(place)))
        assert kept.ids(str(place)) == sorted(set(kept.ids(str(place))))
        if not live:
            assert counts.dropped == 0
        if not live and not flaky:
            assert counts.failed == flat.count("bad")
