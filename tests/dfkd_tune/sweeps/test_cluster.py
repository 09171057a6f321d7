"""A cluster: what is asked of its nodes, and a sweep that loses drivers and a node."""

import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from processes import wait_for

from dfkd_tune.benchmarks import get_benchmark
from dfkd_tune.errors import ResourceError
from dfkd_tune.records import EpochRecord, RunFolder, read_lines
from dfkd_tune.sweeps import package_version, ray_cluster
from dfkd_tune.sweeps._cluster import Node, _data_probe, _shared_probe, allot_on_nodes
from dfkd_tune.sweeps._experiment_config import ResourcesConfig

KILLS = int(os.environ.get("DFKD_TUNE_TEST_KILLS", "0"))
TRIALS = 3 + KILLS // 3
KILL_SEED = int(os.environ.get("DFKD_TUNE_TEST_KILL_SEED", "0"))


def nodes(*given: tuple[float, float]) -> list[Node]:
    """Nodes of so many CPUs and GPUs."""
    return [
        Node(id=f"{i}" * 56, address=f"10.0.0.{i}", cpus=cpus, gpus=gpus)
        for i, (cpus, gpus) in enumerate(given, start=1)
    ]


@pytest.mark.parametrize(
    ("asked", "given", "at_once"),
    [
        ({"cpus_per_trial": 2}, [(3, 0), (3, 0)], 2),
        ({"cpus_per_trial": 1}, [(0, 0), (2, 0), (2, 0)], 4),
        ({"cpus_per_trial": 2, "gpus_per_trial": 0.5}, [(8, 0), (8, 1), (2, 1)], 3),
        ({"cpus_per_trial": 1, "max_concurrent": 1}, [(2, 0), (2, 0)], 1),
    ],
)
def test_a_trial_lies_on_one_node(
    asked: dict[str, Any], given: list[tuple[float, float]], at_once: int
) -> None:
    assert allot_on_nodes(ResourcesConfig(**asked), nodes(*given)).max_concurrent == at_once


@pytest.mark.parametrize(
    ("asked", "given", "message"),
    [
        (
            {"cpus_per_trial": 4},
            [(2, 0), (2, 0)],
            "no single node .* 2 CPUs and 0 GPUs on 10",
        ),
        ({"cpus_per_trial": 4, "gpus_per_trial": 1}, [(8, 0), (2, 1)], "4 CPUs and 1 GPUs per tr"),
        ({"cpus_per_trial": 5}, [(2, 0), (2, 0)], "5 CPUs per trial are asked for, there are 4"),
    ],
)
def test_what_fits_on_no_node_is_refused_before_anything_waits(
    asked: dict[str, Any], given: list[tuple[float, float]], message: str
) -> None:
    with pytest.raises(ResourceError, match=message):
        allot_on_nodes(ResourcesConfig(**asked), nodes(*given))


def test_the_address_of_a_dashboard_is_no_clusters() -> None:
    with (
        pytest.raises(ResourceError, match=r"for `ray job submit`; give the cluster's own"),
        ray_cluster("http://head:8265", 1),
    ):
        pass


@pytest.fixture
def asked(tmp_path: Path) -> dict[str, Any]:
    """What the driver leaves for a node, which finds all well."""
    shared = tmp_path / "run" / ".nodes-0"
    shared.mkdir(parents=True)
    (shared / "here").write_text("token")
    weights = tmp_path / "run" / "weights"
    weights.write_bytes(b"numbers")
    return {
        "version": package_version("dfkd-tune"),
        "shared": str(shared),
        "token": "token",
        "name": "node",
        "weights": str(weights),
        "digest": hashlib.sha256(b"numbers").hexdigest(),
    }


def test_a_node_that_is_well_answers_with_a_file(asked: dict[str, Any]) -> None:
    assert _shared_probe()(**asked) == ""
    assert (Path(asked["shared"]) / "node").read_text() == "token"
    assert _shared_probe()(**{**asked, "weights": "", "digest": ""}) == ""


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"version": "9.9"}, "and here is 9.9; install 9.9 there"),
        ({"shared": "/nowhere/.nodes-0"}, "does not see /nowhere as it is here; mount the same"),
        ({"token": "of another time"}, "is another folder than here"),
        ({"name": "no/such"}, "cannot write to"),
        ({"weights": "/nowhere/weights"}, "cannot read the teacher's weights /nowhere/weights"),
        ({"digest": "0"}, "reads other teacher's weights"),
    ],
)
def test_a_node_says_what_is_wrong_with_it(
    asked: dict[str, Any], changes: dict[str, str], problem: str
) -> None:
    assert problem in _shared_probe()(**{**asked, **changes})


def test_a_node_opens_the_data_or_says_why_not(tmp_path: Path) -> None:
    digits = get_benchmark("digits").config
    assert _data_probe()(digits.model_dump(mode="json")) == ""
    gone = {"name": "cifar10", "root": str(tmp_path / "gone")}
    found = _data_probe()(gone)
    assert found.startswith("the data cannot be opened there: ")
    assert str(tmp_path / "gone") in found


