"""A tree of `SPLIT/CLASS/FILE`, as torchvision's `ImageFolder` reads one split of it."""

import os
from pathlib import Path

from dfkd_tune.benchmarks._decoding import IMAGE_ENDINGS
from dfkd_tune.benchmarks._sources import ImageFiles, Listing
from dfkd_tune.errors import DataError

_SPLIT_FOLDERS = {"train": ("train",), "validation": ("val", "validation"), "test": ("test",)}
_ENDINGS = tuple(IMAGE_ENDINGS)
_ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"})


def check_folder(root: Path) -> None:
    """Check that a path is a folder that can be read.

    Raises:
        DataError: if it is missing, or an archive or another file.
    """
    if root.is_dir():
        return
    if not root.exists():
        raise DataError(f"the data folder {root} does not exist; check the path")
    if root.suffix.lower() in _ARCHIVES:
        raise DataError(f"{root} is an archive; unpack it and give the folder")
    raise DataError(f"{root} is a file; give a folder of images")


def is_image_folder(root: Path) -> bool:
    """Whether a folder holds `train` and `test` folders of classes."""
    return all((root / split).is_dir() for split in ("train", "test"))


def images_below(folder: Path) -> list[str]:
    """All image files below a folder, in the order of their names; hidden ones are passed over.

    Returns:
        Paths relative to the folder, with `/`.
    """
    found: list[str] = []
    # Names, not objects: every process of a search lists tens of thousands.
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(place).relative_to(folder).as_posix()
        prefix = "" if below == "." else f"{below}/"
        found += [
            prefix + name
            for name in names
            if not name.startswith(".") and name.lower().endswith(_ENDINGS)
        ]
    return sorted(found)


def read_image_folder(root: Path, class_names: tuple[str, ...] | None = None) -> Listing:
    """Read a tree of `train/CLASS/FILE` and `test/CLASS/FILE`; `val` or `validation` where it is.

    Args:
        root: the folder that holds the splits.
        class_names: the classes in label order; sorted by default.

    Returns:
        The listing.

    Raises:
        DataError: if a split is missing, a class is empty, a class is in one split only, or the
            classes are not those that are named.
    """
    check_folder(root)
    folders = {}
    for split, folder_names in _SPLIT_FOLDERS.items():
        found = next((root / name for name in folder_names if (root / name).is_dir()), None)
        if found is not None:
            folders[split] = found
    for split in ("train", "test"):
        if split not in folders:
            there = sorted(path.name for path in root.iterdir() if path.is_dir())
            raise DataError(
                f"{root} has no folder '{split}' (it has: {', '.join(there[:8]) or 'no folder'}); "
                f"lay the images out as {split}/CLASS/FILE"
            )
    classes = {
        split: {path.name: path for path in sorted(folder.iterdir()) if _is_class(path)}
        for split, folder in folders.items()
    }
    names = sorted(set().union(*classes.values()))
    for split, present in classes.items():
        absent = [name for name in names if name not in present]
        if absent:
            where = ", ".join(s for s in classes if absent[0] in classes[s])
            raise DataError(
                f"{root}: class '{absent[0]}' is in {where} and not in {split}; every class needs "
                f"a folder in every split"
            )
    if class_names is not None:
        differing = sorted(set(class_names) ^ set(names))
        if differing:
            where = "has no folder" if differing[0] in class_names else "is not in class_names"
            raise DataError(f"{root}: class '{differing[0]}' {where}; name each class folder once")
        if len(class_names) != len(names):
            raise DataError(f"class_names name a class of {root} twice; name each folder once")
        names = list(class_names)
    splits = {}
    for split, present in classes.items():
        paths: list[str] = []
        labels: list[int] = []
        for label, name in enumerate(names):
            files = images_below(present[name])
            if not files:
                raise DataError(
                    f"{present[name]} holds no image ({', '.join(sorted(IMAGE_ENDINGS))}); "
                    f"fill or remove the class"
                )
            below = present[name].relative_to(root).as_posix()
            paths += [f"{below}/{path}" for path in files]
            labels += [label] * len(files)
        splits[split] = ImageFiles(root=root, paths=tuple(paths), labels=tuple(labels))
    return Listing(class_names=tuple(names), splits=splits, origin=root)


def _is_class(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def read_unlabelled_folder(root: Path) -> ImageFiles:
    """Find all images below a folder.

    Raises:
        DataError: if there are fewer than two.
    """
    check_folder(root)
    files = images_below(root)
    if len(files) < 2:
        raise DataError(f"{root} holds {len(files)} images; give a folder with more")
    return ImageFiles(root=root, paths=tuple(files))
