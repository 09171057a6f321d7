"""Variants of a recipe: one named piece taken away, or one value changed, at a time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dfkd_tune.distillation._config import DistillationConfig
from dfkd_tune.distillation.terms import active_terms


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A recipe with something changed.

    Args:
        name: short, for tables and folders.
        words: what is changed.
        changes: values by section, nested as in a `DistillationConfig`.
        published: name of the method's row in the published results that it stands for.
    """

    name: str
    words: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    published: str | None = None


FULL = Variant(name="full", words="the recipe as it is")
_FGVC_FULL = Variant(name="full", words="the recipe as it is", published="DFKD-FGVC")


def _off(objective: str, term: str) -> dict[str, Any]:
    return {objective: {term: {"weight": 0.0}}}


_FGVC_MHAD = _off("student_objective", "high_order_attention")
_FGVC_SFCL = _off("student_objective", "semantic_contrast")


def _mix(value: float) -> Variant:
    published = f"DFKD-FGVC (lambda {value:g})"
    return Variant(
        name=f"mix_{value:g}",
        words=f"mix weight of the spatial attention {value:g}",
        changes={"generator": {"attention": {"mix_weight": value}}},
        published=published,
    )


def _order(value: int) -> Variant:
    return Variant(
        name=f"order_{value}",
        words=f"high-order attention up to order {value}",
        changes={"student_objective": {"high_order_attention": {"order": value}}},
        published=f"DFKD-FGVC (order {value})",
    )


# Of DFKD-FGVC: its tables 3, 4 and 5. Of CGDD: the three pieces that its abstract names.
ABLATIONS: dict[str, tuple[Variant, ...]] = {
    "dfkd_fgvc": (
        _FGVC_FULL,
        Variant(
            name="baseline",
            words="neither attention distillation nor contrast",
            changes={
                "student_objective": {
                    **_FGVC_MHAD["student_objective"],
                    **_FGVC_SFCL["student_objective"],
                }
            },
            published="DFKD-FGVC (KD only)",
        ),
        Variant(
            name="no_attention_distillation",
            words="no high-order attention distillation",
            changes=_FGVC_MHAD,
            published="DFKD-FGVC (KD and SFCL)",
        ),
        Variant(
            name="no_contrast",
            words="no semantic feature contrast",
            changes=_FGVC_SFCL,
            published="DFKD-FGVC (KD and MHAD)",
        ),
        _order(1),
        _order(2),
        _mix(0.0),
        _mix(0.01),
        _mix(0.07),
        _mix(0.09),
    ),
    "cgdd": (
        FULL,
        Variant(
            name="no_attention_transfer",
            words="no attention transfer",
            changes=_off("student_objective", "attention_transfer"),
        ),
        Variant(
            name="no_preset_label_supervision",
            words="the student learns nothing from preset labels",
            changes=_off("student_objective", "preset_label"),
        ),
        Variant(
            name="no_conditioning",
            words="a generator without labels, pseudo labels in their place",
            changes={
                "generator": {"conditioning": "none"},
                "generator_objective": {
                    "preset_label": {"weight": 0.0},
                    "pseudo_label": {"weight": 1.0},
                },
                "student_objective": {"preset_label": {"weight": 0.0}},
            },
        ),
    ),
}


def ablation_of(method: str, recipe: DistillationConfig) -> tuple[Variant, ...]:
    """The variants of a method's ablation, the recipe itself first.

    Args:
        method: its name; where it has no list of its own, every term is taken away once, as far as
            another one is left.
        recipe: with an experiment's settings.
    """
    if method in ABLATIONS:
        return ABLATIONS[method]
    variants = [FULL]
    for which, objective in (
        ("generator_objective", recipe.generator_objective),
        ("student_objective", recipe.student_objective),
    ):
        names = list(active_terms(objective))
        variants += [
            Variant(
                name=f"no_{which.partition('_')[0]}_{name}",
                words=f"{which}.{name} off",
                changes=_off(which, name),
            )
            for name in names
            if len(names) > 1
        ]
    return tuple(variants)
