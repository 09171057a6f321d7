"""FGVC-Aircraft: photographs and lists of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dfkd_tune.benchmarks._decoding import decode
from dfkd_tune.benchmarks._readers import read_aircraft
from dfkd_tune.benchmarks._sources import ImageFiles
from dfkd_tune.errors import DataError

LISTS = {
    "trainval": [("0034309", "DR-400"), ("1025794", "Boeing 717"), ("0481847", "707-320")],
    "test": [("1514522", "707-320"), ("0747566", "DR-400"), ("1008575", "Boeing 717")],
}
VARIANTS = ["Boeing 717", "707-320", "DR-400"]


@pytest.fixture
def data(tmp_path: Path, write_image: Callable[..., np.ndarray]) -> Path:
    folder = tmp_path / "fgvc-aircraft-2013b" / "data"
    for name, rows in LISTS.items():
        for number, _ in rows:
            pixels = np.full((40, 60, 3), int(number) % 256, np.uint8)
            write_image(folder / "images" / f"{number}.jpg", pixels=pixels)
        lines = "".join(f"{number} {variant}\n" for number, variant in rows)
        (folder / f"images_variant_{name}.txt").write_text(lines)
    (folder / "variants.txt").write_text("".join(f"{name}\n" for name in VARIANTS))
    return folder


@pytest.mark.parametrize("up", [0, 1, 2])
def test_the_lists_are_read_as_published(data: Path, up: int) -> None:
    listing = read_aircraft([data, *data.parents][up])
    assert listing.class_names == tuple(VARIANTS)
    for split, name in (("train", "trainval"), ("test", "test")):
        source = listing.splits[split]
        assert isinstance(source, ImageFiles)
        assert source.root == data
        assert source.paths == tuple(f"images/{number}.jpg" for number, _ in LISTS[name])
        assert [VARIANTS[label] for label in source.labels] == [v for _, v in LISTS[name]]
        found = decode(source, 3, 4, 4, "crop")[:, 0, 0, 0].tolist()
        assert found == pytest.approx([int(number) % 256 for number, _ in LISTS[name]], abs=2)


def test_the_banner_stays(data: Path, write_image: Callable[..., np.ndarray]) -> None:
    photograph = np.zeros((100, 50, 3), np.uint8)
    photograph[-20:] = 255
    write_image(data / "images" / "1514522.jpg", pixels=photograph)
    found = decode(read_aircraft(data).splits["test"], 3, 100, 50, "crop")[0]
    assert found[:, -18:].min() > 250
    assert found[:, :78].max() < 5


def test_without_the_list_of_variants_their_names_are_sorted(data: Path) -> None:
    (data / "variants.txt").unlink()
    listing = read_aircraft(data)
    assert listing.class_names == ("707-320", "Boeing 717", "DR-400")
    assert listing.splits["train"].labels == (2, 1, 0)


@pytest.mark.parametrize("name", ["images_variant_trainval.txt", "images_variant_test.txt"])
def test_a_missing_list_is_named_with_the_layout(data: Path, name: str) -> None:
    (data / name).unlink()
    with pytest.raises(DataError, match=f"{name}.*data/ with images/NNNNNNN.jpg"):
        read_aircraft(data)


def test_missing_photographs_are_named_and_counted(
    data: Path, one_line: Callable[[BaseException], str]
) -> None:
    for number in ("0747566", "1008575"):
        (data / "images" / f"{number}.jpg").unlink()
    with pytest.raises(
        DataError, match=r"0747566\.jpg and 1 more of 3 in .* are missing"
    ) as caught:
        read_aircraft(data)
    assert "images_variant_test.txt" in one_line(caught.value)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("0747566", r"images_variant_test.txt, line 2: 1 fields instead of 2"),
        ("", r"images_variant_test.txt, line 2: 0 fields instead of 2"),
        (
            "0747566 Concorde",
            r"images_variant_test.txt, line 2: 'Concorde' is not in .*variants.txt",
        ),
    ],
)
def test_a_line_of_another_kind_is_named(
    data: Path, line: str, problem: str, one_line: Callable[[BaseException], str]
) -> None:
    path = data / "images_variant_test.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], line, lines[2]]))
    with pytest.raises(DataError, match=problem) as caught:
        read_aircraft(data)
    one_line(caught.value)


def test_an_empty_list_is_named(data: Path) -> None:
    (data / "images_variant_test.txt").write_text("")
    with pytest.raises(DataError, match=r"images_variant_test\.txt is empty"):
        read_aircraft(data)
