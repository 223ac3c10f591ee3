"""What `tune` has measured: kept in the user's cache for this device, and shipped as a table of measured defaults.

A record belongs to a device (the CPU's name, instruction sets and cores; a GPU's name and compute capability), a
runtime and its version, a network, image size, batch, precision and number of threads. One of another device or version
is not found, so an upgrade or another machine never takes what was measured elsewhere without saying so.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from resnest_edge import environment
from resnest_edge.errors import InputError, ResnestEdgeError
from resnest_edge.files import read_regular, write_atomically
from resnest_edge.pipeline.choice import Choice
from resnest_edge.pipeline.networks import CUSTOM_NAME
from resnest_edge.pipeline.sources import Source
from resnest_edge.quantize.alternatives import words
from resnest_edge.report.plain import from_plain
from resnest_edge.spec import Form, Precision, Target
from resnest_edge.stage_cache import cache_root

SCHEMA = 1
SHIPPED = Path(__file__).with_name("tuned_defaults.json")
_MAX_BYTES = 1 << 22
_AGAIN = "Measure again and replace it: `resnest-edge tune … --force`."


@dataclass(frozen=True)
class Device:
    """What an engine runs on, as far as its speed depends on it.

    Attributes:
        name: of the CPU or GPU.
        kind: instruction sets of a CPU, joined by spaces; ``sm`` and the compute capability of a GPU.
        cores: CPU cores that this process may use.
    """

    name: str
    kind: str
    cores: int


@dataclass(frozen=True)
class Key:
    """What a measurement belongs to; values are plain, as in its file.

    Attributes:
        network: variant, or a name and digest where the name does not say the shape.
        image_size: pixels.
        target: runtime.
        runtime: its version.
        precision: of the typed graph.
        batch: images per inference.
        threads: CPU threads of a session.
        device: what it ran on.
    """

    network: str
    image_size: int
    target: str
    runtime: str
    precision: str
    batch: int
    threads: int
    device: Device

    @property
    def file_name(self) -> str:
        """Readable, and different for every key."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]
        return f"{self.network}-{self.image_size}-{self.target}-{self.precision}-batch{self.batch}-{digest}.json"


@dataclass(frozen=True)
class Trial:
    """One candidate, measured beside what it would replace, in one interleaved run.

    Attributes:
        axis: what was varied: ``stage 3``, ``pool``, an axis of the placement, or ``all together``.
        form: the candidate's inference form.
        placement: its words.
        against_form: what it would replace.
        against_placement: likewise.
        ms: median latency of a batch, milliseconds.
        against_ms: of what it would replace.
        ratio: its time as a share of the other's: median over rounds.
        ratio_ci95: 95 % interval of that median.
        sqnr_change_db: logit SQNR against FP32, minus that of the form and placement that the search began with;
            None where there is no quantization.
        sqnr_change_ci95: its 95 % interval, the images paired.
        chosen: whether it replaced the other.
        why: in words.
    """

    axis: str
    form: str
    placement: tuple[str, ...]
    against_form: str
    against_placement: tuple[str, ...]
    ms: float
    against_ms: float
    ratio: float
    ratio_ci95: tuple[float, float]
    sqnr_change_db: float | None
    sqnr_change_ci95: tuple[float, float] | None
    chosen: bool
    why: str


@dataclass(frozen=True)
class Record:
    """The outcome of one `tune`.

    Attributes:
        key: what it belongs to.
        form: the inference form chosen.
        placement: the words chosen.
        begun_with: the form that the search began with.
        ratio: time of what was chosen as a share of what the search began with; None where that was kept.
        ratio_ci95: 95 % interval.
        weights: digest of the checkpoint; None for random weights. A placement belongs to it; a form does not.
        max_loss_db: the bound that placements were held to; None where none were tried.
        trials: everything that was measured, in order.
        conditions: rounds, seconds of a slice, images.
        created: when, UTC.
        command: what was typed.
        versions: of the installed tools.
    """

    key: Key
    form: str
    placement: tuple[str, ...]
    begun_with: str
    ratio: float | None
    ratio_ci95: tuple[float, float] | None
    weights: str | None
    max_loss_db: float | None
    trials: tuple[Trial, ...]
    conditions: Mapping[str, Any]
    created: str
    command: str | None
    versions: Mapping[str, str]

    @property
    def choice(self) -> Choice:
        """What was chosen."""
        return Choice(Form.parse(self.form), self.placement)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"schema": SCHEMA, **asdict(self)}


