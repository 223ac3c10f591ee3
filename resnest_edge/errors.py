"""Every error resnest-edge raises on purpose, and the exit code each one ends the command line with.

    ResnestEdgeError                 70  base class; never raised itself
    ├── GateError                     1  a measured value crossed the line the user drew
    │   └── ParityError               1  two forms of one network disagree
    ├── SweepError                    1  cells of a sweep failed; each says why in its row
    ├── UsageError                    2  the options contradict each other or name something unknown
    ├── InputError                    2  a file or value given to us cannot be used
    │   ├── ImageError                2  an image or image folder
    │   ├── CheckpointError           2  a weights file
    │   ├── GraphError                2  an ONNX model
    │   └── ScalesError               2  calibration scales
    ├── OutputError                   2  the place to write to: exists, full, or not writable
    ├── UnavailableError              3  a runtime, device or download that is not here
    └── BundleError                   4  an engine bundle
        ├── BundleDamagedError        4  bytes differ from the manifest
        ├── BundleUntrustedError      4  not signed by the trusted key
        └── BundleMisfitError         4  whole, but built for something else

Every error says what was wrong, where, and what to do next. Library exceptions are mapped once, at the
edge where the library is called: ``raise ImageError(...) from exc``.
"""

from __future__ import annotations

from typing import ClassVar


class ResnestEdgeError(Exception):
    """Base of all deliberate errors.

    Args:
        what: what is wrong, as a sentence without a final full stop.
        where: the file, layer or option concerned, when ``what`` does not name it.
        hint: what the user can do next, as a sentence.
    """

    exit_code: ClassVar[int] = 70

    def __init__(self, what: str, *, where: object | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = None if where is None else str(where)
        self.hint = hint

    def __str__(self) -> str:
        text = self.what if self.where is None else f"{self.where}: {self.what}"
        return text if self.hint is None else f"{text}. {self.hint}"

    def renamed(self, old: str, new: str) -> ResnestEdgeError:
        """The same error, with one path put in the place of another wherever it is named."""
        where, hint = (text and text.replace(old, new) for text in (self.where, self.hint))
        return type(self)(self.what.replace(old, new), where=where, hint=hint)


class GateError(ResnestEdgeError):
    """A measured value crossed the line the user drew."""

    exit_code = 1


class ParityError(GateError):
    """Two forms of one network disagree by more than rounding."""


class SweepError(ResnestEdgeError):
    """Cells of a sweep failed; each says why in its row."""

    exit_code = 1


class UsageError(ResnestEdgeError):
    """The options contradict each other or name something unknown."""

    exit_code = 2


class InputError(ResnestEdgeError):
    """A file or value given to us cannot be used."""

    exit_code = 2


class ImageError(InputError):
    """An image, image folder or image list cannot be used."""


class CheckpointError(InputError):
    """A weights file cannot be read or does not fit the network."""


class GraphError(InputError):
    """An ONNX model cannot be read, or is not something this stage can work on."""


class ScalesError(InputError):
    """Calibration scales cannot be read, or belong to another graph."""


class OutputError(ResnestEdgeError):
    """The place to write to exists already, is full, or is not writable."""

    exit_code = 2


class UnavailableError(ResnestEdgeError):
    """A runtime, device or download that this needs is not here."""

    exit_code = 3


class BundleError(ResnestEdgeError):
    """An engine bundle cannot be used."""

    exit_code = 4


class BundleDamagedError(BundleError):
    """A bundle's bytes differ from its manifest, or the manifest cannot be read."""


class BundleUntrustedError(BundleError):
    """A bundle is not signed, or not by the key that was trusted."""


class BundleMisfitError(BundleError):
    """A bundle is whole but was built for another machine, runtime or version."""
