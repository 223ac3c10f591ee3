"""A live table on stderr: sources, answers, latencies and counts. Where that is no terminal, changes of state only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from resnest_edge.camera.base import CameraResult, SourceCounts, SourceState
from resnest_edge.camera.sinks.record import counters_words
from resnest_edge.camera.sinks.tally import Counting, Tally, View

_COLOURS = {
    SourceState.STREAMING: "green",
    SourceState.ENDED: "dim",
    SourceState.FAILED: "bold red",
    SourceState.STALLED: "red",
}
_REFRESHES_PER_SECOND = 4
_WIDTH = 160


class LiveView:
    """Redraws a table four times a second, in a thread of its own; results cost it a dictionary entry each.

    Args:
        console: where to draw; stderr if not given.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.name = "live"
        self._console = console or Console(stderr=True, highlight=False)
        if not self._console.is_terminal:
            self._console.width = _WIDTH
        self._tally = Tally()
        self._states: dict[str, SourceState] = {}
        self._closed = False
        # stdout is left alone: JSON lines may be going there
        self._live = Live(
            get_renderable=self._render,
            console=self._console,
            refresh_per_second=_REFRESHES_PER_SECOND,
            redirect_stdout=False,
            vertical_overflow="crop",
        )
        if self._console.is_terminal:
            self._live.start()

    def watch(self, peers: Sequence[Counting]) -> None:
        """Show these sinks' counters below the table."""
        self._tally.watch(peers)

    def write(self, result: CameraResult) -> None:
        """Remember the result for the next redraw."""
        self._tally.add(result)

    def status(self, counts: Mapping[str, SourceCounts]) -> None:
        """Remember the accounts; without a terminal, tell of changed states."""
        self._tally.status(counts)
        for name, account in counts.items():
            if self._states.get(name) is not account.state and not self._console.is_terminal:
                self._console.print(Text(f"{name}: {account.state}"))
            self._states[name] = account.state

    def close(self) -> None:
        """Leave the last table on the screen."""
        if self._closed:
            return
        self._closed = True
        if self._live.is_started:
            self._live.stop()
        else:
            self._console.print(self._render())

    def _render(self) -> RenderableType:
        table = Table(box=None, pad_edge=False, header_style="bold", expand=False)
        table.add_column("source", no_wrap=True)
        table.add_column("state", no_wrap=True)
        table.add_column("answer", ratio=1, overflow="ellipsis", no_wrap=True)
        for heading in ("", "a second", "p50 ms", "p90 ms", "captured", "inferred", "dropped", "failed", "reconnects"):
            table.add_column(heading, justify="right", no_wrap=True)
        for name, view in self._tally.views().items():
            table.add_row(Text(name), *_cells(view))
        lines = [Text(f"{name}: {counters_words(values)}", "dim") for name, values in self._tally.counters().items()]
        return Group(table, *lines)


def _cells(view: View) -> list[Text]:
    counts, result = view.counts, view.result
    state = counts.state if counts else SourceState.CONNECTING
    best = result.answers[0] if result and result.answers else None
    label, share = (best.label, f"{100 * best.probability:.1f} %") if best else ("–" if result else "", "")
    latencies = ["" if value is None else f"{value:.1f}" for value in (view.p50_ms, view.p90_ms)]
    cells = [label, share, f"{view.rate:.1f}", *latencies]
    account = counts or SourceCounts(state)
    totals = (account.captured, account.inferred, account.dropped, account.failed, account.reconnects)
    return [Text(str(state), _COLOURS.get(state, "yellow")), *map(Text, cells), *(Text(str(total)) for total in totals)]
