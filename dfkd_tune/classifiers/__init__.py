"""Classifiers: networks, weights files, feature taps, size, and training on real images."""

from dfkd_tune.classifiers._modes import evaluation_mode
from dfkd_tune.classifiers._networks import CLASSIFIERS, NetworkConfig, build_classifier
from dfkd_tune.classifiers._size import network_size
from dfkd_tune.classifiers._taps import BatchStatistics, ForwardPass, TappedNetwork, find_stages
from dfkd_tune.classifiers._training import TrainingRecipe, train_classifier
from dfkd_tune.classifiers._weights import file_sha256, load_weights, read_state_dict, save_weights

__all__ = [
    "CLASSIFIERS",
    "BatchStatistics",
    "ForwardPass",
    "NetworkConfig",
    "TappedNetwork",
    "TrainingRecipe",
    "build_classifier",
    "evaluation_mode",
    "file_sha256",
    "find_stages",
    "load_weights",
    "network_size",
    "read_state_dict",
    "save_weights",
    "train_classifier",
]
