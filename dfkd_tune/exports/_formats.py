"""The formats of an exported student: how each is written, and how it is read back."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from dfkd_tune.classifiers import NetworkConfig, build_classifier, load_weights, save_weights
from dfkd_tune.errors import UsageError
from dfkd_tune.inputs import InputSpecification

ExportFormat = Literal["safetensors", "onnx", "torch"]

TOLERANCE = 1e-4
"""By which a logit may differ, as a share of the largest one where that is above 1: what comes of
rounding in another order."""

EXAMPLES = 2
"""Images with which a network is traced; any other number may be given to it afterwards."""

ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")

Predict = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Student:
    """A student to export.

    Args:
        config: its network.
        inputs: what it takes.
        network: with its weights, in evaluation mode.
    """

    config: NetworkConfig
    inputs: InputSpecification
    network: nn.Module


@dataclass(frozen=True, kw_only=True)
class Format:
    """One format.

    Args:
        file: name of the file.
        words: what it is, for the model card.
        write: writes a student to a path.
        read: makes of that file a function from images `(N, C, H, W)` to logits `(N, K)`.
        check: raises `UsageError` where a package is missing.
    """

    file: str
    words: str
    write: Callable[[Student, Path], None]
    read: Callable[[Student, Path], Predict]
    check: Callable[[], None] = lambda: None


def _write_safetensors(student: Student, path: Path) -> None:
    save_weights(path, student.network)


def _read_safetensors(student: Student, path: Path) -> Predict:
    network = build_classifier(student.config, student.inputs, seed=0)
    load_weights(network, path)
    return network.eval()


def _example(student: Student) -> Tensor:
    return torch.zeros(EXAMPLES, *student.inputs.shape)


def _any_batch() -> tuple[dict[int, object]]:
    return ({0: torch.export.Dim("batch", min=1)},)


def _write_program(student: Student, path: Path) -> None:
    with warnings.catch_warnings():
        # Of torch to itself.
        warnings.simplefilter("ignore")
        program = torch.export.export(
            student.network, (_example(student),), dynamic_shapes=_any_batch()
        )
        torch.export.save(program, path)


def _read_program(_student: Student, path: Path) -> Predict:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.load(path).module()


def _write_onnx(student: Student, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            student.network,
            (_example(student),),
            path,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=_any_batch(),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def _read_onnx(_student: Student, path: Path) -> Predict:
    import onnx
    import onnxruntime

    onnx.checker.check_model(path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def predict(images: Tensor) -> Tensor:
        (logits,) = session.run(None, {"images": images.numpy()})
        return torch.from_numpy(logits)

    return predict


def _check_onnx() -> None:
    missing = [name for name in ONNX_PACKAGES if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"--format onnx needs {', '.join(missing)}, not installed here; "
            f"pip install {' '.join(ONNX_PACKAGES)}"
        )


FORMATS: Mapping[ExportFormat, Format] = {
    "safetensors": Format(
        file="student.safetensors",
        words="the weights alone, for this project's networks",
        write=_write_safetensors,
        read=_read_safetensors,
    ),
    "torch": Format(
        file="student.pt2",
        words="a program of torch.export, which needs PyTorch and nothing of this project",
        write=_write_program,
        read=_read_program,
    ),
    "onnx": Format(
        file="student.onnx",
        words="for ONNX Runtime and whatever else reads ONNX",
        write=_write_onnx,
        read=_read_onnx,
        check=_check_onnx,
    ),
}
