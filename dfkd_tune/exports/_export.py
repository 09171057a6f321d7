"""From a run folder to a folder with the student, its model card, and what programs need of it."""

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from dfkd_tune.classifiers import NetworkConfig, build_classifier, file_sha256, load_weights
from dfkd_tune.errors import DfkdTuneError, RunFolderError, StorageError, UsageError
from dfkd_tune.evaluation import predict_logits
from dfkd_tune.exports._formats import FORMATS, TOLERANCE, ExportFormat, Predict, Student
from dfkd_tune.inputs import InputSpecification
from dfkd_tune.records import copy_file_atomically, write_bytes_atomically, write_json
from reports import CardFile, RunData, TrialData, best_trial, collect_run, model_card
from trainables import load_network

SCHEMA_VERSION = 1
DESCRIPTION = "student.json"
CARD = "README.md"

IMAGES = 16
"""Random images on which an exported file is compared with the student."""


@dataclass(frozen=True, kw_only=True)
class ExportedFile:
    """One file, and how far it was found to differ from the student of the run.

    Args:
        path: of the file.
        sha256: of its bytes.
        difference: the largest of any logit, on random images.
    """

    path: Path
    sha256: str
    difference: float


@dataclass(frozen=True, kw_only=True)
class ExportedStudent:
    """An exported student.

    Args:
        trial: whose student it is.
        folder: that holds all of it.
        card: the model card.
        files: the student in each format.
    """

    trial: str
    folder: Path
    card: Path
    files: tuple[ExportedFile, ...]


def export_student(run: Path, formats: Iterable[ExportFormat], output: Path) -> ExportedStudent:
    """Export the student that a run has selected, or its best complete one while none is.

    Every file is read back and compared with the student of the run before anything is written.

    Args:
        run: the run folder, which is only read.
        formats: to write, at least one.
        output: folder for the files: new, empty, or of an earlier export, which is replaced.

    Returns:
        What was written.

    Raises:
        RunFolderError: if there is no student to export, or its file has changed.
        UsageError: if a format needs a package that is not installed, or the output holds
            something else, or lies in the run folder.
        DfkdTuneError: if a file would not give the logits of the student.
        StorageError: if the output cannot be written.
    """
    chosen = [FORMATS[name] for name in dict.fromkeys(formats)]
    for each in chosen:
        each.check()
    _check_output(run, output)
    data = collect_run(run)
    trial, weights = _winner(data)
    config, inputs = _network(trial), _inputs(data)
    student = Student(config=config, inputs=inputs, network=_plain_network(config, inputs, weights))
    expected = _Expected(load_network(config, inputs, weights), inputs)
    with tempfile.TemporaryDirectory(prefix="dfkd-export-") as scratch:
        made = []
        for each in chosen:
            path = Path(scratch) / each.file
            each.write(student, path)
            difference = expected.difference(each.read(student, path), each.file)
            made.append(ExportedFile(path=path, sha256=file_sha256(path), difference=difference))
        return _written(data, trial, student, [each.words for each in chosen], made, output)


def load_student(folder: Path) -> nn.Module:
    """The network of an exported student with its weights, in evaluation mode.

    Args:
        folder: of an export that holds `student.safetensors`.

    Raises:
        UsageError: if the folder is none of an export.
        TeacherError: if the weights are missing or damaged.
    """
    told = _description(folder)
    if told is None:
        raise UsageError(f"{folder} holds no {DESCRIPTION} of an exported student; check the path")
    config = NetworkConfig.model_validate(told["network"])
    return _plain_network(config, _specification(told["inputs"]), folder / "student.safetensors")


class _Expected:
    """The logits of the student of the run on random images."""

    def __init__(self, network: nn.Module, inputs: InputSpecification) -> None:
        source = torch.Generator().manual_seed(0)
        # The mean and deviation of what the student was trained on.
        self.images = torch.randn(IMAGES, *inputs.shape, generator=source)
        self.logits = predict_logits(network, self.images)

    def difference(self, predict: Predict, file: str) -> float:
        """The largest difference of any logit, of all images at once and of one alone.

        Raises:
            DfkdTuneError: if it is beyond rounding.
        """
        with torch.no_grad():
            found = torch.cat([predict(self.images), predict(self.images[:1])])
        logits = torch.cat([self.logits, self.logits[:1]])
        largest = (found - logits).abs().max().item()
        # Not larger, rather than smaller: NaN is neither.
        if not largest <= TOLERANCE * max(1.0, logits.abs().max().item()):
            raise DfkdTuneError(
                f"{file} gives other logits than the student of the run, by up to {largest:.3g}; "
                f"nothing was written: export it in another format"
            )
        return largest


