"""Looks at the selected trial once it is chosen: its own images, and where its student looks."""

import io
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dfkd_tune.benchmarks import Benchmark
from dfkd_tune.classifiers import to_input
from dfkd_tune.distillation import DistillationConfig, image_grid, to_pixels
from dfkd_tune.errors import RunFolderError, TeacherError
from dfkd_tune.evaluation import (
    attention_maps,
    class_entropy,
    map_correlations,
    nearest_others,
    penultimate_features,
    predict_logits,
)
from dfkd_tune.inputs import InputSpecification
from dfkd_tune.records import (
    AttentionImage,
    AttentionRecord,
    ClosestPair,
    DuplicateMeasure,
    RunFolder,
    SelectedImagesRecord,
    now,
    write_bytes_atomically,
    write_record,
)
from trainables._pool import load_kept
from trainables._teachers import card_network, load_network

DUPLICATE_DISTANCE = 0.01
"""Cosine distance of two images' penultimate features below which they are called duplicates."""

MOST_SHOWN = 8
MOST_IMAGES = 512
SMALLEST_CELL, LARGEST_CELL = 96, 128
GAP = 2
SYNTHETIC_FILE, REAL_FILE = "attention_synthetic.png", "attention_real.png"
CLOSEST_FILE = "closest_pair.png"
# Of rising lightness, so that it survives grey print: from nothing to the largest attention.
RAMP = ((0.0, (11, 21, 38)), (0.4, (31, 95, 153)), (0.7, (95, 176, 201)), (1.0, (255, 246, 194)))


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """Teacher and selected student, ready to be asked."""

    inputs: InputSpecification
    device: torch.device
    teacher: nn.Module
    student: nn.Module
    teacher_stages: tuple[str, ...]
    student_stages: tuple[str, ...]


def look_at_selected(
    run: RunFolder, benchmark: Benchmark, trial: str, student_sha256: str, device: torch.device
) -> SelectedImagesRecord:
    """Measure the selected trial's kept images, draw attention maps, and record both.

    The pictures are written before the record that names them, and an older record is removed
    before them, so that a record's pictures are always its own.

    Args:
        run: the run.
        benchmark: for its input, class names, and validation images where it has any.
        trial: name of the selected one.
        student_sha256: of its student's weights.
        device: where to compute.

    Raises:
        RunFolderError: if the teacher or the student cannot be read.
        StorageError: if the folder cannot be written.
    """
    began = time.perf_counter()
    pair = _load_pair(run, benchmark, trial, device)
    pictures: dict[str, bytes] = {}
    kept = load_kept(run.trial_folder(trial), MOST_IMAGES)
    record = SelectedImagesRecord(
        trial=trial,
        student_sha256=student_sha256,
        names=benchmark.class_names,
        threshold=DUPLICATE_DISTANCE,
        **({} if kept is None or not len(kept) else _look_at_kept(pair, kept, pictures)),
        **_look_at_real(pair, benchmark, MOST_IMAGES if kept is None else len(kept), pictures),
        seconds=time.perf_counter() - began,
        time=now(),
    )
    run.selected_images_file.unlink(missing_ok=True)
    for name, content in pictures.items():
        write_bytes_atomically(run.selected_path / name, content)
    write_record(run.selected_images_file, record)
    return record


def _load_pair(run: RunFolder, benchmark: Benchmark, trial: str, device: torch.device) -> _Pair:
    card, folder = run.teacher_card(), run.trial_folder(trial)
    if card is None:
        raise RunFolderError(f"{run.teacher_card_file} is missing; is this a run folder?")
    teacher = card_network(card)
    student = DistillationConfig.model_validate(folder.trial().configuration).student
    return _Pair(
        inputs=benchmark.inputs,
        device=device,
        teacher=load_network(teacher, benchmark.inputs, run.teacher_weights).to(device),
        student=load_network(student, benchmark.inputs, folder.student_weights).to(device),
        teacher_stages=teacher.stages,
        student_stages=student.stages,
    )


def _look_at_kept(pair: _Pair, kept: Tensor, pictures: dict[str, bytes]) -> dict[str, Any]:
    """What a record holds of the trial's own images; adds their pictures."""
    features, logits = _features(pair, kept)
    shown = _most_certain(logits)
    found: dict[str, Any] = {
        "balance": torch.bincount(logits.argmax(1), minlength=pair.inputs.num_classes).tolist(),
        "class_entropy": class_entropy(logits),
        "attention": _attention(pair, kept[shown], shown, None, SYNTHETIC_FILE, pictures),
    }
    if len(kept) > 1:
        distances, nearest = nearest_others(features)
        found["duplicates"] = _measure(distances)
        found["closest"] = _closest(kept, distances, nearest, pair.inputs, pictures)
    return found


def _look_at_real(
    pair: _Pair, benchmark: Benchmark, most: int, pictures: dict[str, bytes]
) -> dict[str, Any]:
    """What a record holds of the validation split; adds its picture."""
    if benchmark.data == "none":
        return {}
    stored = benchmark.images("validation")
    sample = torch.linspace(0, len(stored) - 1, min(most, len(stored))).round().long()
    features, logits = _features(pair, to_input(stored[sample], pair.inputs))
    if benchmark.data == "labelled":
        labels = benchmark.load("validation").labels
        shown = _first_of_class(labels)
        seen = labels[shown].tolist()
    else:
        shown, seen = sample[_first_of_class(logits.argmax(1))], None
    images = to_input(stored[shown], pair.inputs)
    return {
        "real": _measure(nearest_others(features)[0]) if len(sample) > 1 else None,
        "real_attention": _attention(pair, images, shown, seen, REAL_FILE, pictures),
    }


