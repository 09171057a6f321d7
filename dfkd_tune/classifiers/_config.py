"""Which classifier: what an experiment file says of a network."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dfkd_tune.classifiers._foreign import FORMS, check_form, is_foreign, takes_width
from dfkd_tune.errors import did_you_mean

Argument = bool | int | float | str | tuple[int | float | str, ...]


class NetworkConfig(BaseModel):
    """Which classifier: an architecture and how wide."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: str = Field(
        description="name, as `dfkd-tune list students` shows; or torchvision:NAME, timm:NAME, "
        "PACKAGE.MODULE:FACTORY or PATH/TO/FILE.py:FACTORY"
    )
    width: float = Field(default=1.0, gt=0, le=16, description="multiplier of every layer's width")
    arguments: dict[str, Argument] = Field(
        default={}, description="keyword arguments of a foreign network's factory"
    )
    stages: tuple[str, ...] = Field(
        default=(),
        description="module names whose outputs are the stages; found by themselves by default",
    )

    @field_validator("architecture")
    @classmethod
    def _known(cls, value: str) -> str:
        # Only here: the registry builds from configurations, so it imports this module.
        from dfkd_tune.classifiers._networks import CLASSIFIERS

        if is_foreign(value):
            check_form(value)
        elif value not in CLASSIFIERS:
            raise ValueError(
                f"there is no network '{value}'; {did_you_mean(value, CLASSIFIERS)}; or {FORMS}"
            )
        return value

    @field_validator("arguments", mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        for key, given in value.items() if isinstance(value, dict) else ():
            parts = given if isinstance(given, list | tuple) else [given]
            if not all(isinstance(part, bool | int | float | str) for part in parts):
                raise ValueError(
                    f"arguments.{key} is {given!r}; give a number, a word, or a list of them"
                )
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "NetworkConfig":
        if self.arguments and not is_foreign(self.architecture):
            raise ValueError(
                f"arguments are for a network from elsewhere, and '{self.architecture}' is one of "
                f"this project; leave them out"
            )
        if self.width != 1 and not takes_width(self.architecture):
            raise ValueError(
                f"width is {self.width:g}, and '{self.architecture}' takes none; leave it at 1, "
                f"and set the network's own size through arguments"
            )
        return self

    def __hash__(self) -> int:
        """Of all but the arguments, which are a dictionary."""
        return hash((self.architecture, self.width, self.stages))

    def __str__(self) -> str:
        """For people: `resnet8 x 0.5`."""
        return f"{self.architecture} x {self.width:g}"
