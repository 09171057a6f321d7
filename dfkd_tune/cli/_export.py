"""`export`.

It imports what it needs when it is called, so that `--help` need not wait for PyTorch.
"""

from pathlib import Path
from typing import Annotated

import typer

from dfkd_tune.cli._output import make_console, print_json
from dfkd_tune.errors import UsageError, unknown_name

RECORDS = "tensorboard"


def export(
    run: Annotated[Path, typer.Argument(help="run folder", show_default=False)],
    formats: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="of the selected student: safetensors, onnx, torch, or several with commas "
            "between; or of the records: tensorboard",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="folder to write to", show_default=False)
    ] = None,
    tensorboard: Annotated[
        Path | None,
        typer.Option(help="short for --format tensorboard --output", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document")] = False,
) -> None:
    """Write the student that a run has found, with a model card; or its records for TensorBoard."""
    if tensorboard is not None:
        if formats is not None or output is not None:
            raise UsageError(
                "--tensorboard DIR stands for --format tensorboard --output DIR; give one of them"
            )
        formats, output = RECORDS, tensorboard
    if formats is None:
        raise UsageError(
            "--format is missing; give safetensors, onnx or torch for the student, or tensorboard "
            "for the records"
        )
    if output is None:
        raise UsageError("--output is missing; give a folder to write to")
    names = [name.strip() for name in formats.split(",")]
    if names == [RECORDS]:
        _export_records(run, output, as_json)
        return
    if RECORDS in names:
        raise UsageError("--format tensorboard writes no student; export it by itself")
    from dfkd_tune.exports import FORMATS, export_student

    for name in names:
        if name not in FORMATS:
            raise unknown_name("format", name, [*FORMATS, RECORDS])
    found = export_student(run, [name for name in FORMATS if name in names], output)
    if as_json:
        files = {f.path.name: {"sha256": f.sha256, "difference": f.difference} for f in found.files}
        print_json({"folder": str(found.folder), "trial": found.trial, "files": files})
        return
    console = make_console()
    for file in found.files:
        console.print(
            f"{file.path}: the logits of {found.trial}, but for {file.difference:.2g} at most",
            highlight=False,
            soft_wrap=True,
        )
    console.print(f"model card: {found.card}", highlight=False, soft_wrap=True)


def _export_records(run: Path, output: Path, as_json: bool) -> None:
    from reports import export_tensorboard

    files = export_tensorboard(run, output)
    if as_json:
        print_json({"folder": str(files.folder), "trials": files.trials, "epochs": files.epochs})
    else:
        make_console().print(
            f"{files.epochs} epochs of {files.trials} trials: tensorboard --logdir {files.folder}",
            highlight=False,
            soft_wrap=True,
        )
