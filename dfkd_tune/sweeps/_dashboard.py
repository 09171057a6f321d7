"""The Optuna study of a run folder in optuna-dashboard: a view, which changes nothing in it."""

import errno
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna
from typing_extensions import override

from dfkd_tune.errors import UsageError
from dfkd_tune.records import RunFolder
from dfkd_tune.sweeps._again import experiment_of_run
from dfkd_tune.sweeps._study import rebuild_study


def recorded_study(run: RunFolder) -> optuna.Study:
    """The study of a sweep as its records are now, in memory and under the run's name.

    Each of its trials carries what the records know and Optuna does not: the trial's name, origin,
    state and its reason, the student's size, and the student steps trained.

    Args:
        run: a sweep's folder; it is only read.

    Raises:
        RunFolderError: if the folder is of no sweep.
        ExperimentError: if what its experiment names is not there any more.
    """
    # A sweep ended before its first trial has a study, too.
    trials = max(1, len(run.founders()))
    rebuilt, _ = rebuild_study(run, experiment_of_run(run, trials=trials).space)
    study = optuna.create_study(study_name=run.run().name, directions=rebuilt.directions)
    for folder, trial in zip(run.trial_folders(), rebuilt.get_trials(), strict=True):
        record, status, epochs = folder.trial(), folder.status(), folder.epochs()
        trial.user_attrs = {
            "trial": record.trial,
            "origin": record.origin,
            "state": status.state,
            "reason": status.reason,
            "parameters": record.student_size.parameters,
            "macs": record.student_size.macs,
            "parent": record.parent.trial if record.parent else None,
            "student_steps": epochs[-1].student_steps if epochs else 0,
        }
        study.add_trial(trial)
    return study


class _Server(ThreadingMixIn, WSGIServer):
    """Answers several requests of a page at once, and does not wait for them in the end."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    """Does not write a line for every request."""

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def dashboard_server(study: optuna.Study, host: str, port: int) -> WSGIServer:
    """A server of optuna-dashboard for a study; it has its port and waits to be run.

    Args:
        study: to show.
        host: to listen on.
        port: 0: one that is free.

    Raises:
        UsageError: if optuna-dashboard is not installed, or the port cannot be had.
    """
    try:
        from optuna_dashboard import wsgi
    except ModuleNotFoundError as error:
        if error.name != "optuna_dashboard":
            raise
        raise UsageError(
            "the dashboard needs optuna-dashboard, which is not installed; "
            "pip install optuna-dashboard"
        ) from error
    # Optuna keeps a study's storage, which the dashboard asks for, to itself.
    application = wsgi(study._storage)
    try:
        return make_server(host, port, application, server_class=_Server, handler_class=_Quiet)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "another program listens there" if taken else (error.strerror or str(error))
        raise UsageError(
            f"cannot listen on {host}, port {port}: {why}; choose another --port or --host"
        ) from error
