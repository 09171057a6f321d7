"""No real image can reach a distillation: by import, by parameter, or by configuration."""

import inspect
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import small_methods
import torch
from pydantic import BaseModel
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import dfkd_tune
import dfkd_tune.distillation as package
from dfkd_tune.classifiers import Argument
from dfkd_tune.distillation import (
    METHODS,
    DistillationConfig,
    GeneratorConfig,
    build_generator,
    distil,
)
from dfkd_tune.errors import UsageError
from dfkd_tune.inputs import InputSpecification

ROOT = Path(dfkd_tune.__file__).parents[1]

SCRIPT = '''
import sys
from importlib.machinery import ModuleSpec

FORBIDDEN = ("dfkd_tune.benchmarks", "sklearn", "torchvision.datasets", "trainables", "reports")


class Refuse:
    """Finds the forbidden modules, so that nobody else does, and does not load them."""

    def find_spec(self, name, path=None, target=None):
        if any(name == f or name.startswith(f + ".") for f in FORBIDDEN):
            return ModuleSpec(name, self)
        return None

    def create_module(self, spec):
        raise ImportError(f"{spec.name} is not to be had")

    def exec_module(self, module):
        raise ImportError(f"{module.__name__} is not to be had")


sys.meta_path.insert(0, Refuse())
for name in FORBIDDEN:
    try:
        __import__(name)
    except ImportError:
        continue
    raise SystemExit(f"the test itself does not refuse {name}")

import torch
from small_methods import INPUTS, small_config, small_teacher

from dfkd_tune.distillation import METHODS, distil

torch.set_num_threads(1)
teacher = small_teacher()
for name in METHODS:
    epochs = []
    config = small_config(name)
    student = distil(config, teacher, INPUTS, report=epochs.append)
    assert len(epochs) == config.schedule.total_epochs
    assert student(torch.zeros(1, 3, 16, 16)).shape == (1, 5)
loaded = [m for m in sys.modules if m.startswith(FORBIDDEN)]
assert not loaded, loaded
print("distilled", len(METHODS))
'''


def test_every_method_runs_where_no_data_set_can_be_imported_or_found(tmp_path: Path) -> None:
    empty = {name: tmp_path / name for name in ("home", "here", "temp")}
    for folder in empty.values():
        folder.mkdir()
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=empty["here"],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(empty["home"]),
            "TMPDIR": str(empty["temp"]),
            "PYTHONPATH": f"{ROOT}:{Path(small_methods.__file__).parent}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"distilled {len(METHODS)}\n"
    assert list(empty["here"].iterdir()) == []


def test_distil_takes_a_teacher_and_nothing_that_holds_images() -> None:
    hints = get_type_hints(distil)
    assert hints.pop("return") is nn.Module
    assert list(hints) == list(inspect.signature(distil).parameters)
    assert set(hints) == {
        "config",
        "teacher",
        "inputs",
        "device",
        "evaluate",
        "evaluate_every",
        "report",
        "restore",
        "teacher_stages",
    }
    assert hints["config"] is DistillationConfig
    assert hints["teacher"] is nn.Module
    assert hints["inputs"] is InputSpecification
    assert hints["evaluate_every"] is int
    assert hints["teacher_stages"] == tuple[str, ...]
    assert hints["device"] == torch.device | None
    # What the caller's functions give back: nothing, and numbers by name.
    assert get_args(hints["report"])[1] in (None, type(None))
    evaluate = next(t for t in get_args(hints["evaluate"]) if t is not type(None))
    assert get_type_hints(evaluate.__call__)["return"] == Mapping[str, float]


def public_callables() -> Iterator[tuple[str, Any]]:
    for name in package.__all__:
        value = getattr(package, name)
        if inspect.isfunction(value):
            yield name, value
        elif inspect.isclass(value):
            for method, function in vars(value).items():
                if inspect.isfunction(function) and not method.startswith("_"):
                    yield f"{name}.{method}", function
            if value.__init__ is not object.__init__ and inspect.isfunction(value.__init__):
                yield f"{name}.__init__", value.__init__


