"""Data sets, their splits and normalisation. Distillation code never imports this package."""

from dfkd_tune.benchmarks._images import LabelledImages
from dfkd_tune.benchmarks._registry import BENCHMARKS, Benchmark, Split, get_benchmark
from dfkd_tune.benchmarks._splits import split_by_hash

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "LabelledImages",
    "Split",
    "get_benchmark",
    "split_by_hash",
]
