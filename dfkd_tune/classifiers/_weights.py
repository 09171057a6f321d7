"""Reading and writing weights; a file is never allowed to run code."""

import hashlib
import pickle
import warnings
from collections.abc import Mapping
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
    # Clones: the format holds no tensor under two names.
    state = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in network.state_dict().items()
    }
    content = save(state)
    write_bytes_atomically(path, content)
    return hashlib.sha256(content).hexdigest()


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a `.safetensors`, `.pt` or `.pth` file.

    A torch file may hold it under `state_dict` or `model`, beside other things.

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
    if isinstance(state, dict):
        inner = (state.get(key) for key in ("state_dict", "model"))
        state = next((value for value in inner if isinstance(value, dict)), state)
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise TeacherError(
            f"weights file {path} does not hold a state dict; save model.state_dict()"
        )
    return state


def _without_wrapper(state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take off the `module.` that DataParallel puts before every name."""
    prefix = "module."
    if not all(name.startswith(prefix) for name in state) or all(
        name.startswith(prefix) for name in expected
    ):
        return state
    return {name.removeprefix(prefix): value for name, value in state.items()}


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a weights file into a network.

    Names that all begin with `module.`, as DataParallel makes them, are taken without it.

    Raises:
        TeacherError: if the file cannot be read or does not fit the network.
    """
    expected = network.state_dict()
    state = _without_wrapper(read_state_dict(path), expected)
    missing = sorted(expected.keys() - state.keys())
    extra = sorted(state.keys() - expected.keys())
    wrong = sorted(
        name for name in expected.keys() & state.keys() if state[name].shape != expected[name].shape
    )
    if wrong and not missing and not extra:
        # Another number of units in a hidden layer changes the inputs of the next one too.
        outputs = {(state[name].shape[:1], expected[name].shape[:1]) for name in wrong}
        inputs_fit = all(state[name].shape[1:] == expected[name].shape[1:] for name in wrong)
        if inputs_fit and len(outputs) == 1 and any(expected[name].dim() > 1 for name in wrong):
            ((given, needed),) = outputs
            raise TeacherError(
                f"weights file {path} is for {given[0]} classes, the benchmark has {needed[0]}; "
                f"choose the matching benchmark or file"
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


def load_initial_weights(network: nn.Module, path: Path) -> None:
    """Load a weights file to start training from; a last layer of another width is left out.

    Args:
        network: whose last layer keeps its own weights where the file's has another width.
        path: such as of a network trained on ImageNet.

    Raises:
        TeacherError: if the file cannot be read, or does not fit but for the last layer.
    """
    expected = network.state_dict()
    state = _without_wrapper(read_state_dict(path), expected)
    last = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1:]
    own = {name for name in expected if name.rpartition(".")[0] in last}
    other = {name for name in own if name not in state or state[name].shape != expected[name].shape}
    wrong = sorted(
        name
        for name in expected.keys() - other
        if name not in state or state[name].shape != expected[name].shape
    )
    if wrong:
        raise TeacherError(
            f"initial weights {path} do not fit the network: {len(wrong)} tensors are missing or "
            f"of other shape (first: {wrong[0]}); check the architecture and width"
        )
    network.load_state_dict(
        {**expected, **{name: state[name] for name in expected if name not in other}}
    )
