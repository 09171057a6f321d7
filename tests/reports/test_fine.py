"""Class by class, attention and variety: numbers by hand, and what the page says without them."""

import html as html_module
import json
import re
from pathlib import Path
from typing import Any

import pytest

from dfkd_tune.records import ClassResults, Confusion, RunFolder, write_record
from reports import collect_run, write_report
from reports.compute.classes import class_report
from reports.compute.selected_images import selected_images, variety
from reports.figures import balance_figure, classes_figure

Maker = Any


def results(**changes: Any) -> ClassResults:
    values: dict[str, Any] = {
        "where": "test",
        "names": ("a", "b", "c", "d"),
        "images": (10, 20, 0, 10),
        "teacher": (9, 16, 0, 5),
        "student": (9, 10, 0, 7),
        "confusions": (Confusion(true=1, predicted=0, student=8, teacher=3),),
    }
    return ClassResults(**{**values, **changes})


def many(count: int, **changes: Any) -> ClassResults:
    """Gaps of -count/2 to count/2 percentage points or so, in an order that is no order."""
    student = [(7 * place) % count for place in range(count)]
    values = {
        "names": tuple(f"class {place}" for place in range(count)),
        "images": (count,) * count,
        "teacher": (count // 2,) * count,
        "student": tuple(student),
        "confusions": (),
    }
    return results(**{**values, **changes})


def page_of(folder: RunFolder) -> str:
    return write_report([folder.path]).html.read_text(encoding="utf-8")


def section(page: str, name: str) -> str:
    """The text of a section, without its figures' data and markup."""
    found = re.search(rf'<section aria-labelledby="run-1-{name}">(.*?)</section>', page, re.S)
    assert found is not None
    plain = re.sub(r"<script.*?</script>|<[^>]*>", " ", found[1], flags=re.S)
    return " ".join(html_module.unescape(plain).split())


def test_classes_are_ordered_by_their_gap() -> None:
    found = class_report(results())
    assert found is not None
    assert [row.name for row in found.rows] == ["b", "a", "d", "c"]
    assert [row.name for row in found.first] == ["b", "a", "d"]
    assert [row.gap for row in found.known] == pytest.approx([10 / 20 - 16 / 20, 0, 0.2])
    assert found.rows[3].student_share is None
    assert (found.lower, found.higher, found.left_out) == (1, 1, 0)
    assert found.images_per_class == 10
    (pair,) = found.confusions
    assert (pair.true, pair.predicted, pair.images, pair.student, pair.teacher) == (
        "b",
        "a",
        20,
        8,
        3,
    )


def test_of_classes_that_lose_as_much_the_student_s_share_decides() -> None:
    # As fractions, 7 - 9 of 10 are a little less than 1 - 3 of 10.
    found = class_report(results(images=(10,) * 4, teacher=(9, 3, 8, 10), student=(7, 1, 6, 7)))
    assert found is not None
    assert [row.name for row in found.rows] == ["d", "b", "c", "a"]


def test_of_many_classes_the_largest_losses_and_gains_are_shown() -> None:
    found = class_report(many(45))
    assert found is not None
    assert (len(found.first), len(found.last), found.left_out) == (20, 10, 15)
    gaps = sorted((row.student - row.teacher) / 45 for row in found.rows if row.teacher is not None)
    assert [row.gap for row in found.first] == pytest.approx(gaps[:20])
    assert [row.gap for row in found.last] == pytest.approx(gaps[-10:])
    assert len(found.rows) == 45
    whole = class_report(many(40))
    assert whole is not None
    assert (len(whole.first), whole.last, whole.left_out) == (40, (), 0)


def test_without_labels_the_least_agreement_comes_first() -> None:
    found = class_report(many(45, teacher=None, where="held_out"))
    assert found is not None
    assert not found.labelled
    assert [row.student for row in found.first] == list(range(30))
    assert (found.last, found.left_out) == ((), 15)


@pytest.mark.parametrize(
    "changes",
    [
        {"images": (1, 2)},
        {"student": ()},
        {"teacher": (1,)},
        {"confusions": (Confusion(true=1, predicted=4, student=8),)},
    ],
)
def test_counts_that_do_not_fit_together_are_none(changes: dict[str, Any]) -> None:
    assert class_report(results(**changes)) is None
    assert class_report(None) is None


def test_the_figure_holds_both_accuracies_of_every_class_shown() -> None:
    found = class_report(many(45))
    assert found is not None
    figure = classes_figure(found)
    _, teacher, student = figure.figure.data
    assert teacher.marker.symbol != student.marker.symbol
    rows = [*found.first, None, *found.last]
    assert student.x[20] is None
    for drawn, row in zip(student.x, rows, strict=True):
        assert row is None or drawn == pytest.approx(100 * row.student / 45, abs=1e-4)
    assert teacher.x[:20] == pytest.approx([100 * 22 / 45] * 20, abs=1e-4)
    labels = figure.figure.layout.yaxis.ticktext
    assert labels[20] == "15 more in between"
    assert (labels[0], labels[-1]) == (found.first[0].name, found.last[-1].name)
    low, high = figure.figure.layout.xaxis.range
    assert low < 0 < 100 * 44 / 45 < high
    assert f"fewer right than the teacher in {found.lower} of 45 classes" in figure.summary


def test_variety_by_hand(realistic: RunFolder) -> None:
    run = collect_run(realistic.path)
    record = selected_images(run)
    assert record is not None
    found = variety(record)
    assert found is not None
    assert found.images == 80
    assert [row.images for row in found.rows] == [12, 0, 20, 4, 16, 8, 0, 10, 6, 4]
    assert found.rows[0].share == 12 / 80
    assert (found.most.name, found.absent) == ("2", 2)
    assert found.effective == pytest.approx(8)
    assert found.chance_absent == pytest.approx(10 * 0.9**80)
    figure = balance_figure(found)
    bars = figure.figure.data[0]
    assert list(bars.y) == pytest.approx([100 * row.share for row in found.rows])
    assert "class 2 most, 25.0" in figure.summary
    assert "2 of 10 classes not at all" in figure.summary


def test_the_page_tells_it_all(realistic: RunFolder) -> None:
    page = page_of(realistic)
    classes = section(page, "classes")
    # 45 images: 43 of the teacher and 38 of the student are right of class 3.
    assert "3 45 95.6 % 84.4 % -11.1" in classes.replace("\N{NO-BREAK SPACE}", " ")
    assert "3 9 45 5 1" in classes
    attention = section(page, "attention")
    assert "The median correlation of the two maps of an image is 0.58 on synthetic images" in (
        attention
    )
    assert "1 0 0 99.9 % 0 0.91" in attention.replace("\N{NO-BREAK SPACE}", " "), "with its label"
    assert "3 8 75.0 % 8 not defined" in attention.replace("\N{NO-BREAK SPACE}", " ")
    images = re.findall(r'<img src="data:image/png[^>]*alt="([^"]*attention map[^"]*)"', page)
    assert [alt[:40] for alt in images] == [
        "3 synthetic images, below each the atten",
        "3 real images, below each the attention ",
    ]
    shown = section(page, "variety").replace("\N{NO-BREAK SPACE}", " ")
    assert "as even as 8.0 equally frequent classes of 10" in shown
    assert re.search(r"synthetic, kept by t\d{4} 80 0\.0321 12\.5 %", shown)
    assert "real, of the validation split 80 0.0654 3.8 %" in shown
    assert "numbers 5 and 67: distance 0.0012" in shown
    assert page_of(realistic) == page


def test_an_older_run_says_what_to_do(make_run: Maker, spec: Any, make_selection: Any) -> None:
    folder = make_run([spec(values=(0.9,))], selection=make_selection("t0000"))
    content = json.loads(folder.selection_file.read_text())
    del content["classes"]
    folder.selection_file.write_text(json.dumps(content))
    page = page_of(folder)
    assert "dfkd-tune extend" in section(page, "classes")
    for name in ("attention", "variety"):
        assert "The same command, given again, does that" in section(page, name)
    assert not collect_run(folder.path).problems


def test_without_a_selection_there_are_no_such_sections(make_run: Maker, spec: Any) -> None:
    page = page_of(make_run([spec(values=(0.9,))]))
    for name in ("classes", "attention", "variety"):
        assert f"run-1-{name}" not in page


def test_a_look_at_another_student_is_not_shown(
    make_run: Maker, spec: Any, make_selection: Any, look: Any
) -> None:
    folder = make_run([spec(values=(0.9,))], selection=make_selection("t0000"))
    look(folder, "t0000", student_sha256="b" * 64)
    assert "does that" in section(page_of(folder), "attention")


def test_a_confirmation_is_not_counted_class_by_class(
    make_run: Maker, spec: Any, make_selection: Any
) -> None:
    folder = make_run(
        [spec(values=(0.9,), variant="t0004")],
        kind="comparison",
        comparison={"what": "confirmation", "source": "digits", "seeds": 1},
        selection=make_selection("t0000"),
    )
    assert "a confirmation is not counted class by class" in section(page_of(folder), "classes")


@pytest.mark.parametrize("damage", ["cut", "missing", "no picture"])
def test_damaged_files_do_not_stop_the_report(realistic: RunFolder, damage: str) -> None:
    record = realistic.selected_images_file
    if damage == "cut":
        record.write_text(record.read_text()[:200])
    elif damage == "missing":
        record.unlink()
    else:
        for path in realistic.selected_path.glob("*.png"):
            path.write_bytes(b"half")
    page = page_of(realistic)
    if damage == "no picture":
        assert "attention_real.png is missing or no PNG" in section(page, "attention")
        assert "0.91" in section(page, "attention")
        assert "their distance is 0.0012" in section(page, "variety")
    else:
        assert "The same command, given again" in section(page, "attention")
    assert bool(collect_run(realistic.path).problems) == (damage == "cut")


def test_a_record_leads_to_no_file_elsewhere(realistic: RunFolder, tmp_path: Path) -> None:
    record = realistic.selected_images()
    assert record is not None
    assert record.attention is not None
    (tmp_path / "secret.png").write_bytes(
        (realistic.selected_path / "closest_pair.png").read_bytes()
    )
    moved = record.attention.model_copy(update={"file": "../../secret.png"})
    write_record(realistic.selected_images_file, record.model_copy(update={"attention": moved}))
    assert "secret.png is missing" in section(page_of(realistic), "attention")


def test_without_labels_agreement_is_told(make_kind: Maker, look: Any) -> None:
    counted = many(10, teacher=None, where="held_out")
    folder = make_kind("unlabelled_real", "unlabelled", classes=counted)
    look(folder, "t0003", real=None, real_attention=None)
    page = page_of(folder)
    classes = section(page, "classes")
    assert "the unlabelled images that the choice has not seen" in classes
    assert "Teacher" not in classes.replace("The", "")
    assert "no real images to compare with" in section(page, "variety")
    assert "The student took no image for one of another class" in classes


def test_kept_images_may_be_missing(make_kind: Maker, look: Any) -> None:
    folder = make_kind("data_free", "none")
    nothing = dict.fromkeys(
        ("balance", "class_entropy", "duplicates", "real", "closest", "attention", "real_attention")
    )
    look(folder, "t0003", **nothing)
    page = page_of(folder)
    assert "no feature maps" in section(page, "attention")
    assert "kept none of its images" in section(page, "variety")


def test_hostile_names_are_text(make_kind: Maker, look: Any) -> None:
    bad = "</script><b>&'\"" + "x" * 10_000
    counted = results(names=(bad, bad + "2", "c", "d"))
    folder = make_kind("val_real", "labelled", classes=counted)
    look(folder, "t0003", names=(bad, *"123456789"), balance=(9, *[1] * 9))
    page = page_of(folder)
    assert "<b>&'" not in page
    assert "x" * 200 not in page