def leaves(annotation: Any) -> Iterator[Any]:
    """The types that an annotation is made of; of a callable, what it is given and gives."""
    arguments = get_args(annotation)
    if get_origin(annotation) is Literal or not arguments:
        yield annotation
        return
    for argument in arguments:
        for part in argument if isinstance(argument, list) else [argument]:
            yield from leaves(part)


# Parts that work on synthetic images and have no network to train: a bank, which asks what is said
# of its images, a grid, a map, the generator's own forward pass, and a loss term, which gives a
# tensor of a step.
ON_SYNTHETIC_IMAGES = {
    "Generator.forward",
    "ImageBank.__init__",
    "ImageBank.add",
    "LossTerm.__init__",
    "attention_map",
    "image_grid",
    "to_pixels",
    "Step.__init__",
}


def test_no_public_function_that_sees_a_network_takes_images_or_a_place_to_read_them() -> None:
    seen = set()
    for name, function in public_callables():
        hints = get_type_hints(function)
        result = hints.pop("return", None)
        types = {leaf for hint in hints.values() for leaf in leaves(hint)}
        for leaf in types:
            if inspect.isclass(leaf):
                assert not issubclass(leaf, Dataset | DataLoader | np.ndarray), name
        if name == "Progress.__init__":  # what the loop tells, not what it is given
            continue
        if Tensor in types:
            assert name in ON_SYNTHETIC_IMAGES, f"{name} takes a tensor: what for?"
            assert nn.Module not in types, name
        if nn.Module in types or result is nn.Module:
            assert not types & {Path, bytes, Tensor}, name
            assert str not in hints.values(), name
            seen.add(name)
    assert "distil" in seen


def beyond_plain(annotation: Any, where: str = "") -> Iterator[str]:
    """Name the settings that can hold more than numbers, words and settings."""
    origin = get_origin(annotation)
    if origin is Literal or annotation is type(None):
        return
    if origin in (tuple, Union, UnionType):
        for part in get_args(annotation):
            if part is not Ellipsis:
                yield from beyond_plain(part, where)
    elif origin is dict:  # of a factory's arguments
        if annotation != dict[str, Argument]:
            yield where
    elif inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            yield from beyond_plain(field.annotation, f"{where}.{name}")
    elif annotation not in (int, float, str, bool):
        yield where


def test_a_configuration_holds_numbers_and_words_and_the_name_of_one_file() -> None:
    """The file is of label embeddings; what it may hold, the next test says."""
    assert list(beyond_plain(DistillationConfig)) == [".generator.label_embeddings"]
    assert list(beyond_plain(Tensor, "t")) == ["t"]
    assert list(beyond_plain(dict[str, Tensor], "t")) == ["t"]
    assert list(beyond_plain(dict[str, list[float]], "t")) == ["t"]
    assert list(beyond_plain(tuple[int, ...] | Path | None, "t")) == ["t"]


@pytest.mark.parametrize("shape", [(5, 3, 16, 16), (16, 16), (5,), (6, 4), ()])
def test_the_file_of_label_embeddings_holds_one_vector_per_class_and_no_images(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    path = tmp_path / "embeddings.npy"
    np.save(path, np.zeros(shape))
    settings = {"conditioning": "noisy_layer", "label_embeddings": path}
    with pytest.raises(UsageError, match="one finite row for each of 5 classes"):
        build_generator(GeneratorConfig.model_validate(settings), small_methods.INPUTS, 0)


def test_an_input_specification_holds_one_number_per_channel_alone() -> None:
    hints = get_type_hints(InputSpecification)
    assert {name: hints[name] for name in (f.name for f in fields(InputSpecification))} == {
        "channels": int,
        "height": int,
        "width": int,
        "mean": tuple[float, ...],
        "std": tuple[float, ...],
        "num_classes": int,
    }


@pytest.mark.parametrize("name", METHODS)
def test_a_recipe_is_json(name: str) -> None:
    recipe = METHODS[name].recipe
    assert DistillationConfig.model_validate_json(recipe.model_dump_json()) == recipe
