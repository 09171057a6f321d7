"""The headline table as Markdown and LaTeX, its numbers by hand."""

import re
from typing import Any

import pytest

from dfkd_tune.records import RunFolder, TestOutcome
from reports import collect_run, write_report
from reports.matrix import COLUMNS, latex_text, matrix_latex, matrix_markdown, matrix_rows

Maker = Any
EVIL = "a|b_c & 50% $x$ {y} \\z ~^<script>"


def outcome(right: int) -> TestOutcome:
    """Of 100 images, of which the teacher has 80 right, and the student some of these."""
    return TestOutcome(
        images=100, both_correct=right, student_only=0, teacher_only=80 - right, neither=20
    )


def compared(make_run: Maker, spec: Any) -> RunFolder:
    variants = [{"name": name, "words": name} for name in ("full", "no_contrast")]
    run: RunFolder = make_run(
        [
            spec(values=(0.5,), variant="full", test=outcome(60)),
            spec(values=(0.5,), variant="full", test=outcome(64)),
            spec(values=(0.1,), variant="no_contrast", state="diverged"),
        ],
        kind="comparison",
        comparison={"what": "ablation", "seeds": 2, "variants": variants},
    )
    return run


def test_the_row_of_a_sweep_holds_its_test_numbers(realistic: RunFolder) -> None:
    (row,) = matrix_rows([collect_run(realistic.path)])
    assert row.teacher_accuracy == pytest.approx(100 * 440 / 450)
    assert row.student_accuracy == pytest.approx(100 * 413 / 450)
    assert row.relative == pytest.approx(100 * 413 / 440)
    assert row.interval is not None
    assert row.interval[0] < 100 * 413 / 440 < row.interval[1]
    assert (row.benchmark, row.method, row.seeds, row.trials) == ("digits", "cgdd", 1, 12)


def test_the_rows_of_a_comparison_are_its_variants(make_run: Maker, spec: Any) -> None:
    full, other = matrix_rows([collect_run(compared(make_run, spec).path)])
    assert full.relative == pytest.approx((75 + 80) / 2)
    # Student's t of one degree of freedom; the deviation of two values is their distance / sqrt 2.
    reach = 12.7062047364 * (80 - 75) / 2
    assert full.interval == pytest.approx((77.5 - reach, 77.5 + reach))
    assert full.cells[4:] == ("80.0", "62.0", "77.5", "45.7 to 109.3", "2", "2")
    assert other.cells[4:] == ("not run", "not run", "not run", "not run", "0", "1")


def test_what_was_not_measured_is_a_word(make_run: Maker, make_kind: Maker) -> None:
    (empty,) = matrix_rows([collect_run(make_run(teacher=False).path)])
    assert set(empty.cells[4:8]) == {"not run"}
    (without,) = matrix_rows([collect_run(make_kind("data_free", "none").path)])
    assert set(without.cells[4:8]) == {"no labels"}


def test_a_choice_on_the_test_split_is_told(make_kind: Maker) -> None:
    (row,) = matrix_rows([collect_run(make_kind("test_peeking", "labelled").path)])
    assert row.method == "cgdd (chosen on the test split)"


def test_the_markdown_table_reads_back(realistic: RunFolder) -> None:
    files = write_report([realistic.path])
    head, rule, line, *_ = files.matrix_md.read_text(encoding="utf-8").splitlines()
    assert [cell.strip() for cell in head.strip("|").split("|")] == list(COLUMNS)
    assert rule.count("---:") == 6
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[4:7] == ["97.8", "91.8", "93.9"]


def test_the_latex_table_has_all_its_cells(realistic: RunFolder) -> None:
    text = write_report([realistic.path]).matrix_tex.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.endswith("\\\\")]
    assert len(lines) == 2
    assert {line.count(" & ") for line in lines} == {len(COLUMNS) - 1}
    assert "\\begin{tabular}{llllrrrrrr}" in text
    assert [text.count(f"\\{rule}rule") for rule in ("top", "mid", "bottom")] == [1, 1, 1]
    assert "$\\times$" in text


def test_foreign_text_breaks_neither_table(make_run: Maker, spec: Any) -> None:
    run = make_run([spec(values=(0.5,), architecture=EVIL)])
    rows = matrix_rows([collect_run(run.path)])
    line = matrix_markdown(rows).splitlines()[2]
    assert len(re.split(r"(?<!\\)\|", line)) == len(COLUMNS) + 2
    assert "\\<script\\>" in line
    (row,) = [line for line in matrix_latex(rows).splitlines() if line.startswith("digits")]
    assert len(re.split(r"(?<!\\)&", row)) == len(COLUMNS)
    assert "50\\%" in row
    assert latex_text("a_b\\") == r"a\_b\textbackslash{}"


def test_several_runs_have_a_second_table_by_method(
    make_run: Maker, spec: Any, realistic: RunFolder, tmp_path: Any
) -> None:
    variants = [{"name": name, "words": name} for name in ("dfq", "mad")]
    methods = make_run(
        [
            spec(values=(0.5,), variant="dfq", test=outcome(60)),
            spec(values=(0.5,), variant="dfq", test=outcome(64)),
        ],
        name="methods",
        kind="comparison",
        comparison={"what": "methods", "seeds": 2, "variants": variants},
    )
    files = write_report([realistic.path, methods.path], tmp_path)
    table = files.matrix_md.read_text(encoding="utf-8").split("\n\n")[2].splitlines()
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table)
    assert head == ["Benchmark", "cgdd", "dfq", "mad"]
    cells = [cell for row in rows for cell in row]
    assert "77.5 (45.7 to 109.3, 2 seeds)" in cells
    assert any(cell.startswith("93.9 (") and cell.endswith(", 1 seed)") for cell in cells)
    assert "not run" in cells
    tables = files.matrix_tex.read_text(encoding="utf-8").split("\\end{tabular}")
    assert len(tables) == 3
    assert "\\begin{tabular}{lrrr}" in tables[1]
    assert tables[1].count(" & ") == (len(head) - 1) * (len(rows) + 1)
