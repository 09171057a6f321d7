"""The published figures: whole, sourced, and as the papers and repositories print them."""

import csv
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from importlib.resources import files
from typing import get_args

import pytest

from dfkd_tune.published import Kind, PublishedResult, SourceKind, published_results

BENCHMARKS = ("cifar10", "cifar100", "caltech101", "aircraft", "cars196", "cub200")
ALL = [result for benchmark in BENCHMARKS for result in published_results(benchmark)]
FINE_GRAINED = "arXiv 2404.12037, Table 1"
CMI = "zju-vipa/CMI@0e2b421 README"


def find(benchmark: str, method: str, student: str | None, source: str) -> PublishedResult:
    (found,) = [
        result
        for result in published_results(benchmark)
        if (result.method, result.student, result.source) == (method, student, source)
    ]
    return found


def test_every_row_of_the_file_is_of_a_known_benchmark() -> None:
    text = (files("dfkd_tune") / "published_results.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines(), strict=True))
    assert len(rows) == len(ALL)
    assert {row["benchmark"] for row in rows} == set(BENCHMARKS)
    assert all(None not in row and None not in row.values() for row in rows)
    assert all(value == value.strip() for row in rows for value in row.values())


@pytest.mark.parametrize("result", ALL, ids=lambda r: f"{r.benchmark}-{r.method}-{r.student}")
def test_every_result_is_sourced_and_in_range(result: PublishedResult) -> None:
    assert result.method
    assert result.source
    assert result.protocol
    assert result.kind in get_args(Kind)
    assert result.source_kind in get_args(SourceKind)
    assert (result.teacher is None) == (result.student is None)
    assert result.input_size in {None, 32, 128, 224}
    figures = (
        result.student_accuracy,
        result.teacher_accuracy,
        result.relative_accuracy_stated,
    )
    assert all(0 < figure <= 100 for figure in figures if figure is not None)
    assert result.student_accuracy is not None or result.relative_accuracy_stated is not None
    if result.relative_accuracy is not None:
        assert 0 < result.relative_accuracy < 110


def test_a_repository_is_named_with_its_owner() -> None:
    for result in ALL:
        if result.source_kind == "repository":
            assert "/" in result.source.split()[0]
        else:
            assert result.source.startswith("arXiv ")


def test_no_figure_stands_twice() -> None:
    keys = Counter((r.benchmark, r.teacher, r.student, r.method, r.source) for r in ALL)
    assert [key for key, count in keys.items() if count > 1] == []


@pytest.mark.parametrize(
    ("benchmark", "student", "teacher", "real"),
    [
        ("aircraft", 65.76, 70.15, 68.71),
        ("cars196", 71.89, 84.22, 77.43),
        ("cub200", 56.93, 76.87, 58.60),
    ],
)
def test_fine_grained_figures(benchmark: str, student: float, teacher: float, real: float) -> None:
    result = find(benchmark, "DFKD-FGVC", "resnet18_imagenet", FINE_GRAINED)
    assert result.student_accuracy == student
    assert result.teacher_accuracy == teacher
    assert result.teacher == "resnet34_imagenet"
    assert result.input_size == 224
    assert result.relative_accuracy == pytest.approx(100 * student / teacher)
    trained = find(benchmark, "student on real data", "resnet18_imagenet", FINE_GRAINED)
    assert trained.student_accuracy == real
    assert trained.kind == "real_data_student"


@pytest.mark.parametrize(
    ("benchmark", "stated"), [("cifar10", 99.63), ("cifar100", 99.07), ("caltech101", 99.84)]
)
def test_cgdd_states_relative_accuracies_alone(benchmark: str, stated: float) -> None:
    result = find(benchmark, "CGDD", None, "arXiv 2112.15358v1, abstract")
    assert result.relative_accuracy == result.relative_accuracy_stated == stated
    assert result.student_accuracy is None
    assert result.teacher_accuracy is None
    others = [r for r in ALL if r.method != "CGDD"]
    assert all(r.relative_accuracy_stated is None for r in others)


@pytest.mark.parametrize(
    ("benchmark", "method", "student", "figure", "teacher"),
    [
        ("cifar10", "CMI", "wrn16_1", 90.01, 94.87),
        ("cifar10", "DFQ", "wrn40_1", 91.69, 94.87),
        ("cifar100", "CMI", "wrn40_1", 68.88, 75.83),
        ("cifar100", "ZSKT", "wrn16_2", 28.44, 75.83),
        ("cifar100", "student on real data", "wrn16_1", 65.31, 75.83),
    ],
)
def test_small_image_figures(
    benchmark: str, method: str, student: str, figure: float, teacher: float
) -> None:
    result = find(benchmark, method, student, CMI)
    assert result.student_accuracy == figure
    assert result.teacher_accuracy == teacher


def test_a_pair_of_networks_has_its_own_figure() -> None:
    by_pair = {
        (r.teacher, r.student): r.student_accuracy
        for r in published_results("cifar10")
        if r.method == "CMI" and r.source == CMI
    }
    assert by_pair[("resnet34", "resnet18")] == 94.84
    assert by_pair[("vgg11", "resnet18")] == 91.13


def test_sources_that_disagree_both_stay() -> None:
    figures = {
        (r.source.split("@")[0], r.student_accuracy)
        for r in published_results("cifar100")
        if r.method == "DAFL" and r.student == "wrn16_1"
    }
    assert figures == {("zju-vipa/CMI", 22.50), ("zju-vipa/Fast-Datafree", 20.88)}


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_highest_relative_accuracy_comes_first_and_unknown_ones_last(benchmark: str) -> None:
    values = [result.relative_accuracy for result in published_results(benchmark)]
    known = [value for value in values if value is not None]
    assert known == sorted(known, reverse=True)
    assert values == known + [None] * (len(values) - len(known))


def test_relative_accuracy_needs_both_accuracies() -> None:
    result = find("cub200", "CMI", "resnet18_imagenet", FINE_GRAINED)
    assert replace(result, teacher_accuracy=None).relative_accuracy is None
    assert replace(result, student_accuracy=None).relative_accuracy is None
    assert replace(result, teacher_accuracy=0.0).relative_accuracy is None
    assert replace(result, relative_accuracy_stated=88.0).relative_accuracy == 88.0


def test_an_unknown_benchmark_has_nothing() -> None:
    assert published_results("digits") == ()


def test_importing_reads_no_file_and_nothing_heavy() -> None:
    code = (
        "import sys; from dfkd_tune import published; "
        "assert published._all_results.cache_info().currsize == 0; "
        "assert not {'torch', 'ray', 'pandas', 'pydantic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
