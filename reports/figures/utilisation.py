"""The timeline of a run: when each slot of each node trained which trial."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from reports.compute.utilisation import UNRECORDED, Spell, Utilisation
from reports.figures.base import Figure, empty_figure, plain, rounded
from reports.formatting import duration, percent, plural

MOST_BARS = 1500
"""Drawn one by one; of more, those between which no gap could be seen are drawn as one."""

FINENESS = 400
"""Of the whole time: a shorter gap could not be seen."""

STATES = (
    ("complete", "#0072B2", ""),
    ("stopped", "#A86400", "/"),
    ("diverged", "#B84600", "x"),
    ("collapsed", "#B84600", "x"),
    ("failed", "#9B3D74", "x"),
    ("running", "#4D5560", "."),
    ("interrupted", "#4D5560", "."),
    ("unreadable", "#4D5560", "."),
)
SEVERAL = ("several trials", "#0072B2", "")
ROW, LOWEST, HIGHEST = 26, 190, 900
LONGEST_NAME = 14
UNITS = ((3 * 3600.0, 3600.0, "hours"), (180.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar: a spell, or several of one slot."""

    node: str
    slot: int
    kind: str
    start: float
    end: float
    words: str


def utilisation_figure(use: Utilisation) -> Figure:
    """When each slot of each node trained which trial."""
    rows = {place: row for row, place in enumerate(_places(use))}
    whole = max(spell.end for spell in use.spells)
    unit, name = next((size, name) for least, size, name in UNITS if whole >= least)
    figure = empty_figure(f"{name} since the start", "", y_format=None)
    bars = _bars(use.spells, whole)
    for kind, colour, pattern in (*STATES, SEVERAL):
        drawn = [bar for bar in bars if bar.kind == kind]
        if not drawn:
            continue
        figure.add_trace(
            go.Bar(
                base=[rounded(bar.start / unit) for bar in drawn],
                x=[rounded((bar.end - bar.start) / unit) for bar in drawn],
                y=[rows[bar.node, bar.slot] for bar in drawn],
                customdata=[bar.words for bar in drawn],
                orientation="h",
                width=0.74,
                name=kind,
                marker={
                    "color": colour,
                    "line": {"width": 1, "color": "#FDFDFB"},
                    "pattern": {
                        "shape": pattern,
                        "size": 7,
                        "solidity": 0.2,
                        "bgcolor": colour,
                        "fgcolor": "#FFFFFF",
                    },
                },
                meta={"role": "complete" if kind == SEVERAL[0] else kind, "edge": "paper"},
                hovertemplate="%{customdata}<extra></extra>",
            )
        )
    height = LOWEST + ROW * len(rows)
    figure.update_layout(barmode="overlay", height=min(height, HIGHEST), showlegend=True)
    figure.update_yaxes(
        range=[len(rows) - 0.5, -0.5],
        tickmode="array",
        tickvals=list(rows.values()),
        ticktext=[_label(node, slot) for node, slot in rows],
        showgrid=False,
        minallowed=None,
        maxallowed=None,
    )
    return Figure(name="utilisation", figure=figure, summary=utilisation_words(use))


def utilisation_words(use: Utilisation) -> str:
    """How busy the slots were, in a sentence."""
    where = (
        f" on {plural(len(use.nodes), 'node')}"
        if all(node.node != UNRECORDED for node in use.nodes)
        else ""
    )
    count = plural(use.slots, "slot")
    verb = "was" if use.slots == 1 else "were"
    words = f"{count}{where} {verb} busy {percent(use.share)} of {duration(use.seconds)}"
    words = f"{words}, training {plural(use.trials, 'trial')}."
    if len(use.spells) <= MOST_BARS:
        return words
    return f"{words} Bars between which no gap could be seen are drawn as one."


def _places(use: Utilisation) -> Iterable[tuple[str, int]]:
    return dict.fromkeys((spell.node, spell.slot) for spell in use.spells)


def _label(node: str, slot: int) -> str:
    """The number of a slot; of the first, after its node's name, whose end tells it from others."""
    if not node:
        return f"slot {slot}"
    if slot > 1:
        return str(slot)
    host = node.partition(".")[0]
    name = node if host.isdigit() else host
    if len(name) > LONGEST_NAME:
        name = f"\N{HORIZONTAL ELLIPSIS}{name[1 - LONGEST_NAME :]}"
    return f"{plain(name)} {slot}"


def _bars(spells: Sequence[Spell], whole: float) -> list[Bar]:
    if len(spells) <= MOST_BARS:
        return [_bar([spell], SEVERAL[0] if spell.cohort else spell.state) for spell in spells]
    bars: list[Bar] = []
    together: list[Spell] = []
    for spell in spells:
        last = together[-1] if together else None
        apart = last is None or (
            (last.node, last.slot) != (spell.node, spell.slot)
            or spell.start - last.end > whole / FINENESS
        )
        if together and apart:
            bars.append(_bar(together, SEVERAL[0]))
            together = []
        together.append(spell)
    return [*bars, _bar(together, SEVERAL[0])]


def _bar(spells: Sequence[Spell], kind: str) -> Bar:
    first, last = spells[0], spells[-1]
    trials = {trial for spell in spells for trial in spell.trials}
    epochs = f"epochs {first.first_epoch} to {first.last_epoch}"
    if first.first_epoch == first.last_epoch:
        epochs = f"epoch {first.first_epoch}"
    what = plural(len(trials), "trial")
    if len(spells) == 1:
        who = f"{what} in one process" if first.cohort else f"{first.trial}, {first.state}"
        what = f"{who}: {epochs}"
    return Bar(
        node=first.node,
        slot=first.slot,
        kind=kind,
        start=first.start,
        end=last.end,
        words=plain(f"{what}, {duration(last.end - first.start)}"),
    )
