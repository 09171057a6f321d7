"""The files for clusters, as far as they can be checked without one."""

import json
import os
import re
import shlex
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

TOP = Path(__file__).parents[2]
DEPLOY = TOP / "deploy"

# ------------------------------------------------------------------ virtual machines


def vm_cluster() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "vm_cluster.yaml").read_text())
    return loaded


def ray_schema() -> dict[str, Any]:
    import ray.autoscaler

    file = Path(ray.autoscaler.__file__).with_name("ray-schema.json")
    loaded: dict[str, Any] = json.loads(file.read_text())
    return loaded


def test_ray_accepts_the_file_of_virtual_machines() -> None:
    jsonschema.validate(vm_cluster(), ray_schema())


def test_ray_refuses_it_with_an_unknown_key() -> None:
    with pytest.raises(jsonschema.ValidationError, match="max_worker"):
        jsonschema.validate({**vm_cluster(), "max_worker": 4}, ray_schema())


def test_the_virtual_machines_are_all_there_from_the_start_and_none_but_workers_train() -> None:
    cluster = vm_cluster()
    kinds = cluster["available_node_types"]
    assert kinds[cluster["head_node_type"]]["resources"] == {"CPU": 0}
    workers = [kind for name, kind in kinds.items() if name != cluster["head_node_type"]]
    assert sum(kind["min_workers"] for kind in workers) == cluster["max_workers"]
    assert all(kind["min_workers"] == kind["max_workers"] for kind in workers)


def test_every_shell_command_of_the_virtual_machines_can_be_parsed() -> None:
    cluster = vm_cluster()
    commands = [
        command
        for key in ("setup_commands", "head_start_ray_commands", "worker_start_ray_commands")
        for command in cluster[key]
    ]
    assert commands
    for command in commands:
        assert subprocess.run(["bash", "-n", "-c", command]).returncode == 0, command
    assert any(" /shared" in command and "mount -t nfs4" in command for command in commands)


# ------------------------------------------------------------------ Kubernetes

QUANTITY = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|Ki|Mi|Gi|Ti|k|M|G|T)?$"}


