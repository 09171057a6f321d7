"""How many trials share a GPU: by hand, from records, and by a sweep that measures it.

None of this has met a GPU: the numbers are made by hand, and the sweep measures the CPU in its
place, with Ray counting a GPU that is not there.
"""

import io
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import run_folders as folders
import yaml
from record_examples import GPU_SHARE
from rich.console import Console

from dfkd_tune.errors import ResourceError, RunFolderError
from dfkd_tune.records import (
    ErrorRecord,
    GpuShareRecord,
    RunFolder,
    StudentNeed,
    Throughput,
    write_record,
)
from dfkd_tune.sweeps import Allotment, resolve_experiment, share_plan
from dfkd_tune.sweeps._cluster import Node
from dfkd_tune.sweeps._experiment_config import ResourcesConfig
from dfkd_tune.sweeps._given import Comparison, GivenTrial
from dfkd_tune.sweeps._gpu_probe import (
    measure_share,
    most_on_a_gpu,
    probe_task,
    share_gpus,
    share_text,
    shared,
    students_of,
)
from dfkd_tune.sweeps._gpu_share import (
    best_count,
    memory_limit,
    most_by_cores,
    most_by_memory,
    next_count,
    share,
    share_of,
    typical_student,
)
from dfkd_tune.sweeps._machine import larger_share
from dfkd_tune.sweeps._search import RecordedSearch
from trainables import (
    Needs,
    ProbeTask,
    measure_needs,
    measure_throughput,
    requested_resources,
)

WHOLE = Allotment(cpus=1, gpus=1, max_concurrent=2, total_cpus=32, total_gpus=2)
NODES = [Node(id="1" * 56, address="10.0.0.1", cpus=32, gpus=2)]


def rates(*given: float, out_of_memory: bool = False) -> list[Throughput]:
    """Of 1, 2, 4, ... trials; the last one may have been too many."""
    return [
        Throughput(
            trials=2**index,
            steps_per_second=rate,
            out_of_memory=out_of_memory and index == len(given) - 1,
        )
        for index, rate in enumerate(given)
    ]


def need(peak_mib: float, width: float = 1.0, architecture: str = "a") -> StudentNeed:
    return StudentNeed(architecture=architecture, width=width, peak_mib=peak_mib)


@pytest.mark.parametrize(
    ("peak", "context", "memory", "fit"),
    [
        # 0.9 of 10,000 MiB are 9,000.
        (1000, 500, 10_000, 6),
        (1000, 0, 10_000, 9),
        (4000, 500, 10_000, 2),
        (4001, 500, 10_000, 1),
        (8500, 500, 10_000, 1),
        (9000, 500, 10_000, 0),
    ],
)
def test_memory_holds_so_many(peak: float, context: float, memory: float, fit: int) -> None:
    assert most_by_memory(need(peak), context, memory) == fit


@pytest.mark.parametrize(
    ("cpus", "each", "fit"), [(16, 1, 16), (16, 3, 5), (4.5, 1, 4), (2, 4, 1), (0, 1, 1)]
)
def test_cores_suffice_for_so_many(cpus: float, each: int, fit: int) -> None:
    assert most_by_cores(cpus, each) == fit


@pytest.mark.parametrize(
    ("known", "count"),
    [
        ([], 1),
        (rates(100), 1),
        (rates(100, 190, 350, 600, 900), 16),
        # More trials are slower together.
        (rates(100, 180, 200, 150), 4),
        # Within 5 % of the best, the fewest.
        (rates(100, 190, 199, 200), 2),
        (rates(100, 189.9, 199, 200), 4),
        (rates(100, 100, 100), 1),
        # What ran out of memory is no choice, however fast the others were.
        (rates(100, 190, 900, out_of_memory=True), 2),
        (rates(0, out_of_memory=True), 1),
    ],
)
def test_the_best_number_trains_most_steps(known: list[Throughput], count: int) -> None:
    assert best_count(known) == count


