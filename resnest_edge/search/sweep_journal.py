"""``sweep.json``: the rows of a sweep, which grows cell by cell, so that an interrupted sweep goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from resnest_edge.errors import InputError
from resnest_edge.files import read_json, write_atomically
from resnest_edge.report.plain import from_plain
from resnest_edge.report.schema import dump_plain

SCHEMA = 1
JSON_NAME = "sweep.json"
DONE, FAILED = "done", "failed"


@dataclass(frozen=True)
class SweepRow:
    """One cell, measured or failed.

    Attributes:
        key: what tells it from every other cell.
        variant: the network's name.
        image_size: side of its input, pixels.
        form: inference form.
        target: runtime.
        precision: of the typed graph.
        status: ``done`` or ``failed``.
        node: name of the machine it ran on.
        reason: why it failed; or why accuracy is missing.
        exit_code: that the same failure has on the command line; 0 where it was done.
        precision_run: what the engine's convolutions really run in.
        top1: percent.
        top1_ci95: its 95 % interval.
        drop: top-1 lost against FP32, percentage points: positive when accuracy is lost.
        drop_ci95: its 95 % interval.
        agreement: percent of images on which it names FP32's class.
        evaluated_images: images that accuracy was measured on.
        size_mib: of the engine's files.
        build_seconds: export, calibration and build together.
        results: of ``benchmark --json``: one for each batch size and number of streams.
        conditions: the benchmark's.
        warnings: what makes the figures doubtful, as sentences.
    """

    key: str
    variant: str
    image_size: int
    form: str
    target: str
    precision: str
    status: str
    node: str
    reason: str | None = None
    exit_code: int = 0
    precision_run: str | None = None
    top1: float | None = None
    top1_ci95: tuple[float, float] | None = None
    drop: float | None = None
    drop_ci95: tuple[float, float] | None = None
    agreement: float | None = None
    evaluated_images: int = 0
    size_mib: float | None = None
    build_seconds: float | None = None
    results: tuple[Mapping[str, Any], ...] = ()
    conditions: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether it has no figures."""
        return self.status == FAILED


@dataclass(frozen=True)
class SweepFile:
    """What ``sweep.json`` holds.

    Attributes:
        created: when the sweep was begun, ISO 8601.
        command: what was typed to begin it.
        identity: what its rows share: settings, versions, machine.
        environment: the machine it was begun on, and versions.
        notes: sentences.
        rows: one for each cell that was run, in the order they were done.
    """

    created: str
    command: str
    identity: Mapping[str, Any]
    environment: Mapping[str, Any]
    notes: tuple[str, ...]
    rows: tuple[SweepRow, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, the schema version first."""
        return {"schema": SCHEMA, **asdict(self)}


class Journal:
    """The file, and its rows by their cells' keys.

    Args:
        folder: of the sweep; the file is ``sweep.json`` in it.
        begun: the file as it is begun, without rows.
    """

    def __init__(self, folder: Path, begun: SweepFile) -> None:
        self.path = folder / JSON_NAME
        self._begun = begun
        self.rows: dict[str, SweepRow] = {}

    def resume(self) -> int:
        """Read what an earlier run measured.

        Returns:
            The number of rows it holds; 0 where there is no file.

        Raises:
            InputError: the file is something else, or its rows were measured with other settings, by other versions,
                or on another machine.
        """
        if not self.path.exists():
            return 0
        before = read_sweep(self.path)
        ours, theirs = (json.loads(json.dumps(one.identity)) for one in (self._begun, before))
        if ours != theirs:
            changed = [name for name in dict.fromkeys([*ours, *theirs]) if ours.get(name) != theirs.get(name)]
            raise InputError(
                f"this sweep was begun differently: {', '.join(changed)}",
                where=self.path,
                hint="Use another --out, or --force to start anew.",
            )
        self._begun = before
        self.rows = {row.key: row for row in before.rows}
        return len(self.rows)

    def add(self, row: SweepRow) -> None:
        """Keep one more row, atomically."""
        self.rows[row.key] = row
        write_atomically(self.path, dump_plain(self.file().to_json(), "the sweep").encode())

    def file(self) -> SweepFile:
        """What the file holds now."""
        return SweepFile(**{**vars(self._begun), "rows": tuple(self.rows.values())})


def read_sweep(path: Path) -> SweepFile:
    """Read a ``sweep.json``.

    Raises:
        InputError: it is something else, or of another schema.
    """
    try:
        value = read_json(path)
        if value["schema"] != SCHEMA:
            raise ValueError(f"schema {value['schema']}, this version reads schema {SCHEMA}")
        return from_plain(SweepFile, value)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as exc:
        raise InputError(
            f"this is no sweep ({type(exc).__name__}: {exc})", where=path, hint="Use another --out."
        ) from exc
