"""Starting Ray quietly and safely, or joining a cluster."""

import logging
import os
import secrets
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dfkd_tune.errors import ResourceError

REACH_SECONDS = 10.0

# Read by Ray when it is imported or when a run starts.
SETTINGS = {
    # Our own signal handler stops a sweep and says how to resume it.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Our records are the trials' logs.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # They hold each error too, and the command says it in a line.
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # Ray's snapshots are never read back.
    "TUNE_GLOBAL_CHECKPOINT_S": "100000",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    # Trials keep the working directory, so that relative paths mean what they say.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}


def prepare_environment(local: bool) -> None:
    """Set what Ray reads from the environment, leaving what the person has set.

    Args:
        local: a cluster of our own will be started: it gets a secret token of its own, so that no
            other user of the machine can run code through it.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    # Ray reads this when it is imported; later it would only confuse.
    if local and "RAY_AUTH_MODE" not in os.environ and "ray" not in sys.modules:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


@contextmanager
def ray_cluster(address: str | None, cpus: int) -> Iterator[Any]:
    """Have Ray running while the block runs.

    Args:
        address: of a cluster; None or `local` starts one of our own on this machine.
        cpus: for one of our own.

    Yields:
        The resources of the cluster, by name.

    Raises:
        ResourceError: if the cluster cannot be reached or started.
    """
    local = address in (None, "local")
    if address is not None:
        _check_reachable(address)
    prepare_environment(local)
    import ray

    if ray.is_initialized():
        # The caller's own, as in a notebook: used as it is, and left running.
        yield ray.cluster_resources()  # type: ignore[no-untyped-call]
        return
    started: dict[str, Any] = {"address": address or "local"}
    if local:
        started |= {"num_cpus": cpus, "include_dashboard": False}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **started)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        what = "start Ray on this machine" if local else f"reach the Ray cluster at {address}"
        raise ResourceError(f"cannot {what}: {reason}; see `dfkd-tune doctor`") from error
    try:
        yield ray.cluster_resources()  # type: ignore[no-untyped-call]
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Knock at an address of the form host:port; Ray itself would wait for minutes.

    Raises:
        ResourceError: if nobody answers, or if it is no cluster's.
    """
    if address.startswith(("http://", "https://")):
        raise ResourceError(
            f"{address} is the address of Ray's dashboard, for `ray job submit`; give the "
            f"cluster's own, host:port (port 6379 as a rule), as --address or RAY_ADDRESS"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "//" in host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=REACH_SECONDS).close()
    except OSError as error:
        raise ResourceError(
            f"cannot reach the Ray cluster at {address}: {error.strerror or error}; check the "
            f"address, and that the cluster is running"
        ) from error
