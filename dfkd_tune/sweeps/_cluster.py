"""The nodes of a Ray cluster: whether each can do what a trial needs, and which are lost."""

import secrets
import shutil
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from dfkd_tune.benchmarks import Benchmark
from dfkd_tune.classifiers import file_sha256
from dfkd_tune.errors import ResourceError
from dfkd_tune.sweeps._experiment_config import ResourcesConfig
from dfkd_tune.sweeps._machine import Allotment, allot, package_version

ANSWER_SECONDS = 300.0
"""In which a node must have looked at the storage; its first Python process starts in this time."""

DATA_SECONDS = 6 * 3600.0
"""In which a node must have read the data; where they are not decoded yet, it decodes them."""

REACH_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node of the cluster that is alive.

    Args:
        id: Ray's.
        address: by which the others reach it.
        cpus: that Ray may give away.
        gpus: that Ray may give away.
    """

    id: str
    address: str
    cpus: float
    gpus: float

    def __str__(self) -> str:
        """For people: several nodes of a test have one address."""
        return f"node {self.address} ({self.id[:8]})"


def alive_nodes() -> tuple[Node, ...]:
    """The nodes of the cluster that Ray is connected to."""
    import ray

    return tuple(
        Node(
            id=node["NodeID"],
            address=node["NodeManagerAddress"],
            cpus=node["Resources"].get("CPU", 0.0),
            gpus=node["Resources"].get("GPU", 0.0),
        )
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    )


def allot_on_nodes(resources: ResourcesConfig, nodes: Sequence[Node]) -> Allotment:
    """Compare what is asked for with what the nodes have: a trial lies on one of them.

    Raises:
        ResourceError: if not even one trial fits on any node.
    """
    whole = allot(resources, sum(n.cpus for n in nodes), sum(n.gpus for n in nodes))
    fits = [_fit(whole, node) for node in nodes]
    if not any(fits):
        gpus = f" and {whole.gpus:g} GPUs" if whole.gpus else ""
        have = ", ".join(f"{n.cpus:g} CPUs and {n.gpus:g} GPUs on {n.address}" for n in nodes)
        raise ResourceError(
            f"{whole.cpus} CPUs{gpus} per trial are asked for, and no single node of the cluster "
            f"has them: {have}; lower --cpus-per-trial (resources.cpus_per_trial) or "
            f"--gpus-per-trial (resources.gpus_per_trial)"
        )
    return replace(whole, max_concurrent=min(sum(fits), whole.max_concurrent))


def _fit(allotment: Allotment, node: Node) -> int:
    """How many trials a node holds at once."""
    fit = node.cpus // allotment.cpus
    if allotment.gpus > 0:
        fit = min(fit, node.gpus // allotment.gpus)
    return int(fit)


def say_if_busy(allotment: Allotment, console: Console) -> None:
    """Say that trials will wait where others use the cluster."""
    import ray

    free = ray.available_resources()  # type: ignore[no-untyped-call]
    cpus, gpus = free.get("CPU", 0.0), free.get("GPU", 0.0)
    if cpus < allotment.cpus or gpus < allotment.gpus:
        console.print(
            f"the cluster is busy: {cpus:g} of {allotment.total_cpus:g} CPUs and {gpus:g} of "
            f"{allotment.total_gpus:g} GPUs are free; a trial waits until others have ended",
            highlight=False,
            soft_wrap=True,
        )


def check_nodes(
    folder: Path, benchmark: Benchmark, console: Console, *, weights: Path | None = None
) -> None:
    """See from every node of the cluster whether a trial could work there.

    Each must have this version of dfkd-tune, see `folder` as the same one as here, read and write
    it, read the teacher's weights, and open the data. A cluster that is this machine alone has
    nothing to check.

    Args:
        folder: on the storage that all nodes share.
        benchmark: whose images every trial is evaluated on, if it has any.
        console: where to say that nodes are looked at.
        weights: the teacher's, in the run folder; none are needed where None.

    Raises:
        ResourceError: naming each node that cannot work, what is wrong, and what to do.
    """
    import ray

    nodes = alive_nodes()
    if [node.id for node in nodes] == [ray.get_runtime_context().get_node_id()]:
        return
    console.print(
        f"looking at {len(nodes)} nodes: storage, teacher, data", highlight=False, soft_wrap=True
    )
    shared = folder / f".nodes-{secrets.token_hex(6)}"
    shared.mkdir(parents=True)
    try:
        _check_shared(nodes, shared, weights)
    finally:
        shutil.rmtree(shared, ignore_errors=True)
    if benchmark.data != "none":
        config = benchmark.config.absolute().model_dump(mode="json")
        found = _ask(nodes, _data_probe(), {node.id: (config,) for node in nodes}, DATA_SECONDS)
        _raise_for(nodes, found)


def _check_shared(nodes: Sequence[Node], shared: Path, weights: Path | None) -> None:
    token = secrets.token_hex(16)
    (shared / "here").write_text(token)
    digest = "" if weights is None else file_sha256(weights)
    given = {
        node.id: (
            package_version("dfkd-tune"),
            str(shared),
            token,
            node.id,
            str(weights or ""),
            digest,
        )
        for node in nodes
    }
    found = _ask(nodes, _shared_probe(), given, ANSWER_SECONDS)
    for node in nodes:
        answer = shared / node.id
        if not found[node.id] and (not answer.is_file() or answer.read_text() != token):
            found[node.id] = (
                f"what it writes to {shared.parent} does not arrive here; mount the same folder "
                f"on every node, or choose a shared one with --storage"
            )
    _raise_for(nodes, found)


def _raise_for(nodes: Sequence[Node], found: dict[str, str]) -> None:
    lines = [f"{node}: {found[node.id]}" for node in nodes if found[node.id]]
    if lines:
        raise ResourceError("\n".join(lines))


def _ask(
    nodes: Sequence[Node],
    probe: Callable[..., str],
    given: dict[str, tuple[Any, ...]],
    limit: float,
) -> dict[str, str]:
    """Call a function on every node at once; gives what is wrong with each, empty where nothing."""
    import ray
    from ray.exceptions import GetTimeoutError, RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # Without a CPU of its own it need not wait for anybody's trial.
    remote = ray.remote(num_cpus=0, max_retries=0)(probe)
    asked = {
        node.id: remote.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)
        ).remote(*given[node.id])
        for node in nodes
    }
    found: dict[str, str] = {}
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=limit)
    for node, answer in asked.items():
        try:
            found[node] = ray.get(answer, timeout=1)
        except GetTimeoutError:
            found[node] = (
                f"it gave no answer within {limit:g} seconds; see whether it, or the storage "
                f"there, hangs"
            )
            ray.cancel(answer, force=True)
        except RayError as error:
            reason = str(error).strip().splitlines()[-1]
            found[node] = f"it could not be asked ({reason}); see whether it still runs"
    return found


def _shared_probe() -> Callable[..., str]:
    """The function that looks at the storage: made here, so that Ray sends its code.

    A function of a module would be sent by its name, and a node without dfkd-tune could not answer.
    """

    def probe(version: str, shared: str, token: str, name: str, weights: str, digest: str) -> str:
        import hashlib
        from importlib import import_module, metadata
        from pathlib import Path

        try:
            there = metadata.version("dfkd-tune")
            import_module("dfkd_tune")
        except ImportError:
            there = "none"
        if there != version:
            return (
                f"it has dfkd-tune {there}, and here is {version}; install {version} there, in the "
                f"Python that Ray runs with"
            )
        storage = Path(shared).parent
        advice = "mount the same folder on every node, or choose a shared one with --storage"
        try:
            if (Path(shared) / "here").read_text() != token:
                return f"its {storage} is another folder than here; {advice}"
        except FileNotFoundError:
            return f"it does not see {storage} as it is here; {advice}"
        except OSError as error:
            return f"it cannot read {storage} ({error.strerror}); give it the right to, or {advice}"
        try:
            (Path(shared) / name).write_text(token)
        except OSError as error:
            return (
                f"it cannot write to {storage} ({error.strerror}); mount it writable there, or "
                f"give its user the right to write"
            )
        if not weights:
            return ""
        try:
            found = hashlib.sha256(Path(weights).read_bytes()).hexdigest()
        except OSError as error:
            return f"it cannot read the teacher's weights {weights} ({error.strerror}); {advice}"
        if found != digest:
            return f"it reads other teacher's weights from {weights} than here; {advice}"
        return ""

    return probe


def _data_probe() -> Callable[..., str]:
    """The function that opens the data and reads what a trial reads."""

    def probe(config: dict[str, Any]) -> str:
        from dfkd_tune.benchmarks import BenchmarkConfig, open_benchmark
        from dfkd_tune.errors import DfkdTuneError

        try:
            benchmark = open_benchmark(BenchmarkConfig.model_validate(config))
            benchmark.images("validation")
        except (DfkdTuneError, OSError) as error:
            return f"the data cannot be opened there: {error}"
        return ""

    return probe


def lost_nodes() -> frozenset[str]:
    """Ids of nodes that have died, as far as Ray knows; empty where Ray does not run."""
    import ray

    if not ray.is_initialized():
        return frozenset()
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return frozenset(node["NodeID"] for node in nodes if not node["Alive"])


def silent_nodes() -> frozenset[str]:
    """Ids of nodes that have died or do not answer: Ray itself notices only after a while."""
    import ray

    if not ray.is_initialized():
        return frozenset()
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return frozenset(node["NodeID"] for node in nodes if not node["Alive"] or not _answers(node))


def _answers(node: dict[str, Any]) -> bool:
    address = (node["NodeManagerAddress"], node["NodeManagerPort"])
    try:
        socket.create_connection(address, timeout=REACH_SECONDS).close()
    except OSError:
        return False
    return True