@pytest.mark.parametrize(
    ("known", "most", "following"),
    [
        ([], 16, 1),
        (rates(1), 16, 2),
        (rates(1, 2, 3), 16, 8),
        # Five would fit, and eight are next.
        (rates(1, 2, 3), 5, None),
        (rates(1), 1, None),
        (rates(1, 2, 3, 4, 5), 99, None),
        (rates(1, 2, out_of_memory=True), 16, None),
        # Slower once may be chance; twice is enough.
        (rates(3, 2), 16, 4),
        (rates(3, 2, 1), 16, None),
        (rates(3, 2, 2.5), 16, 8),
    ],
)
def test_more_are_tried_while_that_can_help(
    known: list[Throughput], most: int, following: int | None
) -> None:
    assert next_count(known, most) == following


def test_a_whole_scan_goes_on_where_trials_are_slower() -> None:
    assert next_count(rates(3, 2, 1), 16, all_counts=True) == 8
    assert next_count(rates(3, 2, 1, out_of_memory=True), 16, all_counts=True) is None


def test_the_typical_student_is_in_the_middle() -> None:
    assert typical_student([need(5), need(1), need(3)]).peak_mib == 3
    assert typical_student([need(5), need(1), need(3), need(4)]).peak_mib == 3


def measured(trials: int = 8) -> GpuShareRecord:
    """A GPU of 10,000 MiB, contexts of 500."""
    students = (need(400, 0.5), need(1300, 1.0), need(2500, 2.0), need(9900, 1.0, "b"))
    return GPU_SHARE.model_copy(
        update={
            "memory_mib": 10_000.0,
            "context_mib": 500.0,
            "students": students,
            "typical": students[1],
            "trials": trials,
        }
    )


@pytest.mark.parametrize(
    ("architecture", "width", "fit"),
    [
        # 9,000 MiB hold 10 of the smallest, of which 8 share: throughput decides.
        ("a", 0.5, 8),
        # 9,000 / 1,800 and 9,000 / 3,000: memory decides.
        ("a", 1.0, 5),
        ("a", 2.0, 3),
        # One between two counts as the wider, one beyond as the largest of all.
        ("a", 0.6, 5),
        ("a", 3.0, 1),
        ("c", 1.0, 1),
        # Does not even fit alone: it gets all there is.
        ("b", 1.0, 1),
    ],
)
def test_larger_students_get_more(architecture: str, width: float, fit: int) -> None:
    found = share_of(measured(), architecture, width)
    assert found * fit <= 1 < found * (fit + 1)
    assert found == pytest.approx(1 / fit, abs=1e-4)


@pytest.mark.parametrize("count", range(1, 17))
def test_so_many_shares_fill_a_gpu_as_ray_counts(count: int) -> None:
    parts = share(count) * 10_000
    assert parts == pytest.approx(round(parts)), "Ray counts ten-thousandths"
    assert count * round(parts) <= 10_000 < count * round(parts) + count


def test_a_trial_may_reserve_its_share_but_for_the_context() -> None:
    # 500 of 10,000 MiB are 0.05.
    assert memory_limit(0.25, measured()) == pytest.approx(0.2)
    assert memory_limit(0.25, None) == 0.25
    assert memory_limit(1.0, measured()) == 1.0
    assert memory_limit(2.0, None) == 1.0
    assert memory_limit(0.0, None) == 0.0
    # What was found to fit may be reserved.
    for student in measured().students[:3]:
        part = share_of(measured(), student.architecture, student.width)
        assert memory_limit(part, measured()) * 10_000 > student.peak_mib


def test_cores_and_the_experiment_bound_the_number() -> None:
    def most(**given: Any) -> int:
        nodes = [
            Node(id="1" * 56, address="a", cpus=32, gpus=2),
            Node(id="2" * 56, address="b", cpus=10, gpus=1),
            Node(id="3" * 56, address="c", cpus=2, gpus=0),
        ]
        return most_on_a_gpu(ResourcesConfig(**given), nodes)

    assert most() == 10
    assert most(cpus_per_trial=3) == 3
    assert most(cpus_per_trial=11) == 1
    assert most(max_concurrent=4) == 2
    assert most(max_concurrent=3) == 1


# ------------------------------------------------------------------ what is measured


