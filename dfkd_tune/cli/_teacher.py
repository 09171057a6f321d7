"""`teacher train`, `teacher evaluate` and `teacher inspect`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console

from dfkd_tune.benchmarks import (
    Benchmark,
    InputConfig,
    Split,
    open_benchmark,
)
from dfkd_tune.classifiers import (
    CLASSIFIERS,
    NetworkConfig,
    NetworkReport,
    TrainingRecipe,
    build_classifier,
    inspect_network,
    is_foreign,
    load_weights,
)
from dfkd_tune.cli._output import make_console, percent, print_json, print_table
from dfkd_tune.cli._target import fetch, from_flags, read_target, section
from dfkd_tune.distillation import METHODS, method_service
from dfkd_tune.errors import UsageError, unknown_name
from dfkd_tune.inputs import InputSpecification
from dfkd_tune.records import TeacherCard, read_record
from dfkd_tune.sweeps import (
    best_device,
    check_writable,
    teacher_with_progress,
    validation_lines,
)
from trainables import (
    TeacherConfig,
    add_test_score,
    card_network,
    load_network,
    score_teacher,
    teacher_network_config,
    teacher_recipe,
)

app = typer.Typer(no_args_is_help=True, help="Train, evaluate or inspect a teacher.")

Target = Annotated[
    str,
    typer.Argument(
        help="benchmark; or a folder (train/CLASS/FILE, test/CLASS/FILE) or an .npz of labelled "
        "images; or an experiment file, whose benchmark and teacher are taken",
        show_default=False,
    ),
]
Root = Annotated[Path | None, typer.Option(help="folder of the benchmark's images")]
Size = Annotated[
    int | None, typer.Option(help="pixels of one side of the input; needed with a folder")
]
Fitting = Annotated[
    str | None,
    typer.Option(
        "--resize", help="images of another shape: crop (the centre, by default) or squash"
    ),
]
Architecture = Annotated[str | None, typer.Option("--arch", help="network; the usual by default")]
Width = Annotated[float | None, typer.Option(help="multiplier of its width")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document at the end")]


def _network_flags(arch: str | None, width: float | None) -> dict[str, Any]:
    if arch is not None and not is_foreign(arch) and arch not in CLASSIFIERS:
        raise unknown_name("network", arch, CLASSIFIERS)
    if width is not None and not 0 < width <= 16:
        raise UsageError(f"--width is {width:g}; give a number above 0, at most 16")
    given = {"architecture": arch, "width": width}
    return {key: value for key, value in given.items() if value is not None}


@app.command()
def train(
    benchmark: Target,
    root: Root = None,
    size: Size = None,
    resize: Fitting = None,
    arch: Architecture = None,
    width: Width = None,
    epochs: Annotated[int | None, typer.Option(help="of training")] = None,
    batch_size: Annotated[int | None, typer.Option(help="images per step")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="peak")] = None,
    schedule: Annotated[str | None, typer.Option(help="one_cycle, cosine or step")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, float32 or bfloat16")] = None,
    initial_weights: Annotated[
        Path | None, typer.Option(help="weights file to start from, such as ImageNet's")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="of weights and batches")] = None,
    download: Annotated[bool, typer.Option(help="fetch the images first, where they are not")] = (
        False
    ),
    storage: Annotated[Path, typer.Option(help="folder that keeps teachers")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Train a teacher on the train split, or find it in the cache; ended early, it goes on."""
    config, raw = read_target(benchmark, root, size, resize)
    raw = {**raw, **_network_flags(arch, width)}
    console = make_console(as_json)
    if download:
        fetch(config, console)
    opened = open_benchmark(config)
    changes = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "schedule": schedule,
        "precision": precision,
        "initial_weights": initial_weights,
        "seed": seed,
    }
    given = {key: value for key, value in changes.items() if value is not None}
    teacher_config: TeacherConfig = section(TeacherConfig, raw, "teacher")
    recipe = teacher_recipe(opened, teacher_config).model_dump()
    changed = from_flags(TrainingRecipe, {**recipe, **given})
    teacher_config = teacher_config.model_copy(update={"recipe": changed})
    check_writable(storage)
    teacher = teacher_with_progress(opened, teacher_config, storage, console)
    teacher = add_test_score(teacher, opened, best_device())
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
        f"trained in {card.seconds:.0f} s, {card.precision}\n"
        f"weights: {weights}",
        highlight=False,
        soft_wrap=True,
    )