def _features(pair: _Pair, images: Tensor) -> tuple[Tensor, Tensor]:
    """Penultimate vectors and logits of the teacher."""
    return penultimate_features(pair.teacher, images, pair.inputs, pair.teacher_stages)


def _measure(distances: Tensor) -> DuplicateMeasure:
    return DuplicateMeasure(
        images=len(distances),
        median=float(np.median(distances.numpy())),
        share=(distances < DUPLICATE_DISTANCE).double().mean().item(),
    )


def _closest(
    kept: Tensor,
    distances: Tensor,
    nearest: Tensor,
    inputs: InputSpecification,
    pictures: dict[str, bytes],
) -> ClosestPair:
    first = int(distances.argmin())
    second = int(nearest[first])
    cells = _cells(to_pixels(kept[[first, second]], inputs))
    pictures[CLOSEST_FILE], width, height = _png(cells[None])
    return ClosestPair(
        file=CLOSEST_FILE,
        width=width,
        height=height,
        images=(first, second),
        distance=distances[first].item(),
    )


def _spread(found: Sequence[int]) -> Tensor:
    """At most eight of the images of a class each, spread over the classes."""
    places = torch.linspace(0, len(found) - 1, min(MOST_SHOWN, len(found))).round().long()
    return torch.tensor(found)[places]


def _most_certain(logits: Tensor) -> Tensor:
    """Of the classes that the teacher sees, the image in which it is most certain of each."""
    confidence, chosen = logits.double().softmax(1).max(1)
    found = []
    for label in sorted(set(chosen.tolist())):
        of_class = torch.where(chosen == label, confidence, -torch.inf)
        found.append(int(of_class.argmax()))
    return _spread(found)


def _first_of_class(labels: Tensor) -> Tensor:
    """The first image of each class: none is picked by what it looks like."""
    found = [int((labels == label).nonzero()[0]) for label in sorted(set(labels.tolist()))]
    return _spread(found)


def _attention(
    pair: _Pair,
    images: Tensor,
    places: Tensor,
    labels: Sequence[int] | None,
    file: str,
    pictures: dict[str, bytes],
) -> AttentionRecord | None:
    """Compare the attention maps on some images; None where a network has no feature maps."""
    on_device = images.to(pair.device)
    maps = []
    for network, stages in (
        (pair.teacher, pair.teacher_stages),
        (pair.student, pair.student_stages),
    ):
        try:
            found = attention_maps(network, on_device, pair.inputs, stages)
        except TeacherError:
            found = None
        if found is None:
            return None
        maps.append(found)
    teacher, student = maps
    height, width = pair.inputs.height, pair.inputs.width
    correlations = map_correlations(
        teacher.enlarged(height, width), student.enlarged(height, width)
    )
    cells = _cells(to_pixels(images, pair.inputs))
    size = cells.shape[2:]
    rows = [cells, *(_coloured(each.enlarged(size[0], size[1])) for each in maps)]
    pictures[file], png_width, png_height = _png(torch.stack(rows))
    confidence, chosen = _answers(pair.teacher, images).max(1)
    taken = _answers(pair.student, images).argmax(1)
    return AttentionRecord(
        file=file,
        width=png_width,
        height=png_height,
        teacher_stage=teacher.stage,
        teacher_size=teacher.size,
        student_stage=student.stage,
        student_size=student.size,
        images=tuple(
            AttentionImage(
                image=int(places[place]),
                label=None if labels is None else labels[place],
                teacher=int(chosen[place]),
                confidence=float(confidence[place]),
                student=int(taken[place]),
                correlation=correlation,
            )
            for place, correlation in enumerate(correlations)
        ),
    )


def _answers(network: nn.Module, images: Tensor) -> Tensor:
    return predict_logits(network, images).double().softmax(1)


def _cells(pixels: Tensor) -> Tensor:
    """Pixels `(N, C, H, W)` in [0, 1] as cells of a picture `(N, 3, h, w)`, large enough to see."""
    side = max(pixels.shape[2:])
    if pixels.shape[1] != 3:
        pixels = pixels[:, :1].expand(-1, 3, -1, -1)
    if side > LARGEST_CELL:
        scale = LARGEST_CELL / side
        size = [max(1, round(scale * extent)) for extent in pixels.shape[2:]]
        shrunk = functional.interpolate(pixels, size, mode="bilinear", antialias=True)
        return shrunk.clamp(0, 1)
    # Without smoothing: what is shown are the pixels themselves.
    times = max(1, math.ceil(SMALLEST_CELL / side))
    return pixels.repeat_interleave(times, 2).repeat_interleave(times, 3)


def _coloured(maps: Tensor) -> Tensor:
    """Maps `(N, H, W)` as colours `(N, 3, H, W)`, each by its own largest value."""
    share = (maps / maps.amax((1, 2), keepdim=True).clamp_min(1e-30)).clamp(0, 1).numpy()
    at = [position for position, _ in RAMP]
    channels = [np.interp(share, at, [colour[c] for _, colour in RAMP]) for c in range(3)]
    return torch.from_numpy(np.stack(channels, 1) / 255).float()


def _png(cells: Tensor) -> tuple[bytes, int, int]:
    """Cells `(rows, columns, 3, H, W)` as a PNG file, with its width and height."""
    picture = image_grid(cells, gap=GAP)
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue(), picture.width, picture.height
