"""A model repository for Triton Inference Server: config.pbtxt, labels and one version.

The fields are those of Triton's ``model_config.proto``.
"""

from __future__ import annotations

from pathlib import Path

from resnest_edge.bundle import LABELS, Bundle
from resnest_edge.errors import UsageError
from resnest_edge.packaging.names import model_name
from resnest_edge.spec import Target, TensorSpec

_QUEUE_DELAY_US = 1000
_TYPES = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32"}


def write(bundle: Bundle, folder: Path) -> str:
    """Write ``NAME/config.pbtxt``, ``NAME/labels.txt`` and ``NAME/1/model.*``; return the README.

    Raises:
        UsageError: Triton has no backend for the bundle's target, or would send batches that the engine refuses.
    """
    model, line, kind = _model(bundle)
    batch = bundle.manifest.info.batch
    if not batch.fixed and batch.minimum > 1:
        raise UsageError(
            f"Triton sends batches from 1 up, and this engine takes {batch}",
            where=bundle.path,
            hint=f"Build it with --batch 1:{batch.optimum}:{batch.maximum}.",
        )
    name = model_name(bundle)
    version = folder / name / "1"
    version.mkdir(parents=True)
    bundle.copy_file(model.name, version / f"model{model.suffix}")
    bundle.copy_file(LABELS, folder / name / LABELS)
    (folder / name / "config.pbtxt").write_text(config(bundle, name, line, kind), encoding="utf-8")
    return (
        f"# {name} for Triton Inference Server\n\n"
        "This folder is a model repository. Start the server, here, with\n\n"
        "    tritonserver --model-repository=.\n"
    )


def config(bundle: Bundle, name: str, line: str, kind: str) -> str:
    """The text of config.pbtxt.

    Args:
        bundle: what is served.
        name: of the model.
        line: the backend or platform line.
        kind: of the instances, ``KIND_CPU``, ``KIND_GPU`` or ``KIND_AUTO``.
    """
    manifest, batch = bundle.manifest, bundle.manifest.info.batch
    most = 0 if batch.fixed else batch.maximum  # 0: shapes hold the batch, and Triton does not batch
    frames = manifest.inputs()[0]
    parts = [
        f'name: "{name}"',
        line,
        f"max_batch_size: {most}",
        f"input [ {{ {_tensor(frames, batched=not batch.fixed)} }} ]",
        *(
            f"output [ {{ {_tensor(spec, batched=not batch.fixed)}"
            + (f' label_filename: "{LABELS}"' if spec.name == "probabilities" else "")
            + " } ]"
            for spec in manifest.outputs()
        ),
        f"instance_group [ {{ count: 1 kind: {kind} }} ]",
    ]
    if not batch.fixed:
        preferred = f" preferred_batch_size: [ {batch.optimum} ]" if batch.optimum > 1 else ""
        parts.append(f"dynamic_batching {{{preferred} max_queue_delay_microseconds: {_QUEUE_DELAY_US} }}")
    sizes = [0] if batch.fixed else sorted({1, batch.optimum})
    parts += [_warmup(frames, size, batched=not batch.fixed) for size in sizes]
    return "\n".join(parts) + "\n"


def _model(bundle: Bundle) -> tuple[Path, str, str]:
    """The file to serve, the line that names its runtime, and where its instances run."""
    target = bundle.manifest.target
    if target is Target.ONNXRUNTIME:
        return bundle.model, 'backend: "onnxruntime"', "KIND_CPU"
    if target is Target.TENSORRT:
        return bundle.engine, 'platform: "tensorrt_plan"', "KIND_GPU"
    raise UsageError(
        f"a bundle for {target} is not packaged for Triton",
        where=bundle.path,
        hint="Build it with --target onnxruntime or --target tensorrt.",
    )


def _dims(spec: TensorSpec, *, batched: bool) -> str:
    return ", ".join(str(size) for size in (spec.shape[1:] if batched else spec.shape))


def _tensor(spec: TensorSpec, *, batched: bool) -> str:
    return f'name: "{spec.name}" data_type: {_TYPES[spec.dtype]} dims: [ {_dims(spec, batched=batched)} ]'


def _warmup(spec: TensorSpec, size: int, *, batched: bool) -> str:
    value = f"data_type: {_TYPES[spec.dtype]} dims: [ {_dims(spec, batched=batched)} ] zero_data: true"
    inputs = f'inputs {{ key: "{spec.name}" value: {{ {value} }} }}'
    return f'model_warmup [ {{ name: "batch {size}" batch_size: {size} {inputs} }} ]'
