"""Reading an experiment file, before anything in it is checked."""

import json
import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from dfkd_tune.errors import ExperimentError


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads 1e-3 as a number and refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key}' is given twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)$"),
    list("-+.0123456789"),
)


def read_experiment_file(path: Path) -> dict[str, Any]:
    """Read an experiment file, without checking what it says.

    Raises:
        ExperimentError: if it is missing or no YAML mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ExperimentError(f"experiment file {path} does not exist; check the path") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ExperimentError(f"cannot read experiment file {path}: {error}") from error
    try:
        # A subclass of SafeLoader: plain data only.
        value = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ExperimentError(f"{path}{where}: {error.problem}; mend the YAML") from error
    except yaml.YAMLError as error:
        raise ExperimentError(f"{path} is no YAML: {error}") from error
    if not isinstance(value, dict):
        raise ExperimentError(
            f"{path} holds no mapping of keys to values; see experiments/digits.yaml for a model"
        )
    return value


def override(raw: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Put values at dotted paths into a raw experiment; None leaves the path as it is."""
    result: dict[str, Any] = json.loads(json.dumps(dict(raw), default=str))
    for key, value in values.items():
        if value is None:
            continue
        *parents, leaf = key.split(".")
        section = result
        for part in parents:
            inner = section.setdefault(part, {})
            if not isinstance(inner, dict):
                break
            section = inner
        else:
            section[leaf] = value
    return result
