"""Networks from torchvision, timm and the user's own code, and what can go wrong with each."""

import copy
import importlib.util
import json
import pickle
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dfkd_tune.classifiers import (
    NetworkConfig,
    build_classifier,
    check_output,
    inspect_network,
    load_weights,
    save_weights,
)
from dfkd_tune.classifiers._foreign import build_foreign
from dfkd_tune.errors import TeacherError
from dfkd_tune.inputs import InputSpecification

COLOUR = InputSpecification(
    channels=3, height=32, width=32, mean=(0, 0, 0), std=(1, 1, 1), num_classes=10
)
GREY = InputSpecification(channels=1, height=8, width=8, mean=(0.3,), std=(0.4,), num_classes=10)

GOOD = """
from torch import nn

def make(width=4, classes=10):
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(width, classes),
    )
"""


def build(
    architecture: str,
    inputs: InputSpecification = GREY,
    seed: int = 0,
    width: float = 1.0,
    **arguments: Any,
) -> nn.Module:
    config = NetworkConfig(architecture=architecture, width=width, arguments=arguments)
    return build_classifier(config, inputs, seed)


def refused(architecture: str, inputs: InputSpecification = GREY, **arguments: Any) -> str:
    """Build what must be refused, in one line, leaving no trace in Python's import system."""
    path, modules = list(sys.path), {n for n in sys.modules if n.startswith("_dfkd_tune_")}
    with pytest.raises(TeacherError) as caught:
        build(architecture, inputs, **arguments)
    assert sys.path == path
    message = str(caught.value)
    assert "\n" not in message
    if "cannot be imported" in message:
        assert {n for n in sys.modules if n.startswith("_dfkd_tune_")} == modules
    return message


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Write a file of the user's, and say how it is named."""

    def make(source: str, name: str = "nets.py") -> str:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
        return str(file)

    return make


# ---------------------------------------------------------------- torchvision


def test_a_torchvision_network_is_built_for_the_benchmarks_classes() -> None:
    network = build("torchvision:shufflenet_v2_x0_5", COLOUR)
    with torch.no_grad():
        assert network.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_a_torchvision_network_is_seeded() -> None:
    def weights(seed: int) -> Tensor:
        network = build("torchvision:mobilenet_v3_small", COLOUR, seed)
        return torch.cat([p.detach().flatten() for p in network.parameters()])

    before = torch.get_rng_state()
    first = weights(1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(weights(1), first)
    assert not torch.equal(weights(2), first)


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"])
def test_a_width_reaches_torchvisions_factory(name: str) -> None:
    def channels(width: float) -> list[int]:
        network = build(f"torchvision:{name}", COLOUR, width=width)
        return [m.num_features for m in network.modules() if isinstance(m, nn.BatchNorm2d)]

    assert sum(channels(0.5)) < 0.6 * sum(channels(1.0))


def test_arguments_reach_torchvisions_factory() -> None:
    network = build("torchvision:mobilenet_v2", COLOUR, dropout=0.7)
    assert [m.p for m in network.modules() if isinstance(m, nn.Dropout)] == [0.7]


def test_an_unknown_torchvision_network_is_answered_with_what_was_meant() -> None:
    message = refused("torchvision:resnet19", COLOUR)
    assert "torchvision has no classifier 'resnet19'" in message
    assert "did you mean 'resnet1" in message


@pytest.mark.parametrize("name", ["fcos_resnet50_fpn", "quantized_resnet18", "raft_small"])
def test_torchvision_models_that_are_no_classifiers_are_unknown(name: str) -> None:
    assert "has no classifier" in refused(f"torchvision:{name}", COLOUR)


@pytest.mark.parametrize("argument", ["weights", "num_classes"])
def test_what_the_benchmark_decides_is_no_argument(argument: str) -> None:
    message = refused("torchvision:resnet18", COLOUR, **{argument: 3})
    assert f"may not hold {argument}" in message


def test_an_argument_that_torchvision_does_not_know_is_told() -> None:
    message = refused("torchvision:shufflenet_v2_x0_5", COLOUR, colour="red")
    assert "torchvision:shufflenet_v2_x0_5" in message
    assert "TypeError" in message
    assert "'colour'" in message
    assert "check its arguments" in message


def test_a_torchvision_network_and_grey_images_do_not_go_together() -> None:
    message = refused("torchvision:shufflenet_v2_x0_5", replace(GREY, height=32, width=32))
    assert "fails on an image of 1 x 32 x 32" in message
    assert "RuntimeError" in message
    assert "1 channels" in message


def test_a_width_that_a_factory_does_not_take_is_refused_when_building_too() -> None:
    with pytest.raises(TeacherError, match="takes no width"):
        build_foreign("torchvision:resnet18", 0.5, {}, COLOUR)


# ---------------------------------------------------------------- timm


def test_without_timm_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    message = refused("timm:resnet18", COLOUR)
    assert "needs timm, which is not installed" in message
    assert "pip install timm" in message


def test_a_timm_that_fails_for_another_reason_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "timm.py").write_text("import no_such_dependency\n")
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    message = refused("timm:resnet18", COLOUR)
    assert "timm cannot be imported" in message
    assert "no_such_dependency" in message