def make_key(source: Source, target: Target, precision: Precision, batch: int, threads: int | None = None) -> Key:
    """What a measurement of a network here and now would belong to.

    Raises:
        UnavailableError: the runtime is not installed, or its GPU is not here.
    """
    from resnest_edge.pipeline.runtimes import backend_for

    digest = next(iter(source.parents.values()), "")
    known = source.is_resnest and source.name != CUSTOM_NAME
    return Key(
        network=source.name if known else f"{source.name}-{digest[:12]}",
        image_size=source.preprocessing.image_size,
        target=target.value,
        runtime=backend_for(target).version(),
        precision=precision.value,
        batch=batch,
        threads=threads or environment.usable_cores(),
        device=describe_device(target),
    )


def describe_device(target: Target) -> Device:
    """What engines of a target run on here.

    Raises:
        UnavailableError: it is a GPU, and there is none.
    """
    if target in (Target.OPENVINO, Target.ONNXRUNTIME):
        return Device(environment.cpu_name(), " ".join(environment.cpu_isa()), environment.usable_cores())
    from resnest_edge.backends.cuda import load_cuda

    gpu = load_cuda().device()
    return Device(gpu.name, f"sm {gpu.compute_capability}", environment.usable_cores())


def record_path(key: Key) -> Path:
    """Where a record is kept: ``tuning/`` in the cache folder, ``$RESNEST_EDGE_CACHE`` or the user's."""
    return cache_root() / "tuning" / key.file_name


def save_record(record: Record) -> Path:
    """Keep a record, atomically, in the place of an older one.

    Raises:
        OutputError: the cache folder cannot be written.
    """
    path = record_path(record.key)
    write_atomically(path, (json.dumps(record.to_json(), indent=1, allow_nan=False) + "\n").encode())
    return path


def load_record(key: Key) -> Record | None:
    """What was measured here for a key, or None where nothing was.

    Raises:
        InputError: the file is damaged, of another schema, or belongs to something else; it is left as it is.
    """
    path = record_path(key)
    try:
        data = read_regular(path, _MAX_BYTES)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise InputError(f"this tuning cannot be read ({exc.strerror or exc})", where=path, hint=_AGAIN) from exc
    record = read_record(data, path)
    if record.key != key:
        raise InputError("this tuning belongs to another device, network or version", where=path, hint=_AGAIN)
    return record


def read_record(data: bytes, where: Path) -> Record:
    """A record from its file.

    Raises:
        InputError: damaged, or of another schema.
    """
    try:
        return record_of(json.loads(data))
    except (ValueError, KeyError, TypeError, RecursionError, ResnestEdgeError) as exc:
        raise InputError(f"this tuning is damaged ({exc})", where=where, hint=_AGAIN) from exc


def record_of(value: Any) -> Record:
    """A record from plain values.

    Raises:
        InputError: of another schema, or with a placement that this version does not know.
        UsageError: a form that cannot be read.
        ValueError, KeyError, TypeError: as :func:`resnest_edge.report.plain.from_plain`.
    """
    if not isinstance(value, Mapping) or value.get("schema") != SCHEMA:
        raise InputError(f"it is not of schema {SCHEMA}")
    record = from_plain(Record, value)
    if unknown := set(record.choice.placement) - set(words()):
        raise InputError(f"placement {', '.join(sorted(unknown))} is not known")
    return record


def shipped_records(path: Path = SHIPPED) -> list[Record]:
    """The table of measured defaults that comes with the package."""
    return [record_of(entry) for entry in json.loads(path.read_bytes())["records"]]
