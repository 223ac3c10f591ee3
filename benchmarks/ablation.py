"""What each of our quantization methods is worth: one row a switch, same network, same images.

    python -m benchmarks.ablation                                       # the demo model on its own scenes
    python -m benchmarks.ablation resnest50 --weights W --image-size 160 --resize squash --interpolation bicubic \
        --images train/ --eval-images val/ --out reports/ablation/resnest50

Q/DQ is computed in float32 exactly as each graph writes it (ONNX Runtime, no INT8 kernels), so that the figures belong
to the graphs: 8-bit weights count as 8 bits on a CPU whose own kernels overflow with them. The report is written again
after each row: the same command goes on where a stopped run left off. ``--eval-count`` measures on fewer images. The
seconds are those of what follows the pass over the calibration images, on whatever else the machine was doing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.quantizer_report import answers_of, arguments, drop_words, figures, prepare, table, tell, write
from resnest_edge.calibration.collect import Statistics
from resnest_edge.calibration.ranges import AUTO, METHODS
from resnest_edge.graph.model import digest, to_bytes
from resnest_edge.pipeline.learning import Learning, learn
from resnest_edge.pipeline.pictures import Pictures, spread
from resnest_edge.pipeline.typed import Network, calibrate
from resnest_edge.quantize.bias import shift_biases
from resnest_edge.quantize.equalisation import equalise
from resnest_edge.quantize.insertion import quantize_graph
from resnest_edge.quantize.placement import ELEMENTWISE, Placement
from resnest_edge.spec import QdqStyle

_COLUMNS = (
    "placement",
    "method",
    "weight bits",
    "other switches",
    "logit SQNR, dB",
    "agreement, %",
    "KL, nats",
    "top-1, %",
    "drop, points (95 % interval)",
    "s",
)


@dataclass(frozen=True)
class Row:
    """One graph to measure: a placement, and the switches of `build`."""

    placed: str
    method: str = "mse"
    bits: int = 8
    corrected: bool = True
    rounded: bool = True
    weight_scales: str = "max"
    equalized: bool = False

    @property
    def placement(self) -> Placement:
        """Where its Q/DQ stands."""
        if self.placed == "onnxruntime":
            return Placement(QdqStyle.CPU, weight_bits=self.bits, outputs=True, elementwise=ELEMENTWISE)
        return Placement(QdqStyle(self.placed), weight_bits=self.bits)

    @property
    def switches(self) -> dict[str, Any]:
        """What tells it apart in the report."""
        return {
            "placement": self.placed,
            "method": self.method,
            "weight_bits": self.bits,
            "bias_correction": self.corrected,
            "round_weights": self.rounded,
            "weight_scales": self.weight_scales,
            "equalize": self.equalized,
        }

    @property
    def learning(self) -> Learning:
        """What makes its scales."""
        return Learning(self.method, self.corrected, self.rounded, self.weight_scales)


def rows() -> Iterator[Row]:
    """The default, each switch by itself, 7-bit weights, in both styles; ONNX Runtime's placement at the end."""
    plain = Row("cpu")
    switched = [
        plain,
        replace(plain, rounded=False),
        replace(plain, corrected=False),
        replace(plain, method=AUTO),
        replace(plain, weight_scales="mse"),
        replace(plain, equalized=True),
        *(replace(plain, method=method) for method in METHODS if method != plain.method),
        replace(plain, bits=7),
        replace(plain, bits=7, rounded=False),
    ]
    for row in switched:
        yield row
        yield replace(row, placed="portable")
    yield Row("onnxruntime")
    yield Row("onnxruntime", rounded=False)


class Bench:
    """One network, with everything measured once that rows share."""

    def __init__(self, network: Network, pictures: Pictures) -> None:
        assert pictures.calibration is not None and pictures.evaluation is not None
        self.network, self.calibration, self.evaluation = network, pictures.calibration, pictures.evaluation
        self.reference = answers_of(network, to_bytes(network.core), self.evaluation)
        self._known: dict[bool, tuple[Network, Statistics]] = {}

    def measure(self, row: Row) -> dict[str, Any]:
        """The row's entry in the report."""
        network, statistics = self._prepared(row.equalized)
        started = perf_counter()
        scales = learn(
            network, statistics, row.placement, self.calibration, row.learning, skip_bad=False, progress=tell
        )
        seconds = round(perf_counter() - started, 1)
        graph = quantize_graph(shift_biases(network.core, scales.corrections), scales, row.placement)
        found = answers_of(network, to_bytes(graph), self.evaluation)
        return {**row.switches, **figures(found, self.reference), "seconds": seconds}

    def _prepared(self, equalized: bool) -> tuple[Network, Statistics]:
        if equalized not in self._known:
            network = replace(self.network, core=equalise(self.network.core)) if equalized else self.network
            placements = [row.placement for row in rows()]
            self._known[equalized] = (
                network,
                calibrate(network, placements, self.calibration, skip_bad=False, progress=tell)[0],
            )
        return self._known[equalized]


def main() -> None:
    """Measure every row, print the table, write JSON and Markdown."""
    parser = arguments(__doc__ or "", "reports/ablation/demo")
    parser.add_argument("--eval-count", type=int)
    given = parser.parse_args()
    network, pictures = prepare(given)
    if given.eval_count is not None and pictures.evaluation is not None:
        pictures = replace(pictures, evaluation=spread(pictures.evaluation, given.eval_count))
    bench = Bench(network, pictures)
    head = {
        "model": network.name,
        "graph": digest(network.core),
        "form": given.form,
        "calibration_images": len(bench.calibration),
        "evaluated_images": bench.reference.images,
        "fp32_top1": bench.reference.top1,
    }
    measured = _measured_before(given.out, head)
    for row in rows():
        if any(row.switches.items() <= entry.items() for entry in measured):
            continue
        measured.append(bench.measure(row))
        print(_line(measured[-1]), flush=True)
        _write(given.out, head, measured)


def _line(entry: dict[str, Any]) -> str:
    switches = [
        "no bias correction" if not entry["bias_correction"] else "",
        "nearest weights" if not entry["round_weights"] else "",
        "weight scales by mse" if entry["weight_scales"] == "mse" else "",
        "equalized" if entry["equalize"] else "",
    ]
    return (
        f"| {entry['placement']} | {entry['method']} | {entry['weight_bits']} | "
        f"{', '.join(filter(None, switches)) or '–'} | {entry['logit_sqnr_db']:.1f} | {entry['agreement']:.2f} | "
        f"{entry['kl']:.1e} | {entry['top1']:.2f} | {drop_words(entry)} | "
        f"{entry['seconds']:.0f} |"
    )


def _measured_before(out: Path, head: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a run of the same graph and images that was stopped."""
    path = out / "ablation.json"
    if not path.exists():
        return []
    found = json.loads(path.read_text())
    same = ("graph", "calibration_images", "evaluated_images", "fp32_top1")
    rows_before: list[dict[str, Any]] = found["rows"]
    return rows_before if all(found.get(key) == head[key] for key in same) else []


def _write(out: Path, head: dict[str, Any], measured: list[dict[str, Any]]) -> None:
    text = (
        f"# {head['model']}: what each method is worth\n\n"
        f"{head['evaluated_images']} images, FP32 top-1 {head['fp32_top1']:.2f} %; calibrated on "
        f"{head['calibration_images']} images. Q/DQ computed as the graph writes it, in float32.\n\n"
    )
    write(out, "ablation", head, measured, text + table(_COLUMNS, map(_line, measured)))


if __name__ == "__main__":
    main()