def test_every_student_of_a_space_is_measured_by_its_heaviest_trial(tiny: dict[str, Any]) -> None:
    ranges = tiny["space"]["ranges"]
    ranges["student.architecture"] = {"choices": ["convnet", "resnet8"]}
    resolved = resolve_experiment(tiny, "tiny")
    task = probe_task(resolved, None, "cpu")
    sizes = {(student.architecture, student.width) for student in task.students}
    assert sizes == {(a, w) for a in ("convnet", "resnet8") for w in (0.25, 0.5)}
    (base,) = task.bases
    assert base.generator.width == 16, "the recipe has 8"
    assert base.student_objective == resolved.base.student_objective
    ranges["student.width"], ranges["generator.width"] = 0.25, 8
    fixed = resolve_experiment(tiny, "tiny")
    assert {s.width for s in students_of(fixed.space, fixed.base.student)} == {0.25}
    assert probe_task(fixed, None, "cpu").bases == (fixed.base,)


def test_the_students_of_a_comparison_are_measured(tiny: dict[str, Any]) -> None:
    resolved = resolve_experiment(tiny, "tiny")
    wide = resolved.base.model_copy(
        update={"student": resolved.base.student.model_copy(update={"width": 4.0})}
    )
    given = tuple(
        GivenTrial(variant=variant, configuration=config)
        for variant, config in (("one", resolved.base), ("two", wide), ("one", resolved.base))
    )
    comparison = Comparison(what="ablation", variants=(), seeds=2, trials=given)
    task = probe_task(resolved, comparison, "cpu")
    assert [student.width for student in task.students] == [0.25, 4.0]
    assert len(task.bases) == 2


def test_measuring_goes_from_memory_to_throughput(tiny: dict[str, Any]) -> None:
    """On a device made by hand: 10,000 MiB, and steps by trials at once."""
    tiny["space"]["ranges"]["student.width"] = {"choices": [0.25, 0.5, 1.0]}
    task = probe_task(resolve_experiment(tiny, "tiny"), None, "cuda")
    peaks = {0.25: 300.0, 0.5: 400.0, 1.0: 2600.0}
    speeds: dict[int, float | str] = {1: 100, 2: 150, 4: 160, 8: 90, 16: 80}
    trained = []

    def call(function: Any, given: ProbeTask, *rest: Any) -> Any:
        assert given is task
        if function is measure_needs:
            return Needs(
                device="by hand",
                memory_mib=10_000,
                context_mib=100,
                heaviest=task.bases[0],
                students=tuple(need(peaks[s.width], s.width, "convnet") for s in task.students),
            )
        assert function is measure_throughput
        config, trials = rest
        trained.append((config.student.width, trials))
        speed = speeds[trials]
        if isinstance(speed, str):
            raise ResourceError(speed)
        return Throughput(trials=trials, steps_per_second=speed)

    def chosen(most: int, said: io.StringIO | None = None, **options: bool) -> GpuShareRecord:
        trained.clear()
        console = Console(file=said or io.StringIO(), width=300)
        return measure_share(task, most, console, call, **options)

    found = chosen(16)
    assert found.trials == 4
    assert trained == [(0.5, count) for count in (1, 2, 4, 8, 16)], "the one in the middle"
    assert found.typical.width == 0.5
    assert (found.device, found.cpus_per_trial) == ("by hand", 1)
    assert share_of(found, "convnet", 1.0) == 0.3333
    assert chosen(3).trials == 2
    assert [count for _, count in trained] == [1, 2]
    # 9,000 MiB hold 3 of 2,600 and 100.
    peaks[0.5] = 2600.0
    assert chosen(16).trials == 2
    assert [count for _, count in trained] == [1, 2]
    peaks[0.5] = 400.0
    speeds[4], said = "CUBLAS_STATUS_ALLOC_FAILED", io.StringIO()
    assert chosen(16, said).trials == 2
    assert "4 at once failed (CUBLAS_STATUS_ALLOC_FAILED)" in said.getvalue()
    speeds[1] = "no GPU"
    with pytest.raises(ResourceError, match="no GPU"):
        chosen(16)
    speeds |= {1: 100.0, 2: 90.0, 4: 80.0}
    assert len(chosen(16).throughputs) == 3
    assert len(chosen(16, all_counts=True).throughputs) == 5


# ------------------------------------------------------------------ what a trial gets


def sweep_of(
    tiny: dict[str, Any], run: RunFolder, said: io.StringIO, nodes: list[Node] = NODES
) -> Allotment:
    return share_gpus(
        run,
        resolve_experiment(tiny, "tiny"),
        None,
        nodes,
        WHOLE,
        Console(file=said, width=300),
        threading.Event(),
    )