def _winner(run: RunData) -> tuple[TrialData, Path]:
    """The trial whose student is exported, and its weights.

    Raises:
        RunFolderError: if there is none, or its file is not what was selected.
    """
    if run.run.kind == "comparison" and run.selection is None:
        raise RunFolderError(
            f"{run.path} holds a comparison, in which nothing is chosen; give the folder of a "
            f"sweep or of a confirmation"
        )
    trial = best_trial(run)
    if trial is None:
        raise RunFolderError(
            f"{run.path} has no complete trial yet, and so no student to export; give the same "
            f"command again to go on"
        )
    if trial.student_weights is None:
        raise RunFolderError(
            f"{run.path} has lost the student of {trial.name}: its student.safetensors is not "
            f"there; copy the run folder again"
        )
    selection = run.selection
    if selection is not None and selection.trial == trial.name:
        found = file_sha256(trial.student_weights)
        if found != selection.student_sha256:
            raise RunFolderError(
                f"{trial.student_weights} has changed since it was selected (its SHA-256 is "
                f"{found[:12]}, that of the selection {selection.student_sha256[:12]}); copy the "
                f"run folder again"
            )
    return trial, trial.student_weights


def _network(trial: TrialData) -> NetworkConfig:
    configuration = trial.trial.configuration if trial.trial is not None else {}
    try:
        return NetworkConfig.model_validate(configuration.get("student"))
    except ValidationError as error:
        raise RunFolderError(
            f"the student of {trial.name} is of a network that this version does not know: "
            f"{error.errors()[0]['msg'].removeprefix('Value error, ')}"
        ) from error


def _inputs(run: RunData) -> InputSpecification:
    recorded = run.experiment.get("inputs") or (run.teacher.inputs if run.teacher else None)
    if not recorded:
        raise RunFolderError(
            f"{run.path} does not say what the student's input looks like; its experiment.json "
            f"is missing or of an older version"
        )
    return _specification(recorded)


def _specification(recorded: Mapping[str, Any]) -> InputSpecification:
    return InputSpecification(
        **{**recorded, "mean": tuple(recorded["mean"]), "std": tuple(recorded["std"])}
    )


def _plain_network(config: NetworkConfig, inputs: InputSpecification, weights: Path) -> nn.Module:
    """As `load_network`, but laid out in memory as others expect it."""
    network = build_classifier(config, inputs, seed=0)
    load_weights(network, weights)
    return network.eval().requires_grad_(False)


def _check_output(run: Path, output: Path) -> None:
    """Make sure that nothing of somebody else's is replaced.

    Raises:
        UsageError: if the output is no folder for an export.
    """
    if run.resolve() in (output.resolve(), *output.resolve().parents):
        raise UsageError(
            f"{output} lies in the run folder itself, which holds records only; "
            f"give another folder to export to"
        )
    try:
        if output.exists() and not output.is_dir():
            raise UsageError(f"{output} is not a folder; give one to export to")
        holds = sorted(path.name for path in output.iterdir()) if output.exists() else []
    except OSError as error:
        raise StorageError(f"cannot read {output}: {error.strerror or error}") from error
    if holds and _description(output) is None:
        raise UsageError(
            f"{output} holds other things, such as {holds[0]}; give a new folder to export to"
        )


def _description(folder: Path) -> dict[str, Any] | None:
    """What `student.json` says; None where there is none that this project wrote."""
    try:
        told = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    known = isinstance(told, dict) and {"network", "inputs", "weights_sha256"} <= told.keys()
    return told if known else None


def _written(
    run: RunData,
    trial: TrialData,
    student: Student,
    words: Sequence[str],
    made: Sequence[ExportedFile],
    output: Path,
) -> ExportedStudent:
    """Put everything into its place; what an earlier export has left goes."""
    files = tuple(
        ExportedFile(path=output / m.path.name, sha256=m.sha256, difference=m.difference)
        for m in made
    )
    for file, written in zip(made, files, strict=True):
        copy_file_atomically(file.path, written.path)
    for other in {output / each.file for each in FORMATS.values()} - {f.path for f in files}:
        other.unlink(missing_ok=True)
    description = {
        "schema_version": SCHEMA_VERSION,
        "run": run.run.name,
        "trial": trial.name,
        "network": student.config.model_dump(mode="json"),
        "inputs": asdict(student.inputs),
        "class_names": run.experiment.get("class_names"),
        "weights_sha256": file_sha256(trial.student_weights) if trial.student_weights else None,
        "files": {f.path.name: {"sha256": f.sha256, "difference": f.difference} for f in files},
    }
    write_json(output / DESCRIPTION, description)
    card = model_card(
        run,
        trial,
        student.inputs,
        tuple(
            CardFile(name=f.path.name, words=told, sha256=f.sha256, difference=f.difference)
            for f, told in zip(files, words, strict=True)
        ),
        tolerance=TOLERANCE,
        images=IMAGES,
    )
    write_bytes_atomically(output / CARD, card.encode("utf-8", "replace"))
    return ExportedStudent(trial=trial.name, folder=output, card=output / CARD, files=files)