@app.command()
def evaluate(
    benchmark: Target,
    weights: Annotated[Path, typer.Argument(help="weights file", show_default=False)],
    root: Root = None,
    size: Size = None,
    resize: Fitting = None,
    arch: Architecture = None,
    width: Width = None,
    split: Annotated[Split, typer.Option(help="of the benchmark")] = "validation",
    as_json: AsJson = False,
) -> None:
    """Measure a teacher's accuracy on one split."""
    config, raw = read_target(benchmark, root, size, resize)
    opened = open_benchmark(config)
    network_config = _network_of(opened, raw, arch, width, weights)
    network = load_network(network_config, opened.inputs, weights)
    score = score_teacher(network.to(best_device()), opened, split)
    if as_json:
        print_json({"split": split, **score.model_dump()})
        return
    make_console().print(
        f"{split}: {percent(score.accuracy)} ({score.correct} of {score.images} images)",
        highlight=False,
    )


def _network_of(
    benchmark: Benchmark,
    raw: dict[str, Any],
    arch: str | None,
    width: float | None,
    weights: Path | None,
) -> NetworkConfig:
    """The network that is named, else that of the card beside the weights, else the usual one."""
    flags = _network_flags(arch, width)
    card_file = None if weights is None else weights.parent / "card.json"
    if not flags and not raw and card_file is not None and card_file.exists():
        return card_network(read_record(card_file, TeacherCard))
    config: TeacherConfig = section(TeacherConfig, {**raw, **flags}, "teacher")
    try:
        return teacher_network_config(benchmark, config)
    except ValidationError as error:
        raise UsageError("; ".join(validation_lines(error, TeacherConfig, "teacher"))) from error


@app.command()
def inspect(
    network: Annotated[
        str,
        typer.Argument(
            help="network (a name, torchvision:NAME, timm:NAME, FILE.py:FACTORY), or an "
            "experiment file",
            show_default=False,
        ),
    ],
    size: Annotated[int, typer.Option(help="pixels of one side; not with a file")] = 32,
    channels: Annotated[int, typer.Option(help="1 grey, 3 colour; not with a file")] = 3,
    classes: Annotated[int, typer.Option(help="outputs; not with a file")] = 10,
    width: Width = None,
    weights: Annotated[Path | None, typer.Option(help="weights file to load")] = None,
    as_json: AsJson = False,
) -> None:
    """Show a network's stages, BatchNorm layers and cost, and which methods it can serve."""
    accuracy: dict[str, float] = {}
    if network.endswith((".yaml", ".yml")):
        config, raw = read_target(network, None, None)
        opened = open_benchmark(config)
        network_config = _network_of(opened, raw, None, width, None)
        inputs = opened.inputs
        file = weights or section(TeacherConfig, raw, "teacher").weights
        if file is not None and opened.data == "labelled":
            loaded = load_network(network_config, inputs, file)
            score = score_teacher(loaded, opened, "validation")
            accuracy = {"validation accuracy": score.accuracy}
    else:
        flags = _network_flags(network, width)
        network_config = section(NetworkConfig, flags, "network")
        from_flags(InputConfig, {"size": size, "channels": channels, "classes": classes})
        inputs = InputSpecification(
            channels=channels,
            height=size,
            width=size,
            mean=(0.0,) * channels,
            std=(1.0,) * channels,
            num_classes=classes,
        )
        file = weights
    built = build_classifier(network_config, inputs, seed=0)
    if file is not None:
        load_weights(built, file)
    found = inspect_network(built, inputs, network_config.stages)
    methods = {
        name: method_service(method, bool(found.batch_norms)) for name, method in METHODS.items()
    }
    if as_json:
        print_json({**_as_mapping(found), **accuracy, "methods": methods})
        return
    console = make_console()
    shape = " x ".join(str(side) for side in inputs.shape)
    console.print(f"{network_config} on {shape}, {inputs.num_classes} classes", style="bold")
    print_table(
        console,
        "",
        ["stage", "module", "channels x height x width"],
        [
            [str(index), stage.name, " x ".join(str(side) for side in stage.shape)]
            for index, stage in enumerate(found.stages)
        ],
    )
    vector = found.penultimate
    lines = [
        "penultimate vector: "
        + (f"{vector.size} numbers, the input of {vector.name}" if vector.size else "none"),
        f"BatchNorm layers: {len(found.batch_norms)}"
        + (
            f", {sum(layer.channels for layer in found.batch_norms):,} channels"
            if found.batch_norms
            else ""
        ),
        f"parameters: {found.parameters:,}",
        f"multiply-accumulates: {found.macs:,}",
        f"latency of one image: {found.latency_ms:.2f} ms here",
        *(f"{name}: {percent(value)}" for name, value in accuracy.items()),
        *(f"method {name}: {words}" for name, words in methods.items()),
    ]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _as_mapping(found: NetworkReport) -> dict[str, Any]:
    """A report with keys throughout."""
    axes = ("channels", "height", "width")
    return {
        **asdict(found),
        "stages": [
            {"name": stage.name, "shape": dict(zip(axes, stage.shape, strict=True))}
            for stage in found.stages
        ],
        "penultimate": found.penultimate._asdict(),
        "batch_norms": [layer._asdict() for layer in found.batch_norms],
    }
