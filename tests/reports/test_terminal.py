"""What a person reads in the terminal at the end of a run, and what `--json` holds."""

import io
from typing import Any

import pytest
from rich.console import Console

from dfkd_tune.cli._summary import print_summary, summary_json
from reports import summarise

Maker = Any


def printed(run: Any) -> str:
    file = io.StringIO()
    print_summary(Console(file=file, width=200), summarise(run.path))
    return file.getvalue().replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("objective", "data", "measures"),
    [
        ("val_real", "labelled", "validation accuracy"),
        ("unlabelled_real", "unlabelled", "agreement with the teacher on unlabelled images"),
        ("data_free", "none", "agreement with the teacher on the audit set"),
    ],
)
@pytest.mark.parametrize("selected", [True, False])
def test_terminal_names_the_search_objective(
    make_kind: Maker, objective: str, data: str, measures: str, selected: bool
) -> None:
    text = printed(make_kind(objective, data, selected=selected))
    assert f"{'* selected by its value' if selected else 'value'}: {measures}" in text
    assert "93.0 %" in text
    assert "only complete trials are ranked" in text


def test_text_in_square_brackets_is_shown_as_it_is(make_run: Maker, spec: Any) -> None:
    run = make_run([spec(values=(0.5,), architecture="[/b]net")])
    assert "([/b]net \N{MULTIPLICATION SIGN} 0.5" in printed(run)


def test_json_holds_what_was_measured_and_null_for_the_rest(make_kind: Maker) -> None:
    found = summary_json(summarise(make_kind("unlabelled_real", "unlabelled").path))
    assert found["objective"] == "unlabelled_real"
    assert found["value"] == 0.93
    assert found["held_out_agreement"] == pytest.approx(93.6)
    assert found["held_out_agreement_interval"] == pytest.approx([89.87, 96.01], abs=0.05)
    for name in ("relative_accuracy", "student_test_accuracy", "teacher_validation_accuracy"):
        assert found[name] is None
    labelled = summary_json(summarise(make_kind("data_free", "labelled").path))
    assert labelled["held_out_agreement"] is None
    assert labelled["relative_accuracy"] == pytest.approx(100 * 413 / 440)
