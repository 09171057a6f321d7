"""One reader per layout on disk. A reader lists what is there and decodes no image file."""

from dfkd_tune.benchmarks._readers._aircraft import AIRCRAFT_LAYOUT, read_aircraft
from dfkd_tune.benchmarks._readers._caltech101 import CALTECH101_LAYOUT, read_caltech101
from dfkd_tune.benchmarks._readers._cars196 import CARS196_LAYOUT, read_cars196
from dfkd_tune.benchmarks._readers._cifar import (
    CIFAR10_LAYOUT,
    CIFAR100_LAYOUT,
    read_cifar10,
    read_cifar100,
)
from dfkd_tune.benchmarks._readers._cub200 import CUB200_LAYOUT, read_cub200
from dfkd_tune.benchmarks._readers._image_folder import (
    check_folder,
    is_image_folder,
    read_image_folder,
    read_unlabelled_folder,
)
from dfkd_tune.benchmarks._readers._mnist import (
    FASHION_MNIST_LAYOUT,
    MNIST_LAYOUT,
    read_fashion_mnist,
    read_mnist,
)
from dfkd_tune.benchmarks._readers._npz import read_npz, read_unlabelled_npz
from dfkd_tune.benchmarks._readers._svhn import SVHN_LAYOUT, read_svhn

__all__ = [
    "AIRCRAFT_LAYOUT",
    "CALTECH101_LAYOUT",
    "CARS196_LAYOUT",
    "CIFAR10_LAYOUT",
    "CIFAR100_LAYOUT",
    "CUB200_LAYOUT",
    "FASHION_MNIST_LAYOUT",
    "MNIST_LAYOUT",
    "SVHN_LAYOUT",
    "check_folder",
    "is_image_folder",
    "read_aircraft",
    "read_caltech101",
    "read_cars196",
    "read_cifar10",
    "read_cifar100",
    "read_cub200",
    "read_fashion_mnist",
    "read_image_folder",
    "read_mnist",
    "read_npz",
    "read_svhn",
    "read_unlabelled_folder",
    "read_unlabelled_npz",
]