def test_what_was_measured_once_holds_for_the_run(tiny: dict[str, Any], tmp_path: Path) -> None:
    run, said = folders.empty_run(tmp_path / "tiny"), io.StringIO()
    tiny["resources"] = {}
    write_record(run.gpu_share_file, measured())
    # No Ray runs here: anything that measured would fail.
    found = sweep_of(tiny, run, said)
    assert (found.gpus, found.max_concurrent) == (0.125, 16)
    assert said.getvalue() == share_text(measured()) + "\n"
    assert "8 trials share a GPU (of the largest students 1)" in said.getvalue()
    assert str(found).startswith("16 at once, each with 1 CPU and at least 0.125 GPU")
    # A number of the experiment's own is never measured, nor put aside.
    tiny["resources"] = {"gpus_per_trial": 0.5}
    assert sweep_of(tiny, run, said) is WHOLE
    tiny["resources"] = {}
    run.gpu_share_file.write_text("{}")
    with pytest.raises(RunFolderError, match=r"gpu_share.json is damaged"):
        sweep_of(tiny, run, said)
    write_record(run.gpu_share_file, measured(trials=1))
    assert sweep_of(tiny, run, said) is WHOLE
    assert "each trial has a GPU to itself" in said.getvalue()


def test_where_cores_suffice_for_one_trial_nothing_is_measured(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    run, said = folders.empty_run(tmp_path / "tiny"), io.StringIO()
    tiny["resources"] = {"cpus_per_trial": 2}
    assert sweep_of(tiny, run, said, [Node(id="1" * 56, address="a", cpus=3, gpus=1)]) is WHOLE
    assert "resources.cpus_per_trial or max_concurrent leave no more" in said.getvalue()
    assert not run.gpu_share_file.exists()


def test_a_dry_run_says_what_will_be_measured(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny |= {"storage": str(tmp_path), "resources": {}}
    resolved = resolve_experiment(tiny, "tiny")
    plan = share_plan(resolved, WHOLE)
    assert plan is not None
    assert "is measured at the start" in plan
    run = folders.empty_run(tmp_path / "tiny")
    write_record(run.gpu_share_file, measured())
    assert share_plan(resolved, WHOLE) == share_text(measured())
    without = Allotment(cpus=1, gpus=0, max_concurrent=2, total_cpus=2, total_gpus=0)
    assert share_plan(resolved, without) is None
    tiny["resources"] = {"gpus_per_trial": 1}
    assert share_plan(resolve_experiment(tiny, "tiny"), WHOLE) is None


def test_trials_ask_ray_for_their_students_share(tiny: dict[str, Any], tmp_path: Path) -> None:
    tiny["search"]["trials"] = 8
    resolved = resolve_experiment(tiny, "tiny")
    run = folders.empty_run(tmp_path)
    known = measured().model_copy(
        update={"students": (need(400, 0.25, "convnet"), need(1300, 0.5, "convnet"))}
    )
    allotment = shared(WHOLE, ResourcesConfig(), NODES, known)
    search = RecordedSearch(run, resolved, "s", allotment)
    asked = {}
    for number in range(8):
        config = search.suggest(str(number))
        assert config is not None
        width = run.trial_folder(config["trial"]).trial().configuration["student"]["width"]
        (bundle,) = requested_resources(config).bundles
        asked[width] = bundle
        assert config["gpu_memory"] == pytest.approx(bundle["GPU"] - 0.05)
        assert config["larger_share"]
    assert asked == {0.25: {"CPU": 1, "GPU": 0.125}, 0.5: {"CPU": 1, "GPU": 0.2}}
    # What then runs out of memory gets twice its own share.
    for number in range(8):
        folder = run.trial_folder(f"t{number:04d}")
        folder.set_status("running", error=ErrorRecord(type="OutOfGpuMemoryError", message="x"))
    larger = larger_share(allotment)
    assert larger is not None
    assert (larger.gpus, larger.max_concurrent) == (0.25, 8)
    second, twice = RecordedSearch(run, resolved, "s", larger, larger=True), {}
    for number in range(8):
        config = second.suggest(f"again {number}")
        assert config is not None
        width = run.trial_folder(config["trial"]).trial().configuration["student"]["width"]
        twice[width] = config["resources"]["GPU"]
        assert not config["larger_share"]
    assert twice == {0.25: 0.25, 0.5: 0.4}


@pytest.mark.parametrize(
    ("gpus", "bundle", "part"),
    [
        (0, {"CPU": 2}, 0),
        (0.25, {"CPU": 2, "GPU": 0.25}, 0.25),
        (1, {"CPU": 2, "GPU": 1}, 1),
        (2, {"CPU": 2, "GPU": 2}, 1),
    ],
)
def test_a_number_of_ones_own_is_asked_for_as_it_is(
    tiny: dict[str, Any], tmp_path: Path, gpus: float, bundle: dict[str, float], part: float
) -> None:
    allotment = Allotment(cpus=2, gpus=gpus, max_concurrent=2, total_cpus=8, total_gpus=4)
    run = folders.empty_run(tmp_path)
    config = RecordedSearch(run, resolve_experiment(tiny, "tiny"), "s", allotment).suggest("a")
    assert config is not None
    assert requested_resources(config).bundles == [bundle]
    assert config["gpu_memory"] == part


# ------------------------------------------------------------------ with Ray

PROGRAM = """
import sys, tempfile
from dataclasses import replace
from pathlib import Path
import ray, yaml
from rich.console import Console
from dfkd_tune.sweeps import Allotment, prepare_environment, resolve_experiment, run_sweep
import dfkd_tune.sweeps._gpu_probe as gpu_probe
import dfkd_tune.sweeps._allot_here as allot_here

# Ray counts a GPU that is not there, and the trials compute on the CPU.
Allotment.device = property(lambda self: "cpu")
allot_here.gpu_count = lambda: 1
measured = gpu_probe.measure_share

if __name__ == "__main__":
    prepare_environment(local=True)
    ray.init(address="local", num_cpus=2, num_gpus=1, include_dashboard=False,
             log_to_driver=False, _temp_dir=tempfile.mkdtemp(prefix="ray"))
    resolved = resolve_experiment(yaml.safe_load(Path(sys.argv[1]).read_text()), "tiny")
    console = Console(file=sys.stdout, width=400)
    for trials in (1, 3, 4):
        if trials > 1:
            # The second time the CPU is measured in place of the GPU.
            gpu_probe.measure_share = lambda task, *rest: measured(
                replace(task, device="cpu"), *rest)
        search = resolved.experiment.search.model_copy(update={"trials": trials})
        experiment = resolved.experiment.model_copy(update={"search": search})
        print("code", run_sweep(replace(resolved, experiment=experiment), command="x",
                                console=console).exit_code)
    ray.shutdown()
"""


@pytest.mark.sweep
@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_sweep_measures_once_and_goes_on_with_a_whole_gpu_where_it_cannot(
    tiny: dict[str, Any], storage: Path, tmp_path: Path
) -> None:
    """First there is no GPU to measure, for real; then the CPU is measured in its place, once."""
    tiny |= {"storage": str(storage), "resources": {}}
    tiny["search"] |= {"scheduler": {"name": "none"}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny))
    (tmp_path / "program.py").write_text(PROGRAM)
    ended = subprocess.run(
        [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "tiny.yaml")],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
        env={**os.environ},
    )
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    ends = [index for index, line in enumerate(lines) if line == "code 0"]
    assert len(ends) == 3, ended.stdout
    first, second, third = (
        lines[begin:end] for begin, end in zip([0, *ends[:2]], ends, strict=True)
    )
    failed = [line for line in first if "could not be measured" in line]
    assert len(failed) == 1, ended.stdout
    assert "each gets a whole one" in failed[0]
    assert any("2 at once: " in line and line.endswith(" student steps/s") for line in second)
    run = RunFolder(storage / "tiny")
    record = run.gpu_share()
    assert record is not None
    assert [each.trials for each in record.throughputs] == [1, 2]
    assert min(each.steps_per_second for each in record.throughputs) > 0
    assert {student.width for student in record.students} == {0.25, 0.5}
    for part in (second, third):
        assert share_text(record) in part
    assert not any("measuring" in line for line in third)
    assert [folder.status().state for folder in run.trial_folders()] == ["complete"] * 4
