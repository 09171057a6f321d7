"""What may be said of a network, and what is refused before anything is built."""

import json
import subprocess
import sys
from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from dfkd_tune.classifiers import CLASSIFIERS, NetworkConfig, is_foreign


def refused(**values: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        NetworkConfig(**values)
    (problem,) = caught.value.errors()
    assert "\n" not in problem["msg"]
    return problem["msg"]


@pytest.mark.parametrize("width", [0, -1, 17, float("nan"), float("inf")])
def test_impossible_widths_are_refused(width: float) -> None:
    refused(architecture="convnet", width=width)


def test_an_unknown_network_is_answered_with_what_was_meant() -> None:
    message = refused(architecture="resnet-14")
    assert "did you mean 'resnet14'" in message
    assert "torchvision:NAME" in message


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_registered_network_can_be_named_with_a_width(name: str) -> None:
    assert NetworkConfig(architecture=name, width=0.5).architecture == name
    assert not is_foreign(name)


FOREIGN = [
    "torchvision:resnet18",
    "torchvision:no_such_network",
    "timm:resnet50.a1_in1k",
    "models:make",
    "my.models.nets:Net",
    "nets.py:make",
    "no/such/folder/nets.py:make",
    "../nets.py:make",
    "C:\\nets\\nets.py:make",
]


@pytest.mark.parametrize("architecture", FOREIGN)
def test_a_network_from_elsewhere_is_taken_as_written_and_not_looked_up(architecture: str) -> None:
    config = NetworkConfig(architecture=architecture)
    assert config.architecture == architecture
    assert is_foreign(architecture)


@pytest.mark.parametrize(
    "architecture",
    [
        "torchvision:",
        "timm: ",
        ":make",
        ":",
        "nets.py:",
        "nets.py:make()",
        "nets/deep.txt:make",
        "my-models:make",
        "my..models:make",
        "models:make:more",
        "models:1st",
    ],
)
def test_a_malformed_one_is_answered_with_the_forms(architecture: str) -> None:
    message = refused(architecture=architecture)
    assert f"'{architecture}' names no network" in message
    assert "PATH/TO/FILE.py:FACTORY" in message


def test_naming_a_network_imports_neither_a_library_nor_code() -> None:
    script = (
        "import sys\n"
        "from dfkd_tune.classifiers import NetworkConfig\n"
        "for name in ('torchvision:resnet18', 'timm:x', 'antigravity:make', 'a/b.py:make'):\n"
        "    NetworkConfig(architecture=name)\n"
        "print(sorted({'torchvision', 'timm', 'antigravity'} & sys.modules.keys()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    "architecture", ["torchvision:resnet18", "timm:resnet18", "models:make", "nets.py:make"]
)
def test_a_width_is_refused_where_the_factory_takes_none(architecture: str) -> None:
    message = refused(architecture=architecture, width=0.5)
    assert "width is 0.5" in message
    assert "leave it at 1" in message


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"])
def test_a_width_is_taken_where_torchvisions_factory_takes_one(name: str) -> None:
    assert NetworkConfig(architecture=f"torchvision:{name}", width=0.5).width == 0.5


def test_arguments_are_for_networks_from_elsewhere() -> None:
    given = NetworkConfig(architecture="nets.py:make", arguments={"depth": 3, "names": ["a"]})
    assert given.arguments == {"depth": 3, "names": ("a",)}
    assert "leave them out" in refused(architecture="resnet8", arguments={"depth": 3})


@pytest.mark.parametrize(
    "value", [pytest.param(object(), id="object"), None, date(2024, 1, 1), {"a": 1}, [[1]]], ids=str
)
def test_arguments_hold_numbers_words_and_lists_of_them(value: object) -> None:
    assert "arguments.x" in refused(architecture="nets.py:make", arguments={"x": value})


def test_nobody_shares_the_default_arguments() -> None:
    first, second = (NetworkConfig(architecture="nets.py:make") for _ in range(2))
    first.arguments["x"] = 1
    assert second.arguments == {}


def test_a_configuration_survives_json_and_is_hashable() -> None:
    config = NetworkConfig(
        architecture="nets.py:make", arguments={"depth": [1, 2.5, "a"]}, stages=("a.0", "b")
    )
    again = NetworkConfig.model_validate(json.loads(config.model_dump_json()))
    assert again == config
    assert hash(again) == hash(config)
    assert len({config, again, NetworkConfig(architecture="resnet8")}) == 2


def test_a_configuration_is_frozen_and_knows_its_fields() -> None:
    config: Any = NetworkConfig(architecture="resnet8")
    with pytest.raises(ValidationError):
        config.width = 2.0
    refused(architecture="resnet8", depth=3)


def test_a_network_is_named_for_people() -> None:
    assert str(NetworkConfig(architecture="resnet8", width=0.5)) == "resnet8 x 0.5"
    assert str(NetworkConfig(architecture="timm:vit_tiny")) == "timm:vit_tiny x 1"
