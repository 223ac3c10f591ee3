"""Entry point: run the app and turn what goes wrong into one message and the documented exit code."""

from __future__ import annotations

import sys
import tempfile
import traceback
from pathlib import Path

from resnest_edge.cli.app import app
from resnest_edge.cli.console import complain
from resnest_edge.errors import ResnestEdgeError, UnavailableError

PROGRAM = "resnest-edge"
BUG = 70

EXTRA_OF = {
    **dict.fromkeys(
        ("torch", "onnx", "onnx_ir", "onnxscript", "onnxsim", "safetensors", "ml_dtypes", "google"), "export"
    ),
    **dict.fromkeys(("av", "prometheus_client"), "camera"),
    "onnxruntime": "cpu",
    "openvino": "cpu",
    "cryptography": "sign",
    "ray": "ray",
}
"""Which extra installs a library that part of a command cannot do without."""


def main() -> None:
    """Run the command line and exit: 0 done, 1 a gate failed, 2 wrong usage or input, 3 something missing,
    4 a bundle does not fit, 70 a bug, 130 interrupted.
    """
    try:
        _run()
    except ResnestEdgeError as exc:
        complain(str(exc))
        sys.exit(exc.exit_code)
    except Exception as exc:  # noqa: BLE001 - the last line of defence: a user gets one line, the log the rest
        complain(f"this is a bug in resnest-edge ({type(exc).__name__}: {exc}). Please report it with {_log(exc)}")
        sys.exit(BUG)


def _run() -> None:
    try:
        app(prog_name=PROGRAM)
    except ModuleNotFoundError as exc:
        library = (exc.name or "").partition(".")[0]
        if library not in EXTRA_OF:
            raise
        raise UnavailableError(
            f"this needs {library}, which is not installed",
            hint=f"Install it with: pip install 'resnest-edge[{EXTRA_OF[library]}]'.",
        ) from exc


def _log(exc: Exception) -> Path:
    """Write the traceback where the user can find it."""
    with tempfile.NamedTemporaryFile(
        "w", prefix="resnest-edge-", suffix=".log", delete=False, encoding="utf-8"
    ) as stream:
        stream.write(" ".join(sys.argv) + "\n")
        traceback.print_exception(exc, file=stream)
    return Path(stream.name)
