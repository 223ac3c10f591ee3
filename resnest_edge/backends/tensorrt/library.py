"""The one file that imports TensorRT. Its bindings carry no types, so what it hands out is ``Any``."""

from __future__ import annotations

import importlib
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from resnest_edge.backends.tensorrt.flavours import Flavour
from resnest_edge.errors import UnavailableError


def load_library(flavour: Flavour) -> Any:
    """Import the flavour's module.

    Raises:
        UnavailableError: it is not installed, does not load, or is of a version this adapter is not written for.
    """
    hint = f"Install it with: pip install 'resnest-edge[{flavour.extra}]'.{flavour.elsewhere}"
    try:
        library = importlib.import_module(flavour.module)
    except ModuleNotFoundError as exc:
        if exc.name != flavour.module:
            raise _broken(flavour, exc, hint) from exc
        raise UnavailableError(f"{flavour.product} is not installed", hint=hint) from exc
    except (ImportError, OSError) as exc:
        raise _broken(flavour, exc, hint) from exc
    version = str(library.__version__)
    if int(version.partition(".")[0]) not in flavour.majors:
        known = " and ".join(str(major) for major in flavour.majors)
        raise UnavailableError(
            f"{flavour.product} {version} is not supported", hint=f"This release is written for version {known}."
        )
    return library


class Messages:
    """What the runtime said, warnings and errors only.

    Attributes:
        errors: in the order they came.
        warnings: how often each was given.
    """

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.warnings: Counter[str] = Counter()

    def reason(self) -> str:
        """The errors so far, each once, for a message."""
        return "; ".join(dict.fromkeys(self.errors)) or "it gave no reason"

    def add(self, severity: str, text: str) -> None:
        """Keep one message; ``severity`` is the vendor's word."""
        if severity in ("ERROR", "INTERNAL_ERROR"):
            self.errors.append(text.strip())
        elif severity == "WARNING":
            self.warnings[text.strip()] += 1


def make_logger(library: Any, messages: Messages) -> Any:
    """The vendor's ``ILogger`` that writes into ``messages``."""

    class Logger(library.ILogger):  # type: ignore[misc]  # the bindings carry no types
        def __init__(self) -> None:
            library.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            messages.add(severity.name, msg)

    return Logger()


def make_monitor(library: Any, stop: threading.Event, progress: Callable[[str, int, int | None], None] | None) -> Any:
    """The vendor's ``IProgressMonitor``: tells ``progress``, and ends a build once ``stop`` is set.

    The runtime calls it from its own threads, for phases within phases; each is a stage under its own name.
    """

    class Monitor(library.IProgressMonitor):  # type: ignore[misc]  # the bindings carry no types
        def __init__(self) -> None:
            library.IProgressMonitor.__init__(self)
            self._totals: dict[str, int] = {}
            self._told: set[str] = set()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:  # noqa: ARG002
            self._totals[phase_name] = num_steps

        def phase_finish(self, phase_name: str) -> None:
            total = self._totals.pop(phase_name, 1)
            if progress is not None and phase_name in self._told:
                progress(phase_name, total, total)

        def step_complete(self, phase_name: str, step: int) -> bool:
            total = self._totals.get(phase_name)
            if progress is not None and total is not None and total > 1:  # phases without steps stay silent
                self._told.add(phase_name)
                progress(phase_name, min(step + 1, total), total)
            return not stop.is_set()

    return Monitor()


def _broken(flavour: Flavour, exc: BaseException, hint: str) -> UnavailableError:
    return UnavailableError(f"{flavour.product} is installed but does not load ({exc})", hint=hint)
