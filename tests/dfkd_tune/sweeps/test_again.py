"""From a run folder back to its experiment."""

from pathlib import Path
from typing import Any

import pytest
from run_folders import add_epochs, empty_run

from dfkd_tune.errors import RunFolderError
from dfkd_tune.records import RunFolder, write_json
from dfkd_tune.sweeps import experiment_of_run, resolve_experiment
from dfkd_tune.sweeps._machine import Allotment
from dfkd_tune.sweeps._search import RecordedSearch


@pytest.fixture
def run(tiny: dict[str, Any], tmp_path: Path) -> RunFolder:
    """A sweep of two trials, begun elsewhere under another name."""
    tiny |= {"storage": "/elsewhere"}
    tiny["search"]["trials"] = 2
    resolved = resolve_experiment(tiny, "tiny.yaml")
    run = empty_run(tmp_path / "moved")
    write_json(run.experiment_file, resolved.record())
    allotment = Allotment(cpus=1, gpus=0, max_concurrent=1, total_cpus=1, total_gpus=0)
    search = RecordedSearch(run, resolved, "s", allotment)
    for number in range(2):
        proposed = search.suggest(str(number))
        assert proposed is not None
        folder = run.trial_folder(proposed["trial"])
        add_epochs(folder, [0.5], 36)
        folder.set_status("complete")
        search.on_trial_complete(str(number))
    return run


def test_the_same_experiment_where_the_folder_is_now(
    run: RunFolder, tiny: dict[str, Any], tmp_path: Path
) -> None:
    found = experiment_of_run(run, trials=5)
    assert found.identity_hash() == resolve_experiment(tiny, "tiny.yaml").identity_hash()
    assert found.experiment.search.trials == 5
    assert found.experiment.storage / found.experiment.name == tmp_path / "moved"


def test_the_same_call_goes_on(run: RunFolder) -> None:
    first = experiment_of_run(run, trials=5)
    write_json(run.experiment_file, first.record())
    assert experiment_of_run(run, trials=5).experiment == first.experiment


def test_fewer_than_there_are_is_refused(run: RunFolder) -> None:
    with pytest.raises(RunFolderError, match="has 2 trials already, and --trials is 1"):
        experiment_of_run(run, trials=1)


def test_an_older_run_is_refused_in_a_line(run: RunFolder) -> None:
    record = run.experiment()
    write_json(run.experiment_file, {k: v for k, v in record.items() if k != "written"})
    with pytest.raises(RunFolderError, match="does not hold the experiment as written"):
        experiment_of_run(run, trials=3)
