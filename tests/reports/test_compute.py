"""Numbers of the leaderboard, the history, training, failures and reproduction."""

import hashlib
from typing import Any

import pytest

from dfkd_tune.records import ErrorRecord, RestoreRecord, RunFolder
from reports import collect_run
from reports.compute.caveats import caveats
from reports.compute.failures import failure_report
from reports.compute.history import search_history
from reports.compute.leaderboard import leaderboard
from reports.compute.reproduction import best_trial, reproduction, shown_trial
from reports.compute.training import (
    learning_curves,
    loss_terms,
    saved_steps,
    spread,
    time_shares,
)
from reports.formatting import breakable, quantity

Maker = Any


def three_trials(make_run: Maker, spec: Any) -> RunFolder:
    """Two complete trials and one stopped trial that is better than both."""
    return make_run(
        [
            spec(values=(0.2, 0.4, 0.6, 0.5), total_epochs=4),
            spec(values=(0.9,), total_epochs=4, state="stopped"),
            spec(values=(0.1, 0.2, 0.3, 0.55), total_epochs=4),
        ]
    )


def test_complete_trials_are_ranked_by_last_value(make_run: Maker, spec: Any) -> None:
    rows = leaderboard(collect_run(three_trials(make_run, spec).path))
    assert [(row.rank, row.trial) for row in rows] == [(1, "t0002"), (2, "t0000"), (None, "t0001")]
    assert rows[1].last_value == 0.5
    assert rows[1].best_value == 0.6
    assert rows[1].mean_last_value == pytest.approx((0.2 + 0.4 + 0.6 + 0.5) / 4)
    assert rows[1].relative_value == pytest.approx(100 * 0.5 / 0.98)
    assert rows[0].seconds == pytest.approx(4 * 3.5)
    assert rows[2].progress == "stopped at step 50 of 200"


def test_mean_of_the_last_five_evaluations(make_run: Maker, spec: Any) -> None:
    run = make_run([spec(values=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5), total_epochs=6)])
    (row,) = leaderboard(collect_run(run.path))
    assert row.mean_last_value == pytest.approx(0.3)


def test_equal_trials_rank_in_order_of_proposal(make_run: Maker, spec: Any) -> None:
    same = spec(values=(0.5,), total_epochs=1)
    rows = leaderboard(collect_run(make_run([same, same]).path))
    assert [row.trial for row in rows] == ["t0000", "t0001"]


def test_history_best_so_far_counts_complete_trials_only(make_run: Maker, spec: Any) -> None:
    points = search_history(collect_run(three_trials(make_run, spec).path))
    assert [p.order for p in points] == [1, 2, 3]
    assert [p.value for p in points] == [0.5, 0.9, 0.55]
    assert [p.best_so_far for p in points] == [0.5, 0.5, 0.55]
    assert [p.ended_after_seconds for p in points] == pytest.approx([14, 17.5, 31.5])


def test_history_by_seconds_follows_the_order_of_ending(make_run: Maker, spec: Any) -> None:
    run = make_run([spec(values=(0.1,) * 15, total_epochs=15), spec(values=(0.2,) * 2)])
    first, second = search_history(collect_run(run.path))
    assert second.ended_after_seconds == pytest.approx(2 * 3.5)
    assert first.ended_after_seconds == pytest.approx(17 * 3.5)
    assert second.best_when_ended == 0.2


def test_learning_curve_milestones(make_run: Maker, spec: Any) -> None:
    stopped, complete = learning_curves(
        collect_run(
            make_run(
                [
                    spec(values=(0.1, 0.2), total_epochs=4, state="stopped"),
                    spec(values=(0.1, 0.2, 0.3, 0.4), total_epochs=4),
                ]
            ).path
        )
    )
    assert stopped.milestones == (0.1, 0.2, None, None)
    assert complete.milestones == (0.1, 0.2, 0.3, 0.4)
    assert complete.student_steps == (50, 100, 150, 200)


def test_loss_terms_are_those_of_the_records(make_run: Maker, spec: Any) -> None:
    (trial,) = collect_run(make_run([spec(values=(0.1, 0.2))]).path).trials
    losses = loss_terms(trial)
    assert losses.epochs == (1, 2)
    assert list(losses.terms) == [
        "generator/bn_statistics",
        "generator/preset_label",
        "student/kd",
    ]
    assert losses.terms["student/kd"][1] == trial.epochs[1].losses["student/kd"]


def test_time_and_saved_steps(make_run: Maker, spec: Any) -> None:
    run = collect_run(three_trials(make_run, spec).path)
    complete, stopped, everything = time_shares(run)
    assert (complete.name, complete.trials, complete.total) == ("complete", 2, 28)
    assert (stopped.synthesis, stopped.student, stopped.evaluation) == (2, 1, 0.25)
    assert stopped.other == pytest.approx(0.25)
    assert everything.total == pytest.approx(9 * 3.5)
    saved = saved_steps(run)
    assert (saved.trials, saved.trained, saved.saved) == (1, 50, 150)
    assert saved.share == 0.75


