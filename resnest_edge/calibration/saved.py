"""Statistics as a file, so that a later build need not run the images again: an npz without pickled objects."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from resnest_edge.calibration.collect import Statistics
from resnest_edge.calibration.observers import BINS, HistogramObserver
from resnest_edge.errors import ScalesError
from resnest_edge.files import read_regular, write_atomically

_MAX_BYTES = 1 << 30
_UNSEEN = np.iinfo(np.int64).min


def save_statistics(statistics: Statistics, path: Path) -> None:
    """Write histograms and what they were taken from, atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    seen = list(statistics.observers.values())
    data = io.BytesIO()
    np.savez_compressed(
        data,
        graph_digest=np.array(statistics.graph_digest),
        images=np.array(statistics.images),
        images_digest=np.array(statistics.images_digest),
        names=np.array([one.name for one in seen], dtype=np.str_),
        limits=np.array([[one.minimum, one.maximum] for one in seen], np.float64).reshape(-1, 2),
        exponents=np.array([_UNSEEN if one.exponent is None else one.exponent for one in seen], np.int64),
        counts=np.array([one.counts for one in seen], np.int64).reshape(-1, 2 * BINS),
    )
    write_atomically(path, data.getvalue())


def load_statistics(path: Path) -> Statistics:
    """Read what :func:`save_statistics` wrote; more images cannot be added to it.

    Raises:
        ScalesError: the file is missing, damaged, or does not hold histograms.
    """
    try:
        with np.load(io.BytesIO(read_regular(path, _MAX_BYTES)), allow_pickle=False) as held:
            names = [str(name) for name in held["names"]]
            statistics = Statistics(str(held["graph_digest"]), names)
            statistics.images = int(held["images"])
            statistics.images_digest = str(held["images_digest"])
            rows = zip(names, held["limits"].tolist(), held["exponents"].tolist(), held["counts"], strict=True)
            for name, (low, high), exponent, counts in rows:
                known = None if exponent == _UNSEEN else exponent
                statistics.observers[name] = HistogramObserver.restore(name, low, high, known, counts)
            return statistics
    except (OSError, ValueError, TypeError, LookupError, EOFError, zipfile.BadZipFile) as exc:
        raise ScalesError(f"these are not usable statistics ({exc})", where=path, hint="Calibrate again.") from exc
