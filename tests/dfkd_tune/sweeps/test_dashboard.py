"""The study of a run folder over HTTP, against its records."""

import builtins
import json
import os
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from run_folders import add_epochs, empty_run

from dfkd_tune.cli._main import run as command
from dfkd_tune.errors import RunFolderError, UsageError
from dfkd_tune.records import RunFolder, RunRecord, write_json, write_record
from dfkd_tune.sweeps import Allotment, dashboard_server, recorded_study, resolve_experiment
from dfkd_tune.sweeps._search import RecordedSearch

ENDS = ("complete", "stopped", "diverged", "complete", "failed", "running")
VALUES = ([0.2, 0.55], [0.1], [0.9], [0.3, 0.7], [], [0.4])


@pytest.fixture
def run(tiny: dict[str, Any], tmp_path: Path) -> RunFolder:
    """A sweep of six trials, of which each ended otherwise and one has not."""
    tiny["search"]["trials"] = len(ENDS)
    resolved = resolve_experiment(tiny, "tiny.yaml")
    run = empty_run(tmp_path / "shown")
    write_json(run.experiment_file, resolved.record())
    allotment = Allotment(cpus=1, gpus=0, max_concurrent=1, total_cpus=1, total_gpus=0)
    search = RecordedSearch(run, resolved, "s", allotment)
    for number, (state, values) in enumerate(zip(ENDS, VALUES, strict=True)):
        proposed = search.suggest(str(number))
        assert proposed is not None
        folder = run.trial_folder(proposed["trial"])
        add_epochs(folder, values, 18)
        if state != "running":
            folder.set_status(state)  # type: ignore[arg-type]
            search.on_trial_complete(str(number))
    return run


def fetched(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        return json.loads(answer.read())


def study_at(port: int) -> Any:
    (summary,) = fetched(port, "/api/studies")["study_summaries"]
    assert summary["study_name"] == "shown"
    return fetched(port, f"/api/studies/{summary['study_id']}")


def check(study: Mapping[str, Any], run: RunFolder) -> None:
    """Every trial as the records have it."""
    folders: Sequence[Any] = run.trial_folders()
    assert len(study["trials"]) == len(folders) == len(ENDS)
    for trial, folder in zip(study["trials"], folders, strict=True):
        told = {each["key"]: each["value"] for each in trial["user_attrs"]}
        assert (told["trial"], told["state"]) == (folder.name, folder.status().state)
        params = {each["name"]: each["param_external_value"] for each in trial["params"]}
        assert params == {key: str(v) for key, v in folder.trial().parameters.items()}
    assert [trial["state"] for trial in study["trials"]] == [
        "Complete",
        "Pruned",
        "Pruned",
        "Complete",
        "Fail",
        "Running",
    ]
    last = [f.epochs()[-1].value for f in folders if f.status().state == "complete"]
    found = [t["values"][0] for t in study["trials"] if t["state"] == "Complete"]
    assert [float(value) for value in found] == last
    assert float(study["best_trials"][0]["values"][0]) == max(last) == 0.7
    between = study["trials"][1]["intermediate_values"]
    assert [(each["step"], float(each["value"])) for each in between] == [(18, 0.1)]


def test_the_command_serves_what_the_records_hold(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    before = {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()}
    found: list[Any] = []

    def look() -> None:
        try:
            for _ in range(300):
                try:
                    found.append(study_at(port))
                    return
                except OSError:
                    time.sleep(0.2)
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    looking = threading.Thread(target=look)
    monkeypatch.setattr("sys.argv", ["dfkd-tune", "dashboard", str(run.path), "--port", str(port)])
    looking.start()
    code = command(debug=False)
    looking.join()
    said = capsys.readouterr()
    assert code == 0, said.err
    assert f"6 trials at http://127.0.0.1:{port}/" in said.out
    check(found[0], run)
    # A view: no file is new or another.
    assert {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()} == before
    with pytest.raises(OSError, match="refused"):
        fetched(port, "/api/studies")


def test_a_port_in_use_is_one_line(run: RunFolder) -> None:
    study = recorded_study(run)
    with (
        dashboard_server(study, "127.0.0.1", 0) as server,
        pytest.raises(UsageError, match=f"port {server.server_port}: another program"),
    ):
        dashboard_server(study, "127.0.0.1", server.server_port)
    with pytest.raises(UsageError, match="cannot listen on no such host, port 0"):
        dashboard_server(study, "no such host", 0)


def test_without_the_package_one_line_says_what_to_install(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **options: Any) -> Any:
        if name == "optuna_dashboard":
            raise ModuleNotFoundError("No module named 'optuna_dashboard'", name=name)
        return real(name, *rest, **options)

    study = recorded_study(run)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match="pip install optuna-dashboard"):
        dashboard_server(study, "127.0.0.1", 0)


def test_what_is_no_sweep_is_refused(run: RunFolder) -> None:
    record = run.run()
    write_record(run.run_file, RunRecord(**{**record.model_dump(), "kind": "distill"}))
    with pytest.raises(RunFolderError, match="holds a distill, and this needs a sweep"):
        recorded_study(run)


def test_a_sweep_without_trials_has_an_empty_study(tiny: dict[str, Any], tmp_path: Path) -> None:
    run = empty_run(tmp_path / "early")
    write_json(run.experiment_file, resolve_experiment(tiny, "tiny.yaml").record())
    assert recorded_study(run).get_trials() == []
