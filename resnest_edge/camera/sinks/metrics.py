"""A run's numbers for Prometheus. Names and labels are documented in docs/sinks.md and stay as they are."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from resnest_edge.camera.base import CameraResult, SourceState
from resnest_edge.camera.sinks.tally import Tally, View

_PREFIX = "resnest_edge"
_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_COUNTS = {
    "captured": "Frames decoded.",
    "inferred": "Frames answered.",
    "dropped": "Frames given up for newer ones.",
    "failed": "Frames whose preprocessing or inference failed.",
}


class Metrics:
    """A registry of its own: what a run counts, and what its results told.

    Args:
        tally: has the accounts of the sources and of the other sinks.
    """

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self._latency = Histogram(
            f"{_PREFIX}_latency_seconds",
            "Time a frame spends in each stage; total is from capture to answer.",
            ("source", "stage"),
            buckets=_BUCKETS_S,
            registry=self._registry,
        )
        self._answers = Counter(
            f"{_PREFIX}_answers", "Frames by the label that came first.", ("source", "label"), registry=self._registry
        )

    def add(self, result: CameraResult) -> None:
        """Take one result."""
        source = result.frame.source
        for stage, value in result.latency_ms.items():
            self._latency.labels(source, stage).observe(value / 1000.0)
        if result.answers:
            self._answers.labels(source, result.answers[0].label).inc()

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """The text and its content type, in the format that an ``Accept`` header asks for."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def collect(self) -> Iterator[Metric]:
        """Metrics that are read when somebody asks for them; what Prometheus calls a collector."""
        views = self._tally.views()
        for key, words in _COUNTS.items():
            yield _totals(f"{_PREFIX}_frames_{key}", words, views, key)
        yield _totals(f"{_PREFIX}_reconnects", "Times a source was opened again.", views, "reconnects")
        yield _totals(f"{_PREFIX}_corrupt_packets", "Packets that the decoder refused.", views, "corrupt")
        state = GaugeMetricFamily(
            f"{_PREFIX}_source_state", "1 for the state a source is in, else 0.", labels=("source", "state")
        )
        bundle = GaugeMetricFamily(
            f"{_PREFIX}_bundle_info", "1 for the bundle that answered a source last.", labels=("source", "bundle")
        )
        for name, view in views.items():
            if view.counts is not None:
                for each in SourceState:
                    state.add_metric((name, str(each)), float(view.counts.state is each))
            if view.result is not None:
                bundle.add_metric((name, view.result.bundle), 1.0)
        yield state
        yield bundle
        yield self._sinks()

    def _sinks(self) -> Metric:
        family = CounterMetricFamily(
            f"{_PREFIX}_sink_results", "Results by what became of them in another sink.", labels=("sink", "outcome")
        )
        for sink, counters in self._tally.counters().items():
            for outcome, value in counters.items():
                if outcome != "queued":  # not a total
                    family.add_metric((sink, outcome), float(value))
        return family


def _totals(name: str, words: str, views: dict[str, View], key: str) -> Metric:
    family = CounterMetricFamily(name, words, labels=("source",))
    for source, view in views.items():
        if view.counts is not None:
            family.add_metric((source,), float(getattr(view.counts, key)))
    return family
