"""What to download: the original distributions of benchmarks whose host is still there."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Download:
    """Where a benchmark's original files are.

    Args:
        urls: one per file.
        md5s: as published, one per file.
        kind: files: they are kept as they are; tar: they are unpacked, whatever their compression;
            zip: they are unpacked, and so are the `.tar.gz` of the wanted folders in them.
        folders: what is taken out of the unpacked archives; empty for files.
    """

    urls: tuple[str, ...]
    md5s: tuple[str, ...]
    kind: Literal["files", "tar", "zip"]
    folders: tuple[str, ...] = ()

    def names(self) -> tuple[str, ...]:
        """The file name of each address."""
        return tuple(PurePosixPath(url).name for url in self.urls)

    def results(self) -> tuple[str, ...]:
        """What lies in the benchmark's folder in the end."""
        return self.names() if self.kind == "files" else self.folders


def _four_files(base: str, *md5s: str) -> Download:
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    return Download(
        urls=tuple(f"{base}/{name}-ubyte.gz" for name in names), md5s=md5s, kind="files"
    )


# Addresses and sums as torchvision has them. It has no sum of Aircraft and nothing of CUB: these
# are the ones that other public downloaders check.
DOWNLOADS: dict[str, Download] = {
    "mnist": _four_files(
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
    "fashion_mnist": _four_files(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
    "svhn": Download(
        urls=(
            "http://ufldl.stanford.edu/housenumbers/train_32x32.mat",
            "http://ufldl.stanford.edu/housenumbers/test_32x32.mat",
        ),
        md5s=("e26dedcc434d2e4c54c9b2d4a06d8373", "eb5a983be6a315427106f1b164d9cef3"),
        kind="files",
    ),
    "cifar10": Download(
        urls=("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
        md5s=("c58f30108f718f92721af3b95e74349a",),
        kind="tar",
        folders=("cifar-10-batches-py",),
    ),
    "cifar100": Download(
        urls=("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",),
        md5s=("eb9058c3a382ffc7106e4002c42a8d85",),
        kind="tar",
        folders=("cifar-100-python",),
    ),
    "caltech101": Download(
        urls=("https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",),
        md5s=("3138e1922a9193bfa496528edbbc45d0",),
        kind="zip",
        folders=("101_ObjectCategories",),
    ),
    "aircraft": Download(
        urls=(
            "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
        ),
        md5s=("d4acdd33327262359767eeaa97a4f732",),
        kind="tar",
        folders=("fgvc-aircraft-2013b",),
    ),
    "cub200": Download(
        urls=("https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",),
        md5s=("97eceeb196236b17998738112f37df78",),
        kind="tar",
        folders=("CUB_200_2011",),
    ),
}
