"""Reading and writing weights; a file is never allowed to run code."""

import hashlib
import pickle
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from dfkd_tune.errors import TeacherError
from dfkd_tune.records import write_bytes_atomically


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_weights(path: Path, network: nn.Module) -> str:
    """Write a network's state dict as safetensors, atomically.

    Returns:
        The file's SHA-256.
    """
    state = {
        name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()
    }
    content = save(state)
    write_bytes_atomically(path, content)
    return hashlib.sha256(content).hexdigest()


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a `.safetensors`, `.pt` or `.pth` file.

    Raises:
        TeacherError: if the file is missing, damaged, or would need to run code to load.
    """
    if not path.is_file():
        raise TeacherError(f"weights file {path} does not exist; check the path")
    if path.suffix not in {".safetensors", ".pt", ".pth"}:
        raise TeacherError(
            f"weights file {path} has the ending '{path.suffix}'; give a .safetensors, .pt or .pth"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            # Of pickles that torch did not write; they are refused below.
            warnings.simplefilter("ignore", UserWarning)
            state = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise TeacherError(
            f"weights file {path} is damaged or no safetensors file ({error}); copy it again"
        ) from error
    except pickle.UnpicklingError as error:
        raise TeacherError(
            f"weights file {path} is damaged or holds Python objects, not tensors alone, and "
            f"loading those could run code; save the state dict "
            f"(torch.save(model.state_dict(), ...)) or use .safetensors"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TeacherError(f"weights file {path} is damaged ({reason}); copy it again") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise TeacherError(
            f"weights file {path} does not hold a state dict; save model.state_dict()"
        )
    return state


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a weights file into a network.

    Raises:
        TeacherError: if the file cannot be read or does not fit the network.
    """
    state = read_state_dict(path)
    expected = network.state_dict()
    output = list(expected)[-1]
    if output in state and state[output].shape != expected[output].shape:
        raise TeacherError(
            f"weights file {path} is for {state[output].shape[0]} classes, "
            f"the benchmark has {expected[output].shape[0]}; choose the matching benchmark or file"
        )
    missing = sorted(expected.keys() - state.keys())
    extra = sorted(state.keys() - expected.keys())
    wrong = sorted(
        name for name in expected.keys() & state.keys() if state[name].shape != expected[name].shape
    )
    if missing or extra or wrong:
        found = [
            f"{len(names)} {what} (first: {names[0]})"
            for what, names in (("missing", missing), ("unknown", extra), ("of other shape", wrong))
            if names
        ]
        raise TeacherError(
            f"weights file {path} does not fit the network: tensors {', '.join(found)}; "
            f"check the architecture and width that are given for it"
        )
    network.load_state_dict(state)
