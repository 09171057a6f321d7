"""The fine-grained parts of the view: class by class, attention, variety of the images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dfkd_tune.records import AttentionRecord, SelectedImagesRecord
from reports.collect import RunData
from reports.compute.classes import ClassReport, class_report
from reports.compute.selected_images import (
    AttentionRow,
    Variety,
    attention_rows,
    median_correlation,
    selected_images,
    variety,
)
from reports.figures import Figure, balance_figure, classes_figure
from reports.pictures import Png, read_png

FOLDER = "selected"


@dataclass(frozen=True, kw_only=True)
class AttentionView:
    """Attention maps on some images.

    Args:
        record: what they are of.
        picture: rows of images, teacher's and student's maps; None where the file is missing.
        rows: the images from left to right.
        correlation: the median over images; None where no map has one.
    """

    record: AttentionRecord
    picture: Png | None
    rows: tuple[AttentionRow, ...]
    correlation: float | None


@dataclass(frozen=True, kw_only=True)
class FineView:
    """What is told of a selected trial in detail.

    Args:
        confirmed: whether the run chose among configurations of another one.
        classes: class by class; None where that was not recorded.
        looked: whether the trial's images were looked at.
        attention: on its own images; None where it is not there.
        real_attention: on validation images; None where it is not there.
        variety: of its own images; None where it is not there.
        closest: picture of the two most similar images; None where it is not there.
    """

    confirmed: bool
    classes: ClassReport | None
    looked: bool
    attention: AttentionView | None
    real_attention: AttentionView | None
    variety: Variety | None
    closest: Png | None


def view_fine(run: RunData) -> FineView | None:
    """What is told of the selected trial in detail; None where no trial is selected."""
    if run.selection is None:
        return None
    record = selected_images(run)
    folder = run.path / FOLDER
    own = real = None
    if record is not None:
        own = _attention(record, record.attention, folder)
        real = _attention(record, record.real_attention, folder)
    found = None if record is None else variety(record)
    closest = None if found is None else found.closest
    return FineView(
        confirmed=run.run.kind == "comparison",
        classes=class_report(run.selection.classes),
        looked=record is not None,
        attention=own,
        real_attention=real,
        variety=found,
        closest=None if closest is None else read_png(folder / Path(closest.file).name),
    )


def fine_figures(fine: FineView | None) -> Sequence[Figure]:
    """The figures of what is told in detail."""
    figures = []
    if fine is not None and fine.classes is not None and fine.classes.known:
        figures.append(classes_figure(fine.classes))
    if fine is not None and fine.variety is not None:
        figures.append(balance_figure(fine.variety))
    return figures


def _attention(
    record: SelectedImagesRecord, attention: AttentionRecord | None, folder: Path
) -> AttentionView | None:
    if attention is None:
        return None
    rows = attention_rows(record, attention)
    return AttentionView(
        record=attention,
        # The name alone: a record leads to no file elsewhere.
        picture=read_png(folder / Path(attention.file).name),
        rows=rows,
        correlation=median_correlation(rows),
    )
