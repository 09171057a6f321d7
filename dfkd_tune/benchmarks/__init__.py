"""Data sets, their splits and normalisation. Distillation code never imports this package."""

from dfkd_tune.benchmarks._benchmark import Benchmark, DataKind, Split
from dfkd_tune.benchmarks._config import BenchmarkConfig, InputConfig
from dfkd_tune.benchmarks._definitions import BenchmarkDefinition
from dfkd_tune.benchmarks._download import DOWNLOADS
from dfkd_tune.benchmarks._downloading import download_benchmark
from dfkd_tune.benchmarks._images import LabelledImages
from dfkd_tune.benchmarks._open import data_folder, get_benchmark, open_benchmark
from dfkd_tune.benchmarks._registry import BENCHMARKS
from dfkd_tune.benchmarks._splits import split_by_hash

__all__ = [
    "BENCHMARKS",
    "DOWNLOADS",
    "Benchmark",
    "BenchmarkConfig",
    "BenchmarkDefinition",
    "DataKind",
    "InputConfig",
    "LabelledImages",
    "Split",
    "data_folder",
    "download_benchmark",
    "get_benchmark",
    "open_benchmark",
    "split_by_hash",
]
