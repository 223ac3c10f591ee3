"""What a session really does: how often it is right, how long it takes."""

from resnest_edge.measure.accuracy import Accuracy, Comparison, LabelledBatch, compare, evaluate
from resnest_edge.measure.latency import Benchmark, Plan, Subject, benchmark
from resnest_edge.measure.summary import BenchmarkResult, Ratio

__all__ = [
    "Accuracy",
    "Benchmark",
    "BenchmarkResult",
    "Comparison",
    "LabelledBatch",
    "Plan",
    "Ratio",
    "Subject",
    "benchmark",
    "compare",
    "evaluate",
]
