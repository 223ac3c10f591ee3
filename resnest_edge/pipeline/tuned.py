"""`build --tuned`: what was measured on this device, else the shipped table of measured defaults, else as asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from resnest_edge.pipeline.choice import Choice
from resnest_edge.pipeline.plan import ANY_BATCH, BuildRequest, Job
from resnest_edge.pipeline.sources import Source
from resnest_edge.pipeline.tunings import Key, Record, load_record, make_key, record_path, shipped_records
from resnest_edge.spec import Precision


def choose_tuned(request: BuildRequest, source: Source, jobs: Sequence[Job]) -> tuple[list[Job], list[str]]:
    """Give each job the form and placement that were measured to be fastest for it.

    Args:
        request: what was asked; its form is taken where nothing was measured.
        source: the network.
        jobs: what is to be built.

    Returns:
        The jobs, and a sentence on each that says what was taken and where from.

    Raises:
        InputError: this device's tuning is damaged.
        UnavailableError: the target is a GPU's, and none is here.
    """
    batch = (request.batch or ANY_BATCH).optimum if source.batch is None else source.batch
    found = [_choose(make_key(source, job.backend.target, job.precision, batch), request, source) for job in jobs]
    chosen = [replace(job, choice=choice) for job, (choice, _) in zip(jobs, found, strict=True)]
    return chosen, [f"{job.backend.target} {job.precision}: {told}" for job, (_, told) in zip(jobs, found, strict=True)]


def _choose(key: Key, request: BuildRequest, source: Source) -> tuple[Choice, str]:
    here = load_record(key)
    if here is not None:
        form_only = bool(here.placement) and here.weights != source.parents.get("checkpoint")
        choice = Choice(here.choice.form) if form_only else here.choice
        other = "; its placement was held to a bound with other weights, and is left out" if form_only else ""
        where = f"{here.created[:10]}, {record_path(key)}"
        return choice, f"{choice}, {_gain(here)} ({where}){other}{_unheard(here, source)}"
    for record in shipped_records():
        if _fits(record.key, key):
            told = f"{record.form}, from the shipped table: {_account(record, key)}{_unheard(record, source)}"
            return Choice(record.choice.form), told
    told = f"nothing was measured for {key.network} at {key.image_size} pixels and batch {key.batch} here"
    return Choice(request.form), f"{told}: the {request.form} form; `resnest-edge tune` measures"


def _fits(shipped: Key, here: Key) -> bool:
    """Whether a shipped record speaks of this build: the same work, on a processor of the same kind."""
    same = ("network", "image_size", "target", "precision", "batch")
    return shipped.device.kind == here.device.kind and all(getattr(shipped, n) == getattr(here, n) for n in same)


def _unheard(record: Record, source: Source) -> str:
    """That forms round differently in INT8, where nobody has compared their answers with these weights."""
    compared = record.key.precision != Precision.INT8 or record.weights == source.parents.get("checkpoint")
    return "" if compared or record.form == record.begun_with else "; in INT8 its answers were not compared yet"


def _gain(record: Record) -> str:
    if record.ratio is None:
        return f"measured here: nothing was faster than {record.begun_with}"
    return f"measured here: {record.ratio:.3f} of the time of {record.begun_with}"


def _account(record: Record, here: Key) -> str:
    key = record.key
    gain = f"{record.ratio:.3f} of the time of {record.begun_with}" if record.ratio is not None else "the fastest"
    there = f"{gain} on {key.device.name}, {key.threads} threads, {key.target} {key.runtime}, {record.created[:10]}"
    differs = [
        f"{what} {ours}"
        for what, ours, theirs in (
            ("on", here.device.name, key.device.name),
            ("threads:", here.threads, key.threads),
            ("version", here.runtime, key.runtime),
        )
        if ours != theirs
    ]
    return there + (f"; here {', '.join(differs)}" if differs else "") + "; `resnest-edge tune` measures here"
