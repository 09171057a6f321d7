"""What a trial of an experiment gets on this machine."""

from dfkd_tune.errors import UsageError
from dfkd_tune.sweeps._experiment import ResolvedExperiment
from dfkd_tune.sweeps._machine import Allotment, allot, gpu_count, usable_cpus


def allot_here(resolved: ResolvedExperiment) -> Allotment:
    """What a trial gets on this machine.

    Raises:
        ResourceError: if not even one trial fits.
        UsageError: if a setting needs a GPU, and trials get none.
    """
    allotment = allot(resolved.experiment.resources, usable_cpus(), gpu_count())
    check_device(resolved, allotment)
    return allotment


def check_device(resolved: ResolvedExperiment, allotment: Allotment) -> None:
    """Whether the settings of an experiment suit what its trials get, here or on a cluster.

    Raises:
        UsageError: if a setting needs a GPU, and trials get none.
    """
    on_gpu = any(base.cuda_graphs for base in resolved.bases.values())
    if on_gpu and allotment.device != "cuda":
        raise UsageError(
            "settings.cuda_graphs: needs a CUDA GPU, and trials get none; set it to false"
        )
