"""One way to say that a sink cannot write."""

from __future__ import annotations

import errno

from resnest_edge.errors import OutputError


def sink_error(where: object, number: int | None, words: str | None) -> OutputError:
    """What the operating system refused a sink.

    Args:
        where: the file or address.
        number: errno, if known.
        words: the system's own.
    """
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return OutputError("the disk is full", where=where, hint="Free some space, or choose another place.")
    return OutputError(f"cannot be written ({words or 'unknown error'})", where=where, hint="Choose another place.")
