"""The one file that imports TensorRT. Its bindings carry no types, so what it hands out is ``Any``."""

from __future__ import annotations

import importlib
import threading
from collections import Counter
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


def make_monitor(library: Any, stop: threading.Event) -> Any:
    """The vendor's ``IProgressMonitor`` that ends a build after its current step once ``stop`` is set."""

    class Monitor(library.IProgressMonitor):  # type: ignore[misc]  # the bindings carry no types
        def __init__(self) -> None:
            library.IProgressMonitor.__init__(self)

        def phase_start(self, *_: Any) -> None: ...

        def phase_finish(self, *_: Any) -> None: ...

        def step_complete(self, *_: Any) -> bool:
            return not stop.is_set()

    return Monitor()


def _broken(flavour: Flavour, exc: BaseException, hint: str) -> UnavailableError:
    return UnavailableError(f"{flavour.product} is installed but does not load ({exc})", hint=hint)