def strict(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    """The schema of a mapping with no other keys."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


AMOUNTS = {
    "type": "object",
    "additionalProperties": QUANTITY,
    "required": ["cpu", "memory"],
}
TEXT, WHOLE = {"type": "string", "minLength": 1}, {"type": "integer", "minimum": 0}
START_PARAMS = {"type": "object", "additionalProperties": {"type": "string"}}
POD = strict(
    ("spec",),
    spec=strict(
        ("containers", "volumes"),
        containers={
            "type": "array",
            "minItems": 1,
            "items": strict(
                ("name", "image", "resources", "volumeMounts"),
                name=TEXT,
                image=TEXT,
                ports={
                    "type": "array",
                    "items": strict(("containerPort",), containerPort=WHOLE, name=TEXT),
                },
                resources=strict(("requests", "limits"), requests=AMOUNTS, limits=AMOUNTS),
                volumeMounts={
                    "type": "array",
                    "items": strict(("name", "mountPath"), name=TEXT, mountPath=TEXT),
                },
            ),
        },
        volumes={
            "type": "array",
            "items": strict(
                ("name", "persistentVolumeClaim"),
                name=TEXT,
                persistentVolumeClaim=strict(("claimName",), claimName=TEXT),
            ),
        },
    ),
)
# The fields of ray.io/v1 that the file uses, as KubeRay's types declare them.
RAY_JOB = strict(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=strict(("name",), name={"type": "string", "pattern": "^[a-z][a-z0-9-]{0,46}$"}),
    spec=strict(
        ("entrypoint", "rayClusterSpec"),
        entrypoint=TEXT,
        submissionMode={"enum": ["K8sJobMode", "HTTPMode"]},
        backoffLimit=WHOLE,
        shutdownAfterJobFinishes={"type": "boolean"},
        ttlSecondsAfterFinished=WHOLE,
        rayClusterSpec=strict(
            ("headGroupSpec", "workerGroupSpecs"),
            rayVersion=TEXT,
            headGroupSpec=strict(
                ("rayStartParams", "template"), rayStartParams=START_PARAMS, template=POD
            ),
            workerGroupSpecs={
                "type": "array",
                "minItems": 1,
                "items": strict(
                    ("groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"),
                    groupName=TEXT,
                    replicas=WHOLE,
                    minReplicas=WHOLE,
                    maxReplicas=WHOLE,
                    rayStartParams=START_PARAMS,
                    template=POD,
                ),
            },
        ),
    ),
)
CLAIM = strict(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "v1"},
    kind={"const": "PersistentVolumeClaim"},
    metadata=strict(("name",), name=TEXT),
    spec=strict(
        ("accessModes", "resources"),
        accessModes={"const": ["ReadWriteMany"]},
        storageClassName=TEXT,
        resources=strict(("requests",), requests=strict(("storage",), storage=QUANTITY)),
    ),
)


def kubernetes() -> tuple[dict[str, Any], dict[str, Any]]:
    """The claim and the job."""
    claim, job = yaml.safe_load_all((DEPLOY / "kubernetes_job.yaml").read_text())
    return claim, job


def test_the_job_for_kubernetes_has_known_fields_only_and_all_it_needs() -> None:
    claim, job = kubernetes()
    jsonschema.validate(claim, CLAIM)
    jsonschema.validate(job, RAY_JOB)
    job["spec"]["backofLimit"] = 3
    with pytest.raises(jsonschema.ValidationError, match="backofLimit"):
        jsonschema.validate(job, RAY_JOB)


def test_head_and_workers_share_image_and_storage() -> None:
    claim, job = kubernetes()
    cluster = job["spec"]["rayClusterSpec"]
    pods = [group["template"]["spec"] for group in cluster["workerGroupSpecs"]]
    pods.append(cluster["headGroupSpec"]["template"]["spec"])
    name = claim["metadata"]["name"]
    shared = {"name": "shared", "persistentVolumeClaim": {"claimName": name}}
    storage = shlex.split(job["spec"]["entrypoint"])
    folder = Path(storage[storage.index("--storage") + 1])
    for pod in pods:
        assert shared in pod["volumes"]
        for container in pod["containers"]:
            (mount,) = container["volumeMounts"]
            assert mount["name"] == "shared"
            assert folder.is_relative_to(mount["mountPath"])
            assert container["resources"]["requests"] == container["resources"]["limits"]
    assert len({container["image"] for pod in pods for container in pod["containers"]}) == 1
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_ray_is_of_one_version_everywhere() -> None:
    _, job = kubernetes()
    image = (DEPLOY / "Dockerfile").read_text()
    version = metadata.version("ray")
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == version
    assert re.search(rf"^FROM rayproject/ray:{re.escape(version)}-py311", image, re.MULTILINE)
    assert f"ray=={version}\n" in (TOP / "constraints.txt").read_text()


def test_the_job_for_kubernetes_is_a_command_that_dfkd_tune_takes() -> None:
    _, job = kubernetes()
    command = shlex.split(job["spec"]["entrypoint"])
    assert accepted(command)["address"] == "auto"


# ------------------------------------------------------------------ SLURM


def accepted(command: list[str]) -> dict[str, Any]:
    """The options of a `dfkd-tune sweep`, as its own parser reads them."""
    import typer.main

    from dfkd_tune.cli._main import app

    assert command[:2] == ["dfkd-tune", "sweep"]
    sweep = typer.main.get_command(app).commands["sweep"]  # type: ignore[attr-defined]
    return dict(sweep.make_context("sweep", command[2:]).params)


def submitted(
    tmp_path: Path, *arguments: str, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run the script with a SLURM that only tells what it was given."""
    tools = tmp_path / "bin"
    tools.mkdir(exist_ok=True)
    for name, text in (
        ("scontrol", "printf 'n01\\nn02\\n'"),
        ("srun", 'printf \'%s\\0\' "$RAY_AUTH_MODE" "$RAY_AUTH_TOKEN" "$@"'),
    ):
        (tools / name).write_text(f"#!/bin/bash\n{text}\n")
        (tools / name).chmod(0o755)
    given = {
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "SLURM_JOB_ID": "123456",
        "SLURM_JOB_NODELIST": "n[01-02]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "16",
    }
    return subprocess.run(
        ["bash", str(DEPLOY / "slurm.sh"), *arguments], env=given, capture_output=True, text=True
    )


def test_slurm_starts_ray_on_every_node_and_the_command_on_the_first(tmp_path: Path) -> None:
    from ray.scripts.symmetric_run import curate_and_validate_ray_start_args, symmetric_run

    experiment, storage = TOP / "experiments/digits.yaml", tmp_path / "a folder"
    ended = submitted(tmp_path, str(experiment), str(storage))
    assert ended.returncode == 0, ended.stderr
    mode, token, *given = ended.stdout.split("\0")[:-1]
    assert mode == "token"
    assert re.fullmatch("[0-9a-f]{64}", token)
    start = given.index("ray")
    options, line = given[:start], given[start:]
    assert "--nodes=2" in options
    assert line[:2] == ["ray", "symmetric-run"]
    separator = line.index("--")
    # Ray's own parser: what is its own, and what it hands to `ray start`.
    own = line[2:separator]
    parsed = symmetric_run.make_context("symmetric-run", list(own)).params
    assert parsed["address"] == f"n01:{20000 + 123456 % 10000}"
    assert parsed["min_nodes"] == 2
    assert curate_and_validate_ray_start_args(list(own)) == ["--num-cpus=16", "--num-gpus=0"]
    command = accepted(line[separator + 1 :])
    assert command["experiment"] == experiment
    assert command["storage"] == storage
    assert command["address"] == parsed["address"]
    # Queued again, it gives the same command.
    again = submitted(tmp_path, str(experiment), str(storage)).stdout.split("\0")[2:-1]
    assert again == given


def test_ray_start_knows_what_slurm_hands_to_it() -> None:
    from ray.scripts.scripts import start

    names = {name for option in start.params for name in option.opts}
    assert {"--num-cpus", "--num-gpus"} <= names


def test_slurm_says_how_it_is_used(tmp_path: Path) -> None:
    ended = submitted(tmp_path, "experiments/digits.yaml")
    assert ended.returncode == 2
    assert ended.stderr.startswith("usage: sbatch deploy/slurm.sh EXPERIMENT.yaml STORAGE")


def test_slurm_reads_every_option_of_the_script() -> None:
    text = (DEPLOY / "slurm.sh").read_text()
    assert subprocess.run(["bash", "-n", str(DEPLOY / "slurm.sh")]).returncode == 0
    # sbatch stops reading options at the first command.
    first = re.search(r"^(?!#|$)", text, re.MULTILINE)
    assert first is not None
    options = re.findall(r"^#SBATCH --([a-z-]+)", text, re.MULTILINE)
    assert options == re.findall(r"^#SBATCH --([a-z-]+)", text[: first.start()], re.MULTILINE)
    # One Ray for each node, whole nodes, and queued again where it ends early.
    assert {"ntasks-per-node", "exclusive", "requeue"} <= set(options)
