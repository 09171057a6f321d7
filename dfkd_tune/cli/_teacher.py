"""`teacher train` and `teacher evaluate`."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console

from dfkd_tune.benchmarks import Split, get_benchmark
from dfkd_tune.classifiers import CLASSIFIERS, TrainingRecipe
from dfkd_tune.cli._output import make_console, percent, print_json
from dfkd_tune.errors import UsageError, unknown_name
from dfkd_tune.records import TeacherCard, read_record
from dfkd_tune.sweeps import check_writable, teacher_with_progress
from trainables import TeacherConfig, load_network, score_teacher, teacher_network_config

app = typer.Typer(no_args_is_help=True, help="Train or evaluate a teacher on real images.")

BenchmarkName = Annotated[str, typer.Argument(help="benchmark", show_default=False)]
Architecture = Annotated[str | None, typer.Option("--arch", help="network; the usual by default")]
Width = Annotated[float | None, typer.Option(help="multiplier of its width")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document at the end")]


def _config(
    arch: str | None, width: float | None, weights: Path | None = None, recipe: object = None
) -> TeacherConfig:
    if arch is not None and arch not in CLASSIFIERS:
        raise unknown_name("network", arch, CLASSIFIERS)
    if width is not None and not 0 < width <= 16:
        raise UsageError(f"--width is {width:g}; give a number above 0, at most 16")
    return TeacherConfig.model_validate(
        {"architecture": arch, "width": width, "weights": weights, "recipe": recipe}
    )


@app.command()
def train(
    benchmark: BenchmarkName,
    arch: Architecture = None,
    width: Width = None,
    epochs: Annotated[int | None, typer.Option(help="of training")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="peak")] = None,
    seed: Annotated[int | None, typer.Option(help="of weights and batches")] = None,
    storage: Annotated[Path, typer.Option(help="folder that keeps teachers")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Train a teacher on the train split, or find it in the cache."""
    target = get_benchmark(benchmark)
    changes = {"epochs": epochs, "learning_rate": learning_rate, "seed": seed}
    given = {key: value for key, value in changes.items() if value is not None}
    try:
        recipe = TrainingRecipe.model_validate({**target.teacher_recipe.model_dump(), **given})
    except ValidationError as error:
        problem = error.errors()[0]
        flag = "--" + str(problem["loc"][0]).replace("_", "-")
        raise UsageError(f"{flag} is {problem['input']}: {problem['msg']}") from error
    console = make_console(as_json)
    check_writable(storage)
    teacher = teacher_with_progress(target, _config(arch, width, None, recipe), storage, console)
    if as_json:
        print_json({**teacher.card.model_dump(mode="json"), "weights": str(teacher.weights)})
        return
    _say(console, teacher.card, teacher.weights)


def _say(console: Console, card: TeacherCard, weights: Path) -> None:
    scores = ", ".join(
        f"{name} {percent(score.accuracy)} of {score.images}" for name, score in card.scores.items()
    )
    console.print(
        f"{card.architecture} x {card.width:g}, {card.parameters:,} parameters: {scores}\n"
        f"weights: {weights}",
        highlight=False,
        soft_wrap=True,
    )


@app.command()
def evaluate(
    benchmark: BenchmarkName,
    weights: Annotated[Path, typer.Argument(help="weights file", show_default=False)],
    arch: Architecture = None,
    width: Width = None,
    split: Annotated[Split, typer.Option(help="of the benchmark")] = "validation",
    as_json: AsJson = False,
) -> None:
    """Measure a teacher's accuracy on one split."""
    target = get_benchmark(benchmark)
    card_file = weights.parent / "card.json"
    if arch is None and width is None and card_file.exists():
        card = read_record(card_file, TeacherCard)
        arch, width = card.architecture, card.width
    network = load_network(teacher_network_config(target, _config(arch, width)), target, weights)
    score = score_teacher(network, target, split)
    if as_json:
        print_json({"split": split, **score.model_dump()})
        return
    make_console().print(
        f"{split}: {percent(score.accuracy)} ({score.correct} of {score.images} images)",
        highlight=False,
    )
