"""A thread of the stream whose bug ends the run instead of vanishing with the thread."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from resnest_edge.camera.account import Account


@dataclass(frozen=True)
class Shared:
    """What all threads of a run share.

    Attributes:
        account: counts and states.
        tell: told what a person would want to know; called from any thread.
        crashed: told of an exception that nobody handled, on the thread that it ended.
        begins: by source, numbers of the first frame after each opening that the answers have not come to yet:
            smoothing begins anew there.
    """

    account: Account
    tell: Callable[[str], None]
    crashed: Callable[[Exception], None]
    begins: dict[str, deque[int]] = field(default_factory=lambda: defaultdict(deque))


class Worker(threading.Thread, ABC):
    """Runs :meth:`work`; an exception that it does not handle goes to ``shared.crashed``.

    Args:
        name: of the thread, for debuggers.
        shared: what it shares with the others.
    """

    def __init__(self, name: str, shared: Shared) -> None:
        super().__init__(name=name, daemon=True)  # a source that ignores every interruption must not keep us alive
        self._shared, self._account, self._tell = shared, shared.account, shared.tell

    @abstractmethod
    def work(self) -> None:
        """What the thread does."""

    def run(self) -> None:
        """Called by the thread itself."""
        try:
            self.work()
        except Exception as exc:  # noqa: BLE001 - handed on whole: the thread that runs the stream raises it
            self._shared.crashed(exc)
