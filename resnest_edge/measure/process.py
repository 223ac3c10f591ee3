"""The parent's end of one worker process: JSON lines through a socket, with a time limit on every answer."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import tempfile
from types import TracebackType
from typing import Any

from resnest_edge import errors
from resnest_edge.errors import BundleError, ResnestEdgeError

# The worker finds modules exactly where this process finds them, whatever directory either was started in.
_BOOT = "import sys; sys.path[:] = sys.argv[2:]; from resnest_edge.measure.worker import serve; serve(int(sys.argv[1]))"

_TAIL_LINES = 15
_FAREWELL_SECONDS = 10.0


class WorkerProcess:
    """A process of its own for one bundle. It sleeps on its socket unless it is working on a request.

    Args:
        name: the bundle, as errors call it.

    Raises:
        BundleError: the operating system starts no more processes.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        with contextlib.ExitStack() as on_failure:
            # A file, because a pipe that nobody reads fills up and stops a talkative runtime.
            self._output = on_failure.enter_context(tempfile.TemporaryFile())
            ours, theirs = socket.socketpair()
            self._socket = on_failure.enter_context(ours)
            with theirs:
                self._process = self._start(theirs.fileno())
            self._answers = ours.makefile("rb")
            on_failure.pop_all()

    def _start(self, handle: int) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                [sys.executable, "-c", _BOOT, str(handle), *sys.path],
                pass_fds=[handle],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                start_new_session=True,  # Ctrl-C reaches the parent only, which then ends the worker
            )
        except OSError as exc:
            raise BundleError(f"no process could be started to measure it ({exc})", where=self.name) from exc

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def ask(self, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        """Send one request and wait for its answer, ``timeout`` seconds at most.

        Raises:
            ResnestEdgeError: what the worker raised, as the same class.
            BundleError: the worker died, naming how and the last lines of its output; or it did not answer in time.
        """
        self._socket.settimeout(timeout)
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            line = self._answers.readline()
        except TimeoutError as exc:
            raise self._silence(timeout) from exc
        except ConnectionError as exc:
            raise self._death() from exc
        if not line.endswith(b"\n"):
            raise self._death()
        answer = json.loads(line)
        if "error" in answer:
            raise _rebuilt(answer["error"], self.name)
        result: dict[str, Any] = answer["ok"]
        return result

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process and wait for it, so that no zombie is left; without an error it frees its engines first."""
        self._answers.close()
        self._socket.close()
        try:
            if kind is None:
                # A runtime that hangs while it is unloaded is killed below.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(_FAREWELL_SECONDS)
        finally:
            self._process.kill()
            self._process.wait()
            self._output.close()

    def _silence(self, timeout: float) -> BundleError:
        return BundleError(
            f"the process that measures it gave no answer within {timeout:.0f} s{self._last_words()}",
            where=self.name,
            hint="The engine hangs or loads very slowly; measure it alone to see which.",
        )

    def _death(self) -> BundleError:
        try:
            code = self._process.wait(_FAREWELL_SECONDS)
        except subprocess.TimeoutExpired:
            return BundleError(f"the process that measures it hung up{self._last_words()}", where=self.name)
        end = f"was ended by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
        hint = "Memory may have run out: measure fewer bundles or smaller batches at once."
        return BundleError(
            f"the process that measures it {end}{self._last_words()}",
            where=self.name,
            hint=hint if code == -signal.SIGKILL else None,
        )

    def _last_words(self) -> str:
        self._output.seek(0)
        lines = self._output.read().decode(errors="replace").strip().splitlines()[-_TAIL_LINES:]
        return "; it printed nothing" if not lines else "; the last it printed:\n  " + "\n  ".join(lines) + "\n"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _rebuilt(error: dict[str, Any], name: str) -> ResnestEdgeError:
    """The error a worker raised, as the same class of the error tree; ``where`` is the bundle unless it says more."""
    rebuilt: ResnestEdgeError = getattr(errors, error["kind"])(
        error["what"], where=error["where"] or name, hint=error["hint"]
    )
    return rebuilt