@pytest.fixture
def fake_timm(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A stand-in with timm's two functions; says what it was asked for."""
    asked: dict[str, Any] = {}
    module: Any = ModuleType("timm")

    def create_model(model_name: str, **keywords: Any) -> nn.Module:
        asked.update(keywords, model_name=model_name)
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, keywords["num_classes"]))

    module.list_models = lambda: ["resnet18", "resnet34", "vit_tiny_patch16_224"]
    module.create_model = create_model
    monkeypatch.setitem(sys.modules, "timm", module)
    return asked


def test_timm_is_asked_for_the_benchmarks_classes_and_channels_without_weights(
    fake_timm: dict[str, Any],
) -> None:
    build("timm:resnet18.a1_in1k", COLOUR, drop_rate=0.1)
    assert fake_timm == {
        "model_name": "resnet18.a1_in1k",
        "pretrained": False,
        "num_classes": 10,
        "in_chans": 3,
        "drop_rate": 0.1,
    }


def test_an_unknown_timm_network_is_answered_with_what_was_meant(
    fake_timm: dict[str, Any],
) -> None:
    message = refused("timm:resnet19", COLOUR)
    assert "timm has no network 'resnet19'; did you mean 'resnet18'" in message
    assert "timm.list_models()" in refused("timm:zzz", COLOUR)
    assert "may not hold pretrained" in refused("timm:resnet18", COLOUR, pretrained=True)
    assert fake_timm == {}


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
def test_a_real_timm_network_is_built() -> None:
    network = build("timm:resnet10t", GREY)
    assert inspect_network(network, GREY).penultimate.size > 0


# ---------------------------------------------------------------- a file


def test_a_network_of_a_file_is_built_with_its_arguments(write: Callable[..., str]) -> None:
    file = write(GOOD)
    network: Any = build(f"{file}:make", classes=10)
    assert network[0].out_channels == 4
    config = NetworkConfig(architecture=f"{file}:make", arguments={"width": 6})
    wider: Any = build_classifier(config, GREY, 0)
    assert wider[0].out_channels == 6


def test_a_class_is_a_factory_too(write: Callable[..., str]) -> None:
    file = write(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.head = nn.Linear(64, 10)\n"
        "    def forward(self, x):\n"
        "        return self.head(x.flatten(1))\n"
    )
    assert type(build(f"{file}:Net")).__name__ == "Net"


