"""What a run cost and when its slots were busy, in numbers by hand."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from record_examples import epoch_record

from dfkd_tune.records import RunFolder, Seconds, append_record, write_record
from reports import collect_run, write_report
from reports.compute.cost import run_cost, seconds_per_step
from reports.compute.utilisation import UNRECORDED, Utilisation, utilisation
from reports.figures import utilisation as drawn
from reports.figures import utilisation_figure
from reports.summary_file import summary_content
from reports.view import view_run

START = datetime(2025, 3, 4, tzinfo=UTC)

Maker = Any
Epochs = Sequence[tuple[float, float, str, str]]


def write_epochs(run: RunFolder, trial: str, epochs: Epochs, cohort: str | None = "") -> None:
    """Epochs by their end and length in seconds, their session and their node; 10 steps each."""
    file = run.trial_folder(trial).metrics_file
    file.write_text("")
    for number, (end, length, session, node) in enumerate(epochs, start=1):
        seconds = Seconds(synthesis=length / 2, student=length / 4, evaluation=0, total=length)
        time = (START + timedelta(seconds=end)).isoformat(timespec="milliseconds")
        where = {"session": session, "node": node, "cohort": cohort}
        record = epoch_record(number, seconds=seconds, time=time, **where)
        append_record(file, record)


def used(make_run: Maker, spec: Any, *trials: Epochs) -> Utilisation:
    run = make_run([spec() for _ in trials])
    for number, epochs in enumerate(trials):
        write_epochs(run, f"t{number:04d}", epochs)
    found = utilisation(collect_run(run.path))
    assert found is not None
    return found


def places(use: Utilisation) -> list[tuple[str, int, float, float]]:
    return [(spell.trial, spell.slot, spell.start, spell.end) for spell in use.spells]


def test_epochs_without_a_pause_are_one_spell(make_run: Maker, spec: Any) -> None:
    # The third begins 0.9 s after the second has ended: a clock's difference. The fourth 1.1 s.
    ends = [(10, 10, "a", "n"), (20, 10, "a", "n"), (30.9, 10, "a", "n"), (42, 10, "a", "n")]
    use = used(make_run, spec, ends)
    assert places(use) == [("t0000", 1, 0, pytest.approx(30.9)), ("t0000", 1, 32, 42)]
    first, second = use.spells
    assert (first.first_epoch, first.last_epoch, first.busy) == (1, 3, 30)
    assert (second.first_epoch, second.last_epoch, second.busy) == (4, 4, 10)
    assert use.share == pytest.approx(40 / 42)


def test_trials_are_packed_into_the_fewest_rows(make_run: Maker, spec: Any) -> None:
    use = used(
        make_run,
        spec,
        [(50, 50, "a", "n")],
        [(20, 20, "a", "n")],
        # Where the second has ended.
        [(40, 20, "a", "n")],
        # No row is free.
        [(45, 15, "a", "n")],
        # The third's and the fourth's rows are free: the lower one.
        [(100, 50, "a", "n")],
    )
    assert places(use) == [
        ("t0000", 1, 0, 50),
        ("t0004", 1, 50, 100),
        ("t0001", 2, 0, 20),
        ("t0002", 2, 20, 40),
        ("t0003", 3, 30, 45),
    ]
    (node,) = use.nodes
    assert (node.node, node.slots, node.trials, node.busy) == ("n", 3, 5, 155)
    assert node.share == use.share == pytest.approx(155 / 300)


def test_a_killed_trial_goes_on_in_its_row_and_the_time_between_does_not_count(
    make_run: Maker, spec: Any
) -> None:
    use = used(
        make_run,
        spec,
        [(10, 10, "a", "n"), (120, 20, "b", "n")],
        [(10, 10, "a", "n"), (120, 20, "b", "n")],
    )
    assert places(use) == [
        ("t0000", 1, 0, 10),
        ("t0000", 1, 100, 120),
        ("t0001", 2, 0, 10),
        ("t0001", 2, 100, 120),
    ]
    assert (use.starts, use.seconds, use.paused, use.share) == (2, 30, 90, 1.0)


def test_nodes_have_rows_of_their_own(make_run: Maker, spec: Any) -> None:
    use = used(
        make_run,
        spec,
        [(40, 40, "a", "left")],
        # Its node was lost; it goes on at the other one.
        [(10, 10, "a", "right"), (30, 10, "a", "left")],
        [(35, 20, "a", "right")],
    )
    left, right = use.nodes
    assert (left.node, left.slots, left.trials, left.busy) == ("left", 2, 2, 50)
    assert (right.node, right.slots, right.trials, right.busy) == ("right", 1, 2, 30)
    assert left.share == pytest.approx(50 / 80)
    assert right.share == pytest.approx(30 / 40)
    assert use.share == pytest.approx(80 / 120)
    assert (use.slots, use.trials, use.recorded) == (3, 3, True)


def test_records_without_nodes_are_shown_as_one(make_run: Maker, spec: Any) -> None:
    run = make_run([spec(), spec()])
    write_epochs(run, "t0000", [(10, 10, "a", "")])
    write_epochs(run, "t0001", [(10, 10, "a", "")])
    use = utilisation(collect_run(run.path))
    assert use is not None
    assert [node.node for node in use.nodes] == [UNRECORDED]
    assert not use.recorded
    html = write_report([run.path]).html.read_text(encoding="utf-8")
    assert "The records of this run do not say on which node" in html
    write_epochs(run, "t0001", [(10, 10, "a", "n")])
    html = write_report([run.path]).html.read_text(encoding="utf-8")
    assert "Some records of this run do not say on which node" in html
    assert '<th scope="row">all nodes</th>' in html


def _cohorts(make_run: Maker, spec: Any, cohort: str | None) -> RunFolder:
    """Three trials in one process, the third of which is stopped after an epoch; then two alone."""
    run: RunFolder = make_run([spec() for _ in range(5)])
    experiment = json.loads(run.experiment_file.read_text())
    run.experiment_file.write_text(json.dumps(experiment | {"resources": {"cohort": 3}}))
    # Epochs of 30 and 40 seconds; each counts its share, and ends when it was recorded.
    write_epochs(run, "t0000", [(29.8, 10, "a", "n"), (69.9, 21, "a", "n")], cohort)
    write_epochs(run, "t0001", [(29.9, 9, "a", "n"), (70, 19, "a", "n")], cohort)
    write_epochs(run, "t0002", [(30, 11, "a", "n")], cohort)
    alone = None if cohort is None else ""
    write_epochs(run, "t0003", [(100, 30, "a", "n")], alone)
    write_epochs(run, "t0004", [(60, 60, "a", "n")], alone)
    return run


def test_a_cohort_is_one_process(make_run: Maker, spec: Any) -> None:
    run = _cohorts(make_run, spec, "t0000")
    use = utilisation(collect_run(run.path))
    assert use is not None
    assert places(use) == [("t0000", 1, 0, 70), ("t0003", 1, 70, 100), ("t0004", 2, 0, 60)]
    first = use.spells[0]
    assert first.trials == ("t0000", "t0001", "t0002")
    assert (first.first_epoch, first.last_epoch, first.busy) == (1, 2, 70)
    assert (use.trials, use.slots, use.shared) == (5, 2, True)
    assert use.share == pytest.approx(160 / 200)
    (several, *_) = [t for t in utilisation_figure(use).figure.data if t.name == "several trials"]
    words = "3 trials in one process: epochs 1 to 2, 1 min 10 s"
    assert [text.replace("\N{NO-BREAK SPACE}", " ") for text in several.customdata] == [words]
    assert "or several in one process" in write_report([run.path]).html.read_text("utf-8")


def test_older_records_do_not_tell_who_shared_a_process(make_run: Maker, spec: Any) -> None:
    run = _cohorts(make_run, spec, None)
    assert utilisation(collect_run(run.path)) is None
    page = write_report([run.path]).html.read_text("utf-8")
    assert "trials shared processes, and no record says which" in page


def test_where_cohorts_were_asked_for_and_none_was_formed_each_trained_alone(
    make_run: Maker, spec: Any
) -> None:
    use = utilisation(collect_run(_cohorts(make_run, spec, "").path))
    assert use is not None
    assert use.trials == 5
    assert not use.shared


def test_no_epoch_has_no_cost(make_run: Maker, spec: Any) -> None:
    run = make_run([spec()])
    assert run_cost(collect_run(run.path)) is None
    assert utilisation(collect_run(run.path)) is None
    assert "No epoch has been trained yet." in write_report([run.path]).html.read_text("utf-8")


def test_times_that_cannot_be_read_are_left_out(make_run: Maker, spec: Any) -> None:
    run = make_run([spec()])
    append_record(run.trial_folder("t0000").metrics_file, epoch_record(time="yesterday"))
    assert utilisation(collect_run(run.path)) is None
    assert "no epoch has a time" in write_report([run.path]).html.read_text(encoding="utf-8")


def test_the_timeline_draws_what_was_computed(make_run: Maker, spec: Any) -> None:
    run = make_run([spec(), spec(state="stopped"), spec()])
    write_epochs(run, "t0000", [(100, 100, "a", "left"), (600, 300, "a", "left")])
    write_epochs(run, "t0001", [(60, 60, "a", "left")])
    write_epochs(run, "t0002", [(120, 60, "a", "right")])
    figure = view_run(collect_run(run.path), "run-1").figures["utilisation"]
    complete, stopped = figure.figure.data
    assert (complete.name, stopped.name) == ("complete", "stopped")
    assert list(complete.base) == pytest.approx([0, 5, 1])
    assert list(complete.x) == pytest.approx([100 / 60, 5, 1], rel=1e-5)
    assert list(complete.y) == [0, 0, 2]
    assert (
        complete.customdata[1]
        == "t0000, complete: epoch 2, 5\N{NO-BREAK SPACE}min 00\N{NO-BREAK SPACE}s"
    )
    assert (list(stopped.base), list(stopped.x), list(stopped.y)) == ([0], [1], [1])
    assert list(figure.figure.layout.yaxis.ticktext) == ["left 1", "2", "right 1"]
    assert figure.figure.layout.xaxis.title.text == "minutes since the start"
    share = f"{100 * 520 / 1800:.1f}\N{NO-BREAK SPACE}%"
    assert figure.summary == (
        f"3 slots on 2 nodes were busy {share} of 10\N{NO-BREAK SPACE}min 00\N{NO-BREAK SPACE}s, "
        f"training 3 trials."
    )


def test_of_a_long_name_the_end_is_shown(make_run: Maker, spec: Any) -> None:
    names = ("gpu-pool-worker-00.cluster.local", "gpu-pool-worker-01.cluster.local", "10.0.0.7")
    use = used(make_run, spec, *([(10, 10, "a", name)] for name in names))
    labels = utilisation_figure(use).figure.layout.yaxis.ticktext
    assert list(labels) == [
        "10.0.0.7 1",
        "\N{HORIZONTAL ELLIPSIS}ool-worker-00 1",
        "\N{HORIZONTAL ELLIPSIS}ool-worker-01 1",
    ]
    assert all(len(label) <= 16 for label in labels)


def test_of_many_spells_those_without_a_visible_gap_are_drawn_as_one(
    make_run: Maker, spec: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawn, "MOST_BARS", 3)
    use = used(
        make_run,
        spec,
        [(1000, 1000, "a", "n")],
        [(2000, 998, "a", "n")],
        [(4000, 1900, "a", "n")],
        [(4000, 10, "a", "n")],
    )
    figure = utilisation_figure(use)
    assert figure.summary.endswith("Bars between which no gap could be seen are drawn as one.")
    (several,) = figure.figure.data
    # 2 s of 4,000 cannot be seen, 100 s can.
    unit = 3600 if max(spell.end for spell in use.spells) >= 3 * 3600 else 60
    assert list(several.base) == pytest.approx([0, 2100 / unit, 3990 / unit], rel=1e-5)
    assert list(several.x) == pytest.approx([2000 / unit, 1900 / unit, 10 / unit], rel=1e-5)
    words = [each.split(",")[0] for each in several.customdata]
    assert words == ["2 trials", "t0002", "t0003"]


def test_cost_in_numbers(make_run: Maker, spec: Any) -> None:
    run = make_run(
        [
            spec(total_epochs=4, steps_per_epoch=10),
            spec(total_epochs=4, steps_per_epoch=10, state="stopped"),
            spec(total_epochs=4, steps_per_epoch=10, state="stopped"),
        ]
    )
    write_epochs(run, "t0000", [(10 * n, 10, "a", "n") for n in (1, 2, 3, 4)])
    # One epoch of the generator alone, then two of 10 steps that took 6 and 8 s.
    file = run.trial_folder("t0001").metrics_file
    for number, (stage, length) in enumerate(
        [("generator", 100), ("alternating", 6), ("alternating", 8)]
    ):
        seconds = Seconds(synthesis=0, student=0, evaluation=0, total=length)
        record = epoch_record(number + 1, stage=stage, student_steps=10 * number, seconds=seconds)
        append_record(file, record)
    # Stopped before its student had trained.
    seconds = Seconds(synthesis=0, student=0, evaluation=0, total=50)
    record = epoch_record(stage="generator", student_steps=0, seconds=seconds)
    append_record(run.trial_folder("t0002").metrics_file, record)
    data = collect_run(run.path)
    cost = run_cost(data)
    assert cost is not None
    assert (cost.trials, cost.seconds, cost.student_steps) == (3, 40 + 114 + 50, 40 + 20)
    assert [seconds_per_step(trial) for trial in data.trials] == [1.0, 14 / 20, None]
    assert (cost.saved.trials, cost.saved.saved) == (2, 20 + 40)
    assert cost.saved_seconds == pytest.approx(20 * 14 / 20)
    assert cost.without_pace == 1
    assert cost.processors == "CPU, 1 thread each"
    (summary,) = summary_content([data])["runs"]
    assert summary["cost"]["saved"] == {"trials": 2, "trained": 20, "saved": 60}
    assert summary["cost"]["saved_seconds"] == cost.saved_seconds
    assert [node["node"] for node in summary["utilisation"]["nodes"]] == [UNRECORDED, "n"]


def test_processors_in_words(make_run: Maker, spec: Any) -> None:
    run = make_run([spec(values=(0.5,)) for _ in range(3)])
    for name, device, threads in (("t0000", "cuda", 1), ("t0001", "cpu", 1), ("t0002", "cpu", 4)):
        trial = run.trial_folder(name)
        record = trial.trial().model_copy(update={"device": device, "threads": threads})
        write_record(trial.trial_file, record)
    cost = run_cost(collect_run(run.path))
    assert cost is not None
    assert cost.processors == "CPU, 1 to 4 threads each; GPU"
