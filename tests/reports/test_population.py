"""A sweep with PBT: what its report says of trials that took over the weights of others."""

from typing import Any

import pytest

from dfkd_tune.records import Parent, RunFolder, write_record
from reports import collect_run, summarise, trials_table, write_report
from reports.compute.baseline import search_path
from reports.compute.caveats import caveats
from reports.compute.cost import run_cost
from reports.compute.reproduction import reproduction
from reports.compute.training import learning_curves, saved_steps

Maker = Any


@pytest.fixture
def run(make_run: Maker, spec: Any) -> RunFolder:
    """Four epochs of 50 steps: at the second one, t0001 gives its place to a child of t0000."""
    reason = "PBT: its place taken by t0002, from t0000 at 100 of 200 student steps"
    folder: RunFolder = make_run(
        [
            spec(values=(0.3, 0.5, 0.6, 0.7), total_epochs=4),
            spec(values=(0.1, 0.2), total_epochs=4, state="stopped", reason=reason),
            spec(values=(0.0, 0.0, 0.8, 0.9), total_epochs=4, origin="child"),
        ],
        planned=2,
    )
    child = folder.trial_folder("t0002")
    parent = Parent(trial="t0000", epoch=2, student_steps=100, place_of="t0001")
    write_record(child.trial_file, child.trial().model_copy(update={"parent": parent}))
    lines = child.metrics_file.read_text().splitlines()
    child.metrics_file.write_text("\n".join(lines[2:]) + "\n")
    return folder


def test_steps_count_once(run: RunFolder) -> None:
    """200 and 100 of the founders, and the child's own 100."""
    assert summarise(run.path).budgets.student_steps == 400
    path = search_path(collect_run(run.path))
    assert path.student_steps == 400
    assert [(s.trial, s.student_steps) for s in path.steps] == [("t0000", 200), ("t0002", 400)]


def test_who_gives_its_place_saves_nothing(run: RunFolder) -> None:
    saved = saved_steps(collect_run(run.path))
    assert (saved.trials, saved.trained, saved.saved) == (0, 0, 0)


def test_a_stopped_child_saves_what_was_left_of_its_budget(run: RunFolder) -> None:
    """Of 200 steps its parent has trained 100 and it 50 itself, when nobody takes its place."""
    child = run.trial_folder("t0002")
    write_record(child.status_file, child.status().model_copy(update={"state": "stopped"}))
    child.metrics_file.write_text(child.metrics_file.read_text().splitlines()[0] + "\n")
    data = collect_run(run.path)
    saved, cost = saved_steps(data), run_cost(data)
    assert (saved.trials, saved.trained, saved.saved, saved.share) == (1, 50, 50, 0.5)
    assert cost is not None
    assert cost.saved_seconds == pytest.approx(3.5)


def test_a_childs_curve_begins_at_its_parents_step(run: RunFolder) -> None:
    curve = learning_curves(collect_run(run.path))[2]
    assert curve.student_steps == (100, 150, 200)
    assert curve.values == (0.5, 0.8, 0.9)
    # A quarter is 50 steps, of which it has nothing; the half is its parent's.
    assert curve.milestones == (None, 0.5, 0.8, 0.9)


def test_the_table_tells_whose_child_a_trial_is(run: RunFolder) -> None:
    table = trials_table([collect_run(run.path)]).set_index("trial")
    child = table.loc["t0002"]
    assert (child["rank"], child["parent"], child["inherited_steps"]) == (1, "t0000", 100)
    assert (child["epochs"], child["student_steps"]) == (2, 200)
    assert table.loc["t0000", "inherited_steps"] == 0


def test_a_child_is_not_said_to_come_again_by_its_configuration(run: RunFolder) -> None:
    data = collect_run(run.path)
    again = reproduction(data)
    assert again.trial == "t0002"
    assert again.command is None
    assert "took over the weights of t0000 at 100 student steps" in again.not_alone
    assert any("the work of several configurations" in point for point in caveats(data))


def test_the_page_shows_it(run: RunFolder) -> None:
    write_report([run.path])
    page = (run.path / "report" / "report.html").read_text(encoding="utf-8")
    assert "child of t0000" in page
    assert "took over the weights of t0000" in page
    assert "<code>None</code>" not in page


def test_a_run_without_children_says_nothing_of_them(make_run: Maker, spec: Any) -> None:
    data = collect_run(make_run([spec(values=(0.3, 0.5))]).path)
    assert reproduction(data).not_alone == ""
    assert not any("several configurations" in point for point in caveats(data))