def test_a_path_is_relative_to_the_current_directory(
    write: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(GOOD, "deep/nets.py")
    monkeypatch.chdir(tmp_path)
    assert isinstance(build("deep/nets.py:make"), nn.Module)
    message = refused("nets.py:make")
    assert "file nets.py does not exist" in message
    assert str(tmp_path) in message


def test_weights_of_a_network_from_a_file_are_seeded_and_no_random_state_is_touched(
    write: Callable[..., str],
) -> None:
    file = write(
        "import random, numpy, torch\nfrom torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.head = nn.Linear(64, 10)\n"
        "        self.a = nn.Parameter(torch.tensor(random.random()))\n"
        "        self.b = nn.Parameter(torch.tensor(numpy.random.rand()))\n"
        "    def forward(self, x):\n"
        "        return self.head(x.flatten(1))\n"
    )

    def weights(seed: int) -> Tensor:
        network = build(f"{file}:Net", seed=seed)
        return torch.cat([p.detach().flatten().double() for p in network.parameters()])

    torch.manual_seed(8)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    first = weights(2**40)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]
    torch.manual_seed(9)
    random.seed(9)
    np.random.seed(9)
    assert torch.equal(weights(2**40), first)
    assert bool((weights(1) != first).all())


def test_the_random_state_comes_back_also_when_building_fails(write: Callable[..., str]) -> None:
    file = write("import torch\ndef make():\n    torch.rand(3)\n    raise ValueError('no')\n")
    before = torch.get_rng_state()
    refused(f"{file}:make")
    assert torch.equal(torch.get_rng_state(), before)


DATACLASS = """
from __future__ import annotations
from dataclasses import dataclass
from torch import nn

@dataclass
class Settings:
    units: int = 10

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.settings = Settings()
        self.head = nn.Linear(64, self.settings.units)
    def forward(self, x):
        return self.head(x.flatten(1))
"""


def test_dataclasses_and_pickling_work_in_a_file(write: Callable[..., str]) -> None:
    network: Any = build(f"{write(DATACLASS)}:Net")
    again = pickle.loads(pickle.dumps(network))
    assert type(again) is type(network)
    assert again.settings == network.settings
    assert type(copy.deepcopy(network)) is type(network)


def test_a_file_is_read_once_until_it_changes(write: Callable[..., str]) -> None:
    first = build(f"{write(DATACLASS)}:Net")
    assert type(build(f"{write(DATACLASS)}:Net")) is type(first)
    # As long as before, and as young.
    changed: Any = build(f"{write(DATACLASS.replace('= 10', '=(10)'))}:Net")
    assert type(changed) is not type(first)


def test_a_file_takes_the_place_of_no_module_of_its_name(write: Callable[..., str]) -> None:
    file = write(GOOD, "json.py")
    build(f"{file}:make")
    assert sys.modules["json"] is json
    assert json.loads("[1]") == [1]


def test_a_file_can_import_its_neighbours(write: Callable[..., str]) -> None:
    write("UNITS = 10\n", "neighbour_of_nets.py")
    write("EXTRA = 0\n", "late_neighbour_of_nets.py")
    file = write(
        "from torch import nn\nfrom neighbour_of_nets import UNITS\n"
        "def make():\n"
        "    from late_neighbour_of_nets import EXTRA\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, UNITS + EXTRA))\n"
    )
    before = list(sys.path)
    build(f"{file}:make")
    assert sys.path == before
    for name in ("neighbour_of_nets", "late_neighbour_of_nets"):
        del sys.modules[name]


def test_arguments_are_not_changed_by_a_factory(write: Callable[..., str]) -> None:
    file = write(
        "from torch import nn\n"
        "def make(sizes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, sizes[0]))\n"
    )
    config = NetworkConfig(architecture=f"{file}:make", arguments={"sizes": [10]})
    build_classifier(config, GREY, 0)
    assert config.arguments == {"sizes": (10,)}


def test_lazy_layers_are_given_their_size_and_seeded_weights(write: Callable[..., str]) -> None:
    file = write(
        "from torch import nn\n"
        "def make():\n    return nn.Sequential(nn.Flatten(), nn.LazyLinear(10))\n"
    )
    first, second = (build(f"{file}:make", seed=3) for _ in range(2))
    assert first[1].weight.shape == (10, 64)
    assert torch.equal(first[1].weight, second[1].weight)


