"""What `list` lists."""

from collections.abc import Callable
from typing import Any

import torch

from dfkd_tune.benchmarks import BENCHMARKS
from dfkd_tune.classifiers import CLASSIFIERS, NetworkConfig, build_classifier, network_size
from dfkd_tune.distillation import CONDITIONINGS, GENERATORS, METHODS
from dfkd_tune.inputs import InputSpecification
from search_spaces import SPACES, Dimension, SearchSpace, get_key, get_space, students_for


def listed(kind: str) -> list[dict[str, Any]]:
    """What an experiment can name.

    Args:
        kind: methods, benchmarks, generators, students, spaces or samplers.

    Returns:
        One mapping per name; all have the same keys.
    """
    if kind == "methods":
        return [
            {"method": m.name, "title": m.title, "source": m.source, "note": m.note}
            for m in METHODS.values()
        ]
    if kind == "benchmarks":
        return [
            {
                "benchmark": b.name,
                "title": b.title,
                "input": f"{b.channels} x {b.size} x {b.size}",
                "classes": b.num_classes,
                "teacher": str(b.teacher),
                "student": str(b.student),
                "folder holds": b.layout,
                "source": b.source,
            }
            for b in BENCHMARKS.values()
        ]
    if kind == "generators":
        generators = [
            {"generator": name, "is": "architecture", "what": what}
            for name, what in GENERATORS.items()
        ]
        return generators + [
            {"generator": name, "is": "conditioning", "what": what}
            for name, what in CONDITIONINGS.items()
        ]
    if kind == "students":
        return [_student_row(name) for name in CLASSIFIERS]
    if kind == "samplers":
        # Loads Ray, for which the other lists need not wait.
        from dfkd_tune.sweeps import SAMPLERS

        return [
            {"sampler": name, "what": sampler.what, "search.against": sampler.against}
            for name, sampler in SAMPLERS.items()
        ]
    return [
        {
            "space": space.name,
            "title": space.title.removeprefix(f"{space.name}: "),
            "searches": f"{len(space.dimensions)} values",
            "every one": f"dfkd-tune show space {space.name}",
        }
        for space in SPACES.values()
    ]


def shown_space(name: str) -> list[dict[str, str]]:
    """Every dimension of a search space, in the order in which they are asked.

    Args:
        name: of the space.

    Raises:
        UnknownNameError: if there is none of that name.
    """
    space = get_space(name)
    return [
        {
            "searches": dimension.name,
            "range": dimension.range_text(),
            "scale": dimension.scale_text(),
            "recipe": _of_recipe(dimension, space),
            "only where": dimension.condition_text(),
            "source": dimension.source,
        }
        for dimension in space.dimensions
    ]


def _of_recipe(dimension: Dimension, space: SearchSpace) -> str:
    """The value that a dimension has in its method's recipe, with which a search begins."""
    method = METHODS.get(dimension.method or space.name)
    if method is None:
        return "the experiment's"
    return f"{get_key(method.recipe, dimension.key)}"


SHOWN: dict[str, Callable[[str], list[dict[str, str]]]] = {"space": shown_space}
"""What `show` shows, by kind."""


# The input at which each network is listed: what it is made for.
_LISTED = {"": (3, 32), "_imagenet": (3, 224)}
_TINY = (1, 8)


def _student_row(name: str) -> dict[str, Any]:
    """A network and what it costs, on images of the kind that it is made for."""
    channels, size = _LISTED["_imagenet" if name.endswith("_imagenet") else ""]
    if name in students_for(_square(*_TINY)):
        channels, size = _TINY
    inputs = _square(channels, size)
    row: dict[str, Any] = {"student": name, "on": f"{channels} x {size} x {size}"}
    # Without memory for weights: only the sizes are asked for.
    with torch.device("meta"):
        for width in (0.25, 0.5, 1.0, 2.0):
            config = NetworkConfig(architecture=name, width=width)
            network = build_classifier(config, inputs, seed=0)
            count = sum(p.numel() for p in network.parameters())
            row[f"parameters x {width:g}"] = f"{count:,}"
            if width == 1:
                macs = network_size(network, inputs).macs
    return {**row, "MACs x 1": f"{macs:,}"}


def _square(channels: int, size: int) -> InputSpecification:
    return InputSpecification(
        channels=channels,
        height=size,
        width=size,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        num_classes=10,
    )
