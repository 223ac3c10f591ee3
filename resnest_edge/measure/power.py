"""Energy over a stretch of time, from whatever counter or gauge this machine has.

A source is a counter of joules (RAPL, NVML) or a gauge of watts (INA3221, tegrastats, nvidia-smi). Either way a
:class:`Meter` says how many joules were spent since it was made, and a :class:`Sampler` keeps asking it, so that a
gauge is integrated and a counter is seen before it wraps twice.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from types import TracebackType

from resnest_edge.errors import UnavailableError

INTERVAL_S = 0.1
"""Seconds between two samples: about as often as an INA3221 has a new value."""


@dataclass(frozen=True)
class Energy:
    """What was spent.

    Attributes:
        joules: energy.
        seconds: over which it was measured.
    """

    joules: float
    seconds: float


class Meter(ABC):
    """A source of power figures.

    Attributes:
        source: what it is and what it covers, such as ``INA3221 VDD_IN``.
    """

    def __init__(self, source: str) -> None:
        self.source = source

    @abstractmethod
    def joules(self, now: float) -> float:
        """Energy spent since the meter was made.

        Args:
            now: seconds of a clock that does not jump.

        Raises:
            UnavailableError: the source no longer answers.
        """

    def close(self) -> None:  # noqa: B027 - most sources hold nothing
        """Give back what the source holds."""


class Gauge(Meter):
    """Integrates a reading of watts over time by the trapezoidal rule.

    Args:
        source: what it is.
        watts: reads the present power.
        close: gives back what the reading holds.
    """

    def __init__(self, source: str, watts: Callable[[], float], close: Callable[[], None] | None = None) -> None:
        super().__init__(source)
        self.watts, self._close = watts, close
        self._last: tuple[float, float] | None = None
        self._total = 0.0

    def joules(self, now: float) -> float:
        watts = _read(self.source, self.watts)
        if self._last is not None:
            then, before = self._last
            self._total += (now - then) * (before + watts) / 2
        self._last = now, watts
        return self._total

    def close(self) -> None:
        if self._close is not None:
            self._close()


class Counter(Meter):
    """Adds up counters of joules, each of which starts again from zero beyond its range.

    Args:
        source: what it is.
        counters: each reads one counter.
        ranges: the value, in joules, at which each wraps; None for one that does not.
    """

    def __init__(
        self, source: str, counters: Sequence[Callable[[], float]], ranges: Sequence[float | None] | None = None
    ) -> None:
        super().__init__(source)
        self._counters, self._ranges = counters, ranges or [None] * len(counters)
        self._last = [_read(source, counter) for counter in counters]
        self._total = 0.0

    def joules(self, now: float) -> float:  # noqa: ARG002 - a counter needs no clock
        values = [_read(self.source, counter) for counter in self._counters]
        for value, last, limit in zip(values, self._last, self._ranges, strict=True):
            self._total += value - last if value >= last or limit is None else value + limit - last
        self._last = values
        return self._total


@dataclass(frozen=True)
class PowerSource:
    """What told the power: its name, or None and the reason."""

    source: str | None
    reason: str | None


class Sampler:
    """Asks a meter again and again from a thread of its own, and measures stretches of time.

    Args:
        meter: closed with the sampler; None where the machine has none, and then nothing is measured.
        reason: why there is none.
        interval: seconds between samples.
        clock: seconds.
    """

    def __init__(
        self,
        meter: Meter | None,
        reason: str = "",
        interval: float = INTERVAL_S,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._meter, self._interval, self._clock = meter, interval, clock
        self._lost = reason if meter is None else None
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._poll, name="power", daemon=True)

    def told(self) -> PowerSource:
        """What measured, or why nothing did."""
        meter = self._meter if self._lost is None else None
        return PowerSource(meter.source if meter else None, self._lost)

    def mark(self) -> tuple[float, float] | None:
        """Where the meter stands: (seconds, joules); None without a source, or once it is lost."""
        with self._lock:
            if self._meter is None or self._lost is not None:
                return None
            now = self._clock()
            try:
                return now, self._meter.joules(now)
            except UnavailableError as exc:
                self._lost = str(exc)
                return None

    def since(self, mark: tuple[float, float] | None) -> Energy | None:
        """What was spent since :meth:`mark` gave ``mark``; None where it or the source is lost."""
        end = self.mark()
        if mark is None or end is None:
            return None
        return Energy(end[1] - mark[1], end[0] - mark[0])

    def _poll(self) -> None:
        while not self._stop.wait(self._interval):
            if self.mark() is None:
                return

    def __enter__(self) -> Sampler:
        if self._meter is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._meter is not None:
            self._thread.join()
            self._meter.close()


def mean_watts(spent: Sequence[Energy | None]) -> float | None:
    """Mean power over several stretches; None where one of them was not measured or none lasted."""
    measured = [energy for energy in spent if energy is not None]
    seconds = sum(energy.seconds for energy in measured)
    if len(measured) < len(spent) or seconds <= 0:
        return None
    return sum(energy.joules for energy in measured) / seconds


def _read(source: str, reading: Callable[[], float]) -> float:
    try:
        return reading()
    except (OSError, ValueError) as exc:
        raise UnavailableError(f"{source} no longer answers ({exc})") from exc
