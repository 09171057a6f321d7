"""FGVC-Aircraft, its 100 variants: photographs and lists of them.

The photographs keep the banner of 20 pixels at their lower edge that names the photographer.

Source: S. Maji et al., "Fine-Grained Visual Classification of Aircraft" (2013), arXiv 1306.5151.
"""

from pathlib import Path

from dfkd_tune.benchmarks._readers._files import check_present, folder_with, read_rows
from dfkd_tune.benchmarks._sources import ImageFiles, Listing
from dfkd_tune.errors import DataError

AIRCRAFT_LAYOUT = (
    "data/ with images/NNNNNNN.jpg, images_variant_trainval.txt, images_variant_test.txt and "
    "variants.txt"
)

_LISTS = {"train": "images_variant_trainval.txt", "test": "images_variant_test.txt"}


def read_aircraft(root: Path) -> Listing:
    """Read the variants with their official split: train is the official train and val together.

    Args:
        root: `fgvc-aircraft-2013b`, its folder `data`, or the folder that holds either.

    Returns:
        The listing; labels are the lines of `variants.txt`, or sorted names where it is absent.

    Raises:
        DataError: if a file is missing, or a line is not as published.
    """
    below = ("data", "fgvc-aircraft-2013b/data")
    folder = folder_with(root, below, _LISTS["train"], AIRCRAFT_LAYOUT)
    rows = {split: read_rows(folder / name, 2, AIRCRAFT_LAYOUT) for split, name in _LISTS.items()}
    variants = folder / "variants.txt"
    if variants.is_file():
        class_names = tuple(row[0] for row in read_rows(variants, 1, AIRCRAFT_LAYOUT))
    else:
        class_names = tuple(sorted({variant for found in rows.values() for _, variant in found}))
    numbers = {name: label for label, name in enumerate(class_names)}
    splits = {}
    for split, found in rows.items():
        path = folder / _LISTS[split]
        for line, (_, variant) in enumerate(found, start=1):
            if variant not in numbers:
                raise DataError(
                    f"{path}, line {line}: '{variant}' is not in {variants}; put the original "
                    f"files there"
                )
        splits[split] = ImageFiles(
            root=folder,
            paths=tuple(f"images/{number}.jpg" for number, _ in found),
            labels=tuple(numbers[variant] for _, variant in found),
        )
        check_present(folder, splits[split].paths, path)
    return Listing(class_names=class_names, splits=splits, origin=folder)