@pytest.mark.parametrize(
    ("items", "expected"),
    [([], ()), ([4], (4,)), (range(1, 4), (1, 2, 3)), (range(101), (0, 25, 50, 75, 100))],
)
def test_spread_keeps_both_ends(items: Any, expected: tuple[int, ...]) -> None:
    count = 5 if len(items) > 4 else 6
    assert spread(items, count) == expected


def test_failures_are_counted_by_type(make_run: Maker, spec: Any) -> None:
    memory = ErrorRecord(type="MemoryError", message="full")
    value = ErrorRecord(type="ValueError", message="bad")
    restore = RestoreRecord(session="s2", time="2025-03-04T12:00:00+00:00", from_epoch=2, note="n")
    run = make_run(
        [
            spec(state="failed", error=value),
            spec(state="failed", error=memory),
            spec(state="failed", error=memory),
            spec(state="diverged", reason="student/kd became non-finite in epoch 1"),
            spec(state="complete", error=value, restores=(restore,)),
        ]
    )
    report = failure_report(collect_run(run.path))
    assert report.by_type == (("MemoryError", 2), ("ValueError", 2))
    assert [failure.trial for failure in report.failed] == ["t0000", "t0001", "t0002"]
    assert [failure.reason for failure in report.diverged] == [
        "student/kd became non-finite in epoch 1"
    ]
    assert [failure.trial for failure in report.disturbed] == ["t0004"]
    assert [(r.trial, r.from_epoch) for r in report.restores] == [("t0004", 2)]
    assert not report.nothing


def test_nothing_failed(make_run: Maker, spec: Any) -> None:
    run = make_run([spec(values=(0.5,))])
    assert failure_report(collect_run(run.path)).nothing


def test_selection_beats_rank(make_run: Maker, spec: Any, make_selection: Any) -> None:
    run = make_run([spec(values=(0.5,)), spec(values=(0.4,))], selection=make_selection("t0001"))
    best = best_trial(collect_run(run.path))
    assert best is not None
    assert best.name == "t0001"


def test_shown_trial_without_a_complete_one(make_run: Maker, spec: Any) -> None:
    run = collect_run(
        make_run([spec(values=(0.5,), state="stopped"), spec(values=(0.1,) * 3)]).path
    )
    assert best_trial(run) is not None
    running = collect_run(
        make_run(
            [
                spec(values=(0.5,), state="stopped"),
                spec(values=(0.1,) * 3, state="running"),
            ],
            name="other",
        ).path
    )
    assert best_trial(running) is None
    shown = shown_trial(running)
    assert shown is not None
    assert shown.name == "t0001"


@pytest.mark.parametrize("same", [True, False])
def test_weights_are_checked_against_the_selection(
    make_run: Maker, spec: Any, make_selection: Any, same: bool
) -> None:
    weights = b"student weights"
    found = hashlib.sha256(weights).hexdigest()
    run = make_run(
        [spec(values=(0.5,), weights=weights)],
        selection=make_selection("t0000", student_sha256=found if same else "b" * 64),
    )
    again = reproduction(collect_run(run.path))
    assert again.command == "dfkd-tune distill digits --trial t0000"
    assert again.weights == "trials/t0000/student.safetensors"
    assert again.weights_sha256 == (found if same else "b" * 64)
    assert ("has changed" in again.weights_note) is not same
    assert again.seed == 3


def test_weights_without_a_selection(make_run: Maker, spec: Any) -> None:
    run = make_run([spec(values=(0.5,), weights=b"w")], name="a name; rm")
    again = reproduction(collect_run(run.path))
    assert again.weights_sha256 == hashlib.sha256(b"w").hexdigest()
    assert again.command == "dfkd-tune distill 'a name; rm' --trial t0000"


def test_caveats_tell_what_chose_and_how_often_test_was_touched(
    make_run: Maker, spec: Any, make_selection: Any
) -> None:
    trials = [spec(values=(0.5,)), spec(values=(0.4,), state="stopped", total_epochs=20)]
    once = " ".join(caveats(collect_run(make_run(trials, selection=make_selection("t0000")).path)))
    assert "labels of the validation split are real data" in once
    assert "touched once" in once
    assert "one seed" in once
    assert "different budgets, from 500 to 1,000" in once
    often = make_selection("t0000", test_evaluations=4)
    text = " ".join(caveats(collect_run(make_run(trials, name="b", selection=often).path)))
    assert "4 students of this run met the test split" in text
    untouched = " ".join(caveats(collect_run(make_run(trials, name="c").path)))
    assert "not been touched" in untouched


@pytest.mark.parametrize(
    ("count", "text"),
    [(999, "999"), (1_000, "1 k"), (999_499, "999 k"), (999_500, "1 M"), (999_999_999, "1 G")],
)
def test_a_count_that_rounds_up_takes_the_next_unit(count: int, text: str) -> None:
    assert quantity(count).replace("\N{NO-BREAK SPACE}", " ") == text


def test_a_name_breaks_after_underscores_and_stays_escaped() -> None:
    assert str(breakable("resnet34_imagenet")) == "resnet34_<wbr>imagenet"
    assert str(breakable("<b>_</b>")) == "&lt;b&gt;_<wbr>&lt;/b&gt;"