def test_weights_of_a_network_from_a_file_are_saved_and_loaded_also_where_two_are_one(
    write: Callable[..., str], tmp_path: Path
) -> None:
    file = write(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.one = nn.Linear(64, 64)\n"
        "        self.two = nn.Linear(64, 64)\n"
        "        self.two.weight = self.one.weight\n"
        "        self.head = nn.Linear(64, 10)\n"
        "    def forward(self, x):\n"
        "        return self.head(self.two(self.one(x.flatten(1))))\n"
    )
    first, second = build(f"{file}:Net", seed=1), build(f"{file}:Net", seed=2)
    save_weights(tmp_path / "w.safetensors", first)
    load_weights(second, tmp_path / "w.safetensors")
    images = torch.ones(2, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(first(images), second(images))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "does not exist" in refused(f"{tmp_path}/none.py:make")
    (tmp_path / "folder.py").mkdir()
    assert "cannot read" in refused(f"{tmp_path}/folder.py:make")


def test_a_syntax_error_is_told_with_its_line(write: Callable[..., str]) -> None:
    file = write("from torch import nn\n\ndef make(:\n    pass\n")
    message = refused(f"{file}:make")
    assert "SyntaxError" in message
    assert f"({file}, line 3)" in message


def test_an_import_that_fails_is_told_with_its_type_and_line(write: Callable[..., str]) -> None:
    file = write("import math\n\nmath.sqrt(-1)\n")
    message = refused(f"{file}:make")
    assert f"{file} cannot be imported: ValueError: " in message
    assert f"({file}, line 3)" in message


def test_a_line_is_that_of_the_users_code_not_of_the_library_it_calls(
    write: Callable[..., str],
) -> None:
    file = write("import json\n\n\njson.loads('{')\n")
    message = refused(f"{file}:make")
    assert "JSONDecodeError" in message
    assert f"({file}, line 4)" in message


def test_a_file_that_imports_what_is_not_installed_is_told(write: Callable[..., str]) -> None:
    file = write("import no_such_package\n")
    message = refused(f"{file}:make")
    assert "ModuleNotFoundError: No module named 'no_such_package'" in message
    assert f"({file}, line 1)" in message


def test_a_file_that_ends_the_program_does_not(write: Callable[..., str]) -> None:
    file = write("import sys\nsys.exit('goodbye')\n")
    assert "SystemExit: goodbye" in refused(f"{file}:make")


def test_a_message_of_several_lines_becomes_one(write: Callable[..., str]) -> None:
    file = write("raise ValueError('one\\ntwo')\n")
    assert f"{file} cannot be imported: ValueError: one two (" in refused(f"{file}:make")


def test_a_missing_factory_is_answered_with_what_was_meant(write: Callable[..., str]) -> None:
    file = write(GOOD + "COUNT = 3\n")
    message = refused(f"{file}:mak")
    assert "has no 'mak'" in message
    assert "did you mean 'make'" in message
    assert "COUNT" not in message


def test_data_is_no_factory(write: Callable[..., str]) -> None:
    file = write("make = 3\n")
    assert "no function or class" in refused(f"{file}:make")


def test_a_factory_that_raises_is_told_with_its_line(write: Callable[..., str]) -> None:
    file = write("\n\ndef make():\n    raise KeyError('depth')\n")
    message = refused(f"{file}:make")
    assert f"network '{file}:make' cannot be built: KeyError: 'depth'" in message
    assert f"({file}, line 4)" in message


def test_a_wrong_argument_is_told(write: Callable[..., str]) -> None:
    message = refused(f"{write(GOOD)}:make", depth=3)
    assert "unexpected keyword argument 'depth'" in message
    assert "check its arguments" in message


@pytest.mark.parametrize(
    ("value", "kind"), [("None", "NoneType"), ("{}", "dict"), ("(1, 2)", "tuple")]
)
def test_a_factory_must_give_a_module(write: Callable[..., str], value: str, kind: str) -> None:
    file = write(f"def make():\n    return {value}\n")
    message = refused(f"{file}:make")
    assert f"an object of type {kind}" in message
    assert "torch.nn.Module" in message


# ---------------------------------------------------------------- a module


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current directory; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def test_a_module_of_the_current_directory_is_imported(here: Path) -> None:
    (here / "nets_of_mine").mkdir()
    (here / "nets_of_mine" / "__init__.py").write_text("")
    (here / "nets_of_mine" / "small.py").write_text(GOOD)
    before = list(sys.path)
    network: Any = build("nets_of_mine.small:make")
    assert network[0].out_channels == 4
    assert sys.path == before


def test_an_installed_module_is_imported(here: Path) -> None:
    message = refused("torch.nn:Linear", in_features=8, out_features=10)
    assert "network 'torch.nn:Linear' gives a tensor of shape (1, 1, 8, 10)" in message


@pytest.mark.parametrize("name", ["no_such_module", "no_such_module.inner", "json.inner"])
def test_a_missing_module_is_told_with_where_it_was_looked_for(here: Path, name: str) -> None:
    message = refused(f"{name}:make")
    assert "there is no module '" in message
    assert str(here) in message


def test_a_module_that_fails_is_told_with_its_type_and_line(here: Path) -> None:
    (here / "broken_net.py").write_text("\n1 / 0\n")
    message = refused("broken_net:make")
    assert "broken_net cannot be imported: ZeroDivisionError: division by zero" in message
    assert f"({here / 'broken_net.py'}, line 2)" in message
    (here / "needy_net.py").write_text("import no_such_package.inner\n")
    message = refused("needy_net:make")
    assert "needy_net cannot be imported: ModuleNotFoundError" in message
    assert "no_such_package" in message


def test_a_missing_factory_of_a_module_is_answered_with_what_was_meant(here: Path) -> None:
    (here / "nets_of_mine.py").write_text(GOOD)
    message = refused("nets_of_mine:makes")
    assert "nets_of_mine has no 'makes'; did you mean 'make'" in message


# ---------------------------------------------------------------- the output


class Gives(nn.Module):
    """A network that gives what it is told."""

    def __init__(self, output: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.output = output
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Any:
        return self.output(x)


def complaint(output: Callable[[Tensor], Any]) -> str:
    with pytest.raises(TeacherError) as caught:
        check_output(Gives(output), GREY)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_network_for_other_classes_is_told() -> None:
    message = complaint(lambda x: torch.zeros(len(x), 1000))
    assert message.startswith("the network gives 1000 outputs, the benchmark has 10 classes; ")


def test_outputs_that_are_no_logits_are_told() -> None:
    assert "gives a tuple" in complaint(lambda x: (torch.zeros(len(x), 10),))
    assert "gives a dict" in complaint(lambda x: {"logits": torch.zeros(len(x), 10)})
    assert "shape (1, 10, 1, 1)" in complaint(lambda x: torch.zeros(len(x), 10, 1, 1))
    assert "shape (10,)" in complaint(lambda x: torch.zeros(10))
    assert "shape (8, 10)" in complaint(lambda x: torch.zeros(8, 10))


def test_a_forward_pass_that_fails_is_told_in_one_line() -> None:
    def fail(x: Tensor) -> Tensor:
        raise AttributeError("no\nsuch thing")

    message = complaint(fail)
    assert "fails on an image of 1 x 8 x 8: AttributeError: no such thing;" in message


@pytest.mark.parametrize("training", [True, False])
def test_a_good_network_passes_and_is_left_as_it_was(training: bool) -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), nn.Flatten(), nn.Linear(72, 10)
    ).train(training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    check_output(network, GREY)
    assert all(m.training is training for m in network.modules())
    assert all(torch.equal(value, before[n]) for n, value in network.state_dict().items())


def test_a_network_without_parameters_can_be_checked() -> None:
    check_output(nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(10)), GREY)


def test_a_built_network_with_wrong_classes_is_named(write: Callable[..., str]) -> None:
    file = write(GOOD)
    message = refused(f"{file}:make", classes=7)
    assert f"network '{file}:make' gives 7 outputs, the benchmark has 10 classes" in message