# ------------------------------------------------------------------ two nodes on one machine


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A Ray cluster of two nodes of one CPU."""
    from ray.cluster_utils import Cluster

    path = tempfile.mkdtemp(prefix="ray")
    quick = {
        "health_check_initial_delay_ms": 0,
        "health_check_period_ms": 1000,
        "health_check_failure_threshold": 5,
    }
    started = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 1,
            "temp_dir": path,
            "include_dashboard": False,
            "_system_config": quick,
        },
    )
    try:
        started.add_node(num_cpus=1, temp_dir=path)
        yield started
    finally:
        started.shutdown()
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def command(
    cluster: Any, tiny: dict[str, Any], storage: Path, tmp_path: Path
) -> Iterator[Callable[[], "subprocess.Popen[str]"]]:
    """Start `dfkd-tune sweep` on the cluster, as a process of its own."""
    tiny["settings"]["schedule"] |= {"epochs": 30, "iterations_per_epoch": 10}
    tiny["search"] = {"trials": TRIALS, "sampler": "random", "scheduler": {"name": "none"}}
    # A node that is lost uses up none.
    tiny["resources"]["retries"] = 0
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump({**tiny, "storage": str(storage)}))
    started: list[subprocess.Popen[str]] = []

    def start() -> "subprocess.Popen[str]":
        call = "from dfkd_tune.cli import main; main()"
        process = subprocess.Popen(
            [sys.executable, "-c", call, "sweep", str(file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Ray puts the driver's folder first on every node: not that of this checkout.
            cwd=tmp_path,
            env={**os.environ, "RAY_ADDRESS": cluster.address},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


def _refused(cluster: Any, command: Any, run: RunFolder, folder: Path) -> None:
    """A node with another version of dfkd-tune: no trial begins."""
    info = folder / "dfkd_tune-9.9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dfkd-tune\nVersion: 9.9\n")
    paths = os.pathsep.join([str(folder), *sys.path])
    other = cluster.add_node(num_cpus=1, env_vars={"PYTHONPATH": paths})
    process = command()
    output = process.communicate(timeout=200)[0]
    cluster.remove_node(other)
    assert process.returncode == 1, output
    assert "Traceback" not in output
    assert f"node {other.node_ip_address} ({other.node_id[:8]}): it has dfkd-tune 9.9" in output
    assert not run.trial_folders()


def _begun(command: Any, run: RunFolder) -> "subprocess.Popen[str]":
    """Start the command, and wait until it owns the run folder."""
    before = len(run.sessions())
    process: subprocess.Popen[str] = command()
    wait_for(lambda: len(run.sessions()) > before, process)
    return process


def _rows_of_this_start(run: RunFolder) -> int:
    session = run.run().session
    return sum(
        row.session == session
        for folder in run.trial_folders()
        for row in read_lines(folder.metrics_file, EpochRecord)
    )


def _seen(run: RunFolder) -> dict[str, Any]:
    return {folder.name: folder.trial().parameters for folder in run.trial_folders()}


@pytest.mark.sweep
@pytest.mark.long
@pytest.mark.timeout(300 + 120 * KILLS)
def test_drivers_and_a_node_are_lost_and_nothing_else(
    cluster: Any, command: Any, storage: Path, tmp_path: Path
) -> None:
    run = RunFolder(storage / "tiny")
    _refused(cluster, command, run, tmp_path / "other")

    moments = random.Random(KILL_SEED)
    parameters: dict[str, Any] = {}
    for _ in range(KILLS):
        process = _begun(command, run)
        # While it starts, or so many epochs later.
        epochs = moments.choice((0, 1, 2, 4, 8))
        wait_for(lambda rows=epochs: _rows_of_this_start(run) >= rows, process)
        time.sleep(moments.uniform(0, 1))
        process.kill()
        output = process.communicate()[0]
        assert process.returncode == -9, output
        seen = _seen(run)
        assert {k: seen[k] for k in parameters} == parameters, "a trial changed or vanished"
        parameters = seen

    # Both nodes at work: one dies whole, without a word.
    process = _begun(command, run)
    worker = next(iter(cluster.worker_nodes))
    raylet = psutil.Process(worker.all_processes["raylet"][0].process.pid)

    def at_work() -> list[Any]:
        return [
            folder
            for folder in run.trial_folders()
            if folder.status().state == "running"
            and any(e.session == run.run().session for e in folder.epochs()[-3:])
            and len(folder.epochs()) < 25
        ]

    wait_for(
        lambda: (
            len(at_work()) == 2
            and any(child.name().startswith("ray::Implicit") for child in raylet.children())
        ),
        process,
    )
    there = {folder.name: len(folder.epochs()) for folder in at_work()}
    before = {name: len(run.trial_folder(name).status().restores) for name in there}
    cluster.remove_node(worker, allow_graceful=False)
    output = process.communicate(timeout=280)[0]
    assert process.returncode == 0, output
    assert "Traceback" not in output
    assert "· a node was lost; waiting to go on" in output

    assert sorted(_seen(run)) == [f"t{i:04d}" for i in range(TRIALS)], "no ghost, none lost"
    assert {k: _seen(run)[k] for k in parameters} == parameters
    moved = [name for name in there if len(run.trial_folder(name).status().restores) > before[name]]
    assert len(moved) == 1, "one trial was on the lost node, and the other did not notice"
    restore = run.trial_folder(moved[0]).status().restores[-1]
    assert restore.from_epoch >= there[moved[0]] - 1, "no epoch is lost beyond the last one"
    rows = 0
    for folder in run.trial_folders():
        status = folder.status()
        assert status.state == "complete", status
        assert status.error is None
        assert [epoch.epoch for epoch in folder.epochs()] == list(range(1, 31))
        seen_epochs: dict[int, EpochRecord] = {}
        for row in read_lines(folder.metrics_file, EpochRecord):
            rows += 1
            if row.epoch in seen_epochs:
                # Trained again, to the same digits, as it came after the checkpoint gone on from.
                older = seen_epochs[row.epoch]
                assert row.validation == older.validation
                assert row.losses == older.losses
            seen_epochs[row.epoch] = row
        again = sum(1 for _ in read_lines(folder.metrics_file, EpochRecord)) - 30
        assert again <= len(status.restores), "an epoch more, at most, for each time it went on"
    print(f"{KILLS} drivers and a node killed: {len(_seen(run))} trials, {rows} rows")
