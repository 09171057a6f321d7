"""Classifiers: networks, weights files, feature taps, size, and training on real images."""

from dfkd_tune.classifiers._compiled import CompiledPasses
from dfkd_tune.classifiers._config import Argument, NetworkConfig
from dfkd_tune.classifiers._foreign import check_output, is_foreign
from dfkd_tune.classifiers._frozen import tapped_copy
from dfkd_tune.classifiers._inspect import (
    BatchNormReport,
    NetworkReport,
    PenultimateReport,
    StageReport,
    inspect_network,
)
from dfkd_tune.classifiers._layout import arranged_for_wide, lay_out
from dfkd_tune.classifiers._modes import evaluation_mode
from dfkd_tune.classifiers._networks import CLASSIFIERS, build_classifier
from dfkd_tune.classifiers._precision import (
    Precision,
    UsedPrecision,
    computing_in,
    used_precision,
)
from dfkd_tune.classifiers._preprocessing import (
    normalise,
    random_crops,
    random_flips,
    random_resized_crops,
    to_input,
)
from dfkd_tune.classifiers._sending import sent
from dfkd_tune.classifiers._size import measure_latency, network_size
from dfkd_tune.classifiers._stages import find_stages
from dfkd_tune.classifiers._statistics import BatchStatistics
from dfkd_tune.classifiers._taps import (
    ForwardPass,
    NetworkShapes,
    TappedNetwork,
)
from dfkd_tune.classifiers._training import (
    Loss,
    TrainingProgress,
    TrainingRecipe,
    train_classifier,
)
from dfkd_tune.classifiers._weights import (
    file_sha256,
    load_initial_weights,
    load_weights,
    read_state_dict,
    save_weights,
)
from dfkd_tune.classifiers._winograd import WinogradConvolution, is_winograd_faster

__all__ = [
    "CLASSIFIERS",
    "Argument",
    "BatchNormReport",
    "BatchStatistics",
    "CompiledPasses",
    "ForwardPass",
    "Loss",
    "NetworkConfig",
    "NetworkReport",
    "NetworkShapes",
    "PenultimateReport",
    "Precision",
    "StageReport",
    "TappedNetwork",
    "TrainingProgress",
    "TrainingRecipe",
    "UsedPrecision",
    "WinogradConvolution",
    "arranged_for_wide",
    "build_classifier",
    "check_output",
    "computing_in",
    "evaluation_mode",
    "file_sha256",
    "find_stages",
    "inspect_network",
    "is_foreign",
    "is_winograd_faster",
    "lay_out",
    "load_initial_weights",
    "load_weights",
    "measure_latency",
    "network_size",
    "normalise",
    "random_crops",
    "random_flips",
    "random_resized_crops",
    "read_state_dict",
    "save_weights",
    "sent",
    "tapped_copy",
    "to_input",
    "train_classifier",
    "used_precision",
]
