"""MATLAB files, as some official distributions use them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dfkd_tune.benchmarks._readers._files import required
from dfkd_tune.benchmarks._reasons import reason_of
from dfkd_tune.errors import DataError


def read_mat(path: Path, keys: tuple[str, ...], layout: str) -> Mapping[str, Any]:
    """Read some variables of a file.

    Args:
        path: the file.
        keys: variables that it must hold.
        layout: for messages.

    Returns:
        The arrays by variable, without dimensions of size 1.

    Raises:
        DataError: if the file or a variable is missing, or the file cannot be read.
    """
    # Slow to import, and only these benchmarks need it.
    from scipy.io import loadmat

    required(path, layout)
    try:
        content: Mapping[str, Any] = loadmat(path, squeeze_me=True, variable_names=keys)
    except Exception as error:  # Damaged files raise whatever the reader stumbles over.
        raise DataError(
            f"{path} is no readable MATLAB file ({reason_of(error)}); put the original file there"
        ) from error
    absent = [key for key in keys if key not in content]
    if absent:
        raise DataError(f"{path} has no variable '{absent[0]}'; put the original file there")
    return content
