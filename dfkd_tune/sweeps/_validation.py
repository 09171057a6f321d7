"""What pydantic found wrong, in words for people."""

import re
from typing import Any

from pydantic import BaseModel, ValidationError

from dfkd_tune.errors import did_you_mean

_UNION_BRANCH = re.compile(r"^(float|int|str|bool|(literal|tuple|function-\w+)\[.*\])$")


def validation_lines(error: ValidationError, model: type[BaseModel], prefix: str = "") -> list[str]:
    """One line per problem: the key's path, what is wrong, what was given, what is allowed.

    Args:
        error: of the model.
        model: whose fields are known.
        prefix: path of the model within the file.
    """
    lines: dict[str, str] = {}
    for problem in error.errors():
        location = [str(part) for part in problem["loc"] if not _UNION_BRANCH.match(str(part))]
        path = ".".join([part for part in [prefix] if part] + location) or "the file"
        if problem["type"] == "extra_forbidden":
            known = _fields(model, location[:-1])
            text = f"unknown key; {did_you_mean(location[-1], known)}"
        elif problem["type"] == "missing":
            text = "is missing; give it"
        else:
            text = problem["msg"].removeprefix("Value error, ")
            # What is wrong between keys of a section names them; the whole section tells no more.
            if problem["type"] != "value_error" or not isinstance(problem["input"], dict):
                text += f"; got {_short(problem['input'])}"
        # Of a union, pydantic names every branch.
        lines[path] = f"{lines[path]}; or: {text}" if path in lines else f"{path}: {text}"
    return list(lines.values())


def _fields(model: type[BaseModel], location: list[str]) -> list[str]:
    """The keys that a section takes."""
    current: type[BaseModel] = model
    for part in location:
        field = current.model_fields.get(part)
        candidates = (
            [] if field is None else [field.annotation, *getattr(field.annotation, "__args__", ())]
        )
        inner = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if not inner:
            return []
        current = inner[0]
    return list(current.model_fields)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
