"""The rows of a comparison, in numbers, and how they are drawn."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from dfkd_tune.distillation import METHODS, ablation_of
from dfkd_tune.records import RunFolder, TestOutcome
from reports import summarise, write_report
from reports.collect import collect_run
from reports.compute.comparison import compare_variants, spread_of
from reports.compute.summary import summarise_run
from reports.compute.verdict import _comparison
from reports.facts import facts
from reports.figures import comparison_figure
from reports.view import view_run

Maker = Any


def test_a_spread_is_mean_and_sample_deviation() -> None:
    found = spread_of([1.0, 2.0, 6.0])
    assert found.mean == pytest.approx(3.0)
    assert found.deviation == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert found.words(" %") == "3.0 ± 2.6 %"


def test_one_value_has_no_deviation_and_none_no_mean() -> None:
    assert spread_of([2.0]).words("") == "2.0"
    assert math.isnan(spread_of([2.0]).deviation)
    assert spread_of([]).words(" %") == "none"


def outcome(right: int) -> TestOutcome:
    """Of 100 images, of which the teacher has 80 right, and the student some of these."""
    return TestOutcome(
        images=100, both_correct=right, student_only=0, teacher_only=80 - right, neither=20
    )


@pytest.fixture
def compared(make_run: Maker, spec: Any) -> RunFolder:
    """Two variants over two seeds; one trial of the second diverged."""
    values = tuple(0.1 * n for n in range(1, 8))
    run: RunFolder = make_run(
        [
            spec(values=values, variant="full", test=outcome(60)),
            spec(values=values, variant="no_contrast", test=outcome(40)),
            spec(values=(*values[:-1], 0.5), variant="full", test=outcome(64)),
            spec(values=values[:2], variant="no_contrast", state="diverged"),
        ],
        kind="comparison",
        comparison={
            "what": "ablation",
            "seeds": 2,
            "variants": [
                {"name": "full", "words": "the recipe as it is", "published": None},
                {"name": "no_contrast", "words": "no contrast", "published": None},
            ],
        },
        command="dfkd-tune ablate digits.yaml --seeds 2",
    )
    return run


def test_rows_are_means_over_seeds_beside_the_first(compared: RunFolder) -> None:
    full, other = compare_variants(collect_run(compared.path))
    assert (full.variant, full.complete, full.lost) == ("full", 2, 0)
    assert (other.variant, other.complete, other.lost) == ("no_contrast", 1, 1)
    assert full.relative.mean == pytest.approx(100 * 62 / 80)
    assert full.relative.deviation == pytest.approx(5 / math.sqrt(2))
    assert full.test.mean == pytest.approx(62)
    assert full.difference is None
    assert other.relative.mean == pytest.approx(50)
    assert other.difference == pytest.approx(50 - 77.5)
    assert full.last.mean == pytest.approx((70 + 50) / 2)
    assert full.best.mean == pytest.approx((70 + 60) / 2)
    assert full.tail.mean == pytest.approx((50 + 46) / 2)


def test_the_figure_shows_each_variant_with_its_spread(compared: RunFolder) -> None:
    drawn = comparison_figure(compare_variants(collect_run(compared.path)))
    (points,) = drawn.figure.data
    assert list(points.y) == ["full", "no_contrast"]
    assert list(points.x) == pytest.approx([77.5, 50])
    assert list(points.error_x.array) == pytest.approx([5 / math.sqrt(2), 0], abs=1e-4)
    assert drawn.figure.layout.yaxis.autorange == "reversed"
    assert drawn.summary == (
        "2 variants, mean and standard deviation over seeds: full is highest with 77.5 ± 3.5 %."
    )


def test_with_one_seed_the_figure_tells_of_no_spread(compared: RunFolder) -> None:
    rows = [replace(row, seeds=1) for row in compare_variants(collect_run(compared.path))]
    told = comparison_figure(rows).summary
    assert told.startswith("2 variants, one seed each: full is highest")


def test_headline_and_verdict_name_the_same_of_equal_ones(compared: RunFolder) -> None:
    data = collect_run(compared.path)
    full, other = compare_variants(data)
    rows = (full, other, replace(other, variant="third"))
    lowest = facts(summarise_run(data), rows)[1]
    assert (lowest.title, lowest.note) == ("Lowest", "third")
    assert "(third) to" in _comparison(rows)


def test_the_page_shows_the_figure_and_the_table(compared: RunFolder) -> None:
    html = write_report([compared.path]).html.read_text(encoding="utf-8")
    assert "plot-comparison" in html
    assert "77.5 ± 3.5" in html
    assert "1 diverged or collapsed" in html


def test_the_summary_file_holds_every_variant_and_no_best_configuration(
    compared: RunFolder,
) -> None:
    files = write_report([compared.path])
    assert files.best_config_json is None
    (run,) = json.loads(files.summary_json.read_text("utf-8"))["runs"]
    full, other = run["comparison"]
    assert (full["variant"], full["complete"], other["lost"]) == ("full", 2, 1)
    assert full["relative"]["mean"] == pytest.approx(77.5)
    assert other["relative"] == {"mean": pytest.approx(50), "deviation": None, "count": 1}


def test_the_headline_of_a_comparison_chooses_nothing(
    compared: RunFolder, make_run: Maker, spec: Any
) -> None:
    other = make_run([spec(values=(0.5,), total_epochs=1)], name="other")
    view = view_run(collect_run(compared.path), "run-1")
    assert [(fact.title, fact.value, fact.note) for fact in view.facts[:2]] == [
        ("Highest mean relative accuracy, test", "77.5 ± 3.5 %", "full"),
        ("Lowest", "50.0 %", "no_contrast"),
    ]
    assert view.summary.planned == 4
    assert "Best found student" not in write_report([compared.path]).html.read_text("utf-8")
    both = write_report([compared.path, other.path], compared.path / "both")
    text = both.html.read_text("utf-8")
    assert "2 variants, nothing is chosen" in text
    assert "see its comparison" in text


def test_a_comparison_of_methods_names_no_single_one(make_run: Maker, spec: Any) -> None:
    folder = make_run(
        [spec(values=(0.5,), total_epochs=1, variant="dfq", test=outcome(40))],
        kind="comparison",
        comparison={
            "what": "methods",
            "seeds": 3,
            "variants": [{"name": name, "words": ""} for name in ("dfq", "cmi")],
        },
    )
    summary = view_run(collect_run(folder.path), "run-1").summary
    assert (summary.method, summary.planned) == ("each of 2", 6)


def test_published_figures_stand_beside_a_variant_with_their_own_difference(
    make_run: Maker, spec: Any
) -> None:
    variants = [
        {"name": variant.name, "words": variant.words, "published": variant.published}
        for variant in ablation_of("dfkd_fgvc", METHODS["dfkd_fgvc"].recipe)
    ]
    folder = make_run(
        [spec(values=(0.5,), total_epochs=1, variant="full", test=outcome(40))],
        kind="comparison",
        comparison={"what": "ablation", "seeds": 1, "variants": variants},
    )
    rows = {row.variant: row for row in compare_variants(collect_run(folder.path))}
    assert [r.student_accuracy for r in rows["full"].published] == [65.76, 71.89, 56.93]
    assert rows["full"].published_difference is None
    # Tables 3, 4 and 5 of the paper, subtracted by hand.
    expected = {
        "baseline": (60.30 + 64.80 + 51.34 - 65.76 - 71.89 - 56.93) / 3,
        "no_contrast": (64.86 + 69.92 + 55.71 - 65.76 - 71.89 - 56.93) / 3,
        "mix_0": (63.88 + 69.24 + 54.81 - 65.76 - 71.89 - 56.93) / 3,
        "order_2": (63.12 + 70.35 + 55.06 - 65.76 - 71.89 - 56.93) / 3,
    }
    for name, gap in expected.items():
        assert rows[name].published_difference == pytest.approx(gap)
        assert len(rows[name].published) == 3
    html = write_report([folder.path]).html.read_text(encoding="utf-8")
    assert "compare the directions" in html
    assert "aircraft 60.30, cars196 64.80, cub200 51.34" in html


@pytest.fixture
def confirmed(make_run: Maker, spec: Any) -> RunFolder:
    """Two configurations over three fresh seeds: the second is better on validation alone."""
    values = ((0.80, 0.84), (0.70, 0.81), (0.75, 0.83))
    tests = ((72, 64), (70, 60), (74, 62))
    trials = [
        spec(values=(0.1, pair[which]), variant=name, test=outcome(right[which]))
        for pair, right in zip(values, tests, strict=True)
        for which, name in enumerate(("t0004", "t0002"))
    ]
    run: RunFolder = make_run(
        trials,
        kind="comparison",
        comparison={
            "what": "confirmation",
            "seeds": 3,
            "source": "/somewhere/birds",
            "variants": [
                {"name": "t0004", "words": "resnet8 x 1", "published": None},
                {"name": "t0002", "words": "resnet8 x 2", "published": None},
            ],
        },
    )
    return run


def test_a_confirmation_chooses_by_the_mean_value_not_by_the_test(confirmed: RunFolder) -> None:
    rows = compare_variants(collect_run(confirmed.path))
    assert [row.chosen for row in rows] == [False, True]
    assert rows[0].relative.mean > rows[1].relative.mean
    assert rows[1].as_json()["chosen"] is True


def test_a_configuration_without_all_its_seeds_is_not_chosen(confirmed: RunFolder) -> None:
    confirmed.trial_folder("t0005").set_status("failed")
    rows = compare_variants(collect_run(confirmed.path))
    assert [row.chosen for row in rows] == [True, False]


def test_the_verdict_of_a_confirmation_gives_the_mean_with_its_interval(
    confirmed: RunFolder,
) -> None:
    """80, 75 and 77.5 %: mean 77.5, deviation 2.5, t of two degrees 4.3027: reach 6.21."""
    said = summarise(confirmed.path).verdict.replace("\N{NO-BREAK SPACE}", " ")
    assert said == (
        "The 2 best configurations of birds over 3 fresh seeds each: that of t0002 has the highest "
        "mean validation accuracy and reaches 77.5 % relative accuracy on the test split (mean of "
        "3, 95 % interval 71.3 to 83.7 %), which had no part in the choice."
    )
    page = write_report([confirmed.path]).html.read_text(encoding="utf-8")
    assert "They are the best configurations of birds" in page
    assert page.count('class="tag">chosen') == 1
    assert "mean of 3 seeds" in page
    assert "Nothing is chosen among them" not in page


def test_the_interval_of_a_mean_is_students() -> None:
    low, high = spread_of([80.0, 75.0, 77.5]).interval() or (0, 0)
    assert high - 77.5 == pytest.approx(4.30265273 * 2.5 / math.sqrt(3))
    assert low == pytest.approx(155 - high)
    assert spread_of([1.0]).interval() is None


@pytest.mark.parametrize("tested", [True, False])
def test_beside_published_results_a_comparison_says_where_its_own_stand(
    make_run: Maker, spec: Any, tested: bool
) -> None:
    variants = [{"name": "dfq", "words": "", "published": None}]
    run = make_run(
        [spec(values=(0.5,), total_epochs=1, variant="dfq", test=outcome(40) if tested else None)],
        kind="comparison",
        comparison={"what": "methods", "seeds": 1, "variants": variants},
    )
    experiment = json.loads(run.experiment_file.read_text())
    run.experiment_file.write_text(json.dumps({**experiment, "benchmark": "cifar10"}))
    html = write_report([run.path]).html.read_text(encoding="utf-8")
    assert ("stand variant by variant under" in html) == tested
    assert ("This run has no test accuracy yet" in html) == (not tested)
