"""Captured steps come to what steps one by one come to; by a tape of the CPU's operations.

A CUDA graph needs a GPU. The tape of tests/support records the same steps, and does them again as
a graph does: without Python, where everything lies. It cannot show the capture by CUDA itself.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_methods import INPUTS, small_config, small_teacher
from tape import RefusedError, Tape
from torch import Tensor, nn

from dfkd_tune.classifiers import ForwardPass
from dfkd_tune.distillation import (
    METHODS,
    DistillationConfig,
    Progress,
    State,
    _distillation,
    distil,
    distil_together,
)
from dfkd_tune.distillation._cuda_graphs import (
    MOST_KINDS,
    WARM_UP,
    CudaCapture,
    ReplayedWork,
    flattened,
    gathered,
)
from dfkd_tune.distillation._optimisation import make_capturable, optimiser_state, student_optimiser
from dfkd_tune.errors import UsageError

CPU = torch.device("cpu")

# Powers of two: a captured step has its rate in float32, and that is the same number then.
RATES: dict[str, Any] = {
    "generator_optimiser": {"learning_rate": 2**-9, "schedule": "constant"},
    "student_optimiser": {"learning_rate": 2**-5, "schedule": "constant", "warmup_epochs": 0},
}


@pytest.fixture
def tapes(monkeypatch: pytest.MonkeyPatch) -> list[Tape]:
    """Have captured on the CPU; gives the tapes as they come about."""
    made: list[Tape] = []

    def capture(device: torch.device) -> Tape:
        made.append(Tape(device))
        return made[-1]

    monkeypatch.setattr(_distillation, "CudaCapture", capture)
    return made


def config_of(method: str, changes: dict[str, Any] | None = None) -> DistillationConfig:
    """A method's small recipe with steps enough for a capture."""
    schedule = {"iterations_per_epoch": 6, **(changes or {}).get("schedule", {})}
    return small_config(method, {**RATES, **(changes or {}), "schedule": schedule})


def both(config: DistillationConfig) -> list[tuple[list[Progress], dict[str, Tensor]]]:
    """Distil step by step, and captured."""
    found = []
    for captured in (False, True):
        rows: list[Progress] = []
        student = distil(
            config.model_copy(update={"cuda_graphs": captured}),
            small_teacher(),
            INPUTS,
            report=rows.append,
        )
        found.append((rows, dict(student.state_dict())))
    return found


def assert_same(config: DistillationConfig) -> None:
    """Not only alike: to the last bit."""
    (rows, weights), (captured_rows, captured) = both(config)
    assert weights.keys() == captured.keys()
    for name, value in weights.items():
        assert torch.equal(value, captured[name]), name
    for row, other in zip(rows, captured_rows, strict=True):
        assert dict(row.losses) == dict(other.losses)
        assert row.class_entropy == other.class_entropy
        assert row.learning_rates == other.learning_rates


@pytest.mark.parametrize("method", METHODS)
def test_captured_steps_of_every_method_come_to_the_same(method: str, tapes: list[Tape]) -> None:
    config = config_of(method)
    assert_same(config)
    (tape,) = tapes
    # Answers and student steps; of a stream, generator steps and samples; of rounds their steps,
    # and the last of each. But for steps of terms that draw random numbers.
    draws = config.generator_objective.contrast.weight > 0
    frozen = config.schedule.mode == "two_stage" and config.schedule.generator_epochs == 0
    assert not frozen
    assert tape.recorded >= (2 if draws else 4)
    assert tape.replayed > tape.recorded


def config_section(method: str, section: str) -> dict[str, Any]:
    """A section of a method's small recipe."""
    found: dict[str, Any] = small_config(method).model_dump()[section]
    return found


CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "bfloat16": ("cgdd", {"precision": "bfloat16"}),
    "shared batch": ("dfq", {"schedule": {"reuse_batch": True}}),
    "bank": ("cgdd", {"image_bank": {"size": 30, "replay_share": 0.5}}),
    "average": ("cgdd", {"generator_average": {"momentum": 0.75, "share": 0.5}}),
    "memory": ("cgdd", {"generative_replay": {"share": 0.5, "latent_size": 3, "width": 2}}),
    "adam and clipped gradients": (
        "dfq",
        {
            "student_optimiser": {
                **RATES["student_optimiser"],
                "kind": "adam",
                "gradient_clip": 0.5,
            },
            "generator_optimiser": {**RATES["generator_optimiser"], "gradient_clip": 0.5},
        },
    ),
    "rounds of pixels": (
        "fast",
        {
            "synthesis": {
                **config_section("fast", "synthesis"),
                "optimise": "pixels",
                "meta": "none",
                "jitter": 2,
                "flip": True,
            }
        },
    ),
    "rounds that teach by reptile": (
        "fast",
        {"synthesis": {**config_section("fast", "synthesis"), "meta": "reptile"}},
    ),
    "rounds without a teaching": (
        "fast",
        {
            "synthesis": {
                **config_section("fast", "synthesis"),
                "meta": "none",
                "restart_every": 2,
                "latent_learning_rate": 2**-7,
            }
        },
    ),
    "statistics with a memory": (
        "fast",
        {"generator_objective": {"bn_statistics": {"weight": 1.0, "momentum": 0.75}}},
    ),
    "labels as numbers": ("dfq", {"generator": {"conditioning": "one_hot_concat"}}),
    "labels by BatchNorm": ("dfq", {"generator": {"conditioning": "conditional_bn"}}),
    "attention": ("dfq", {"generator": {"architecture": "attention"}}),
    "evaluation mode": (
        "dfq",
        {
            "schedule": {
                "student_mode_in_generator_step": "eval",
                "generator_mode_when_sampling": "eval",
            }
        },
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_captured_steps_come_to_the_same_with(name: str, tapes: list[Tape]) -> None:
    method, changes = CHANGES[name]
    assert_same(config_of(method, changes))
    assert tapes[0].replayed > 0


def test_a_captured_step_follows_the_learning_rate(tapes: list[Tape]) -> None:
    def students(schedule: str) -> list[dict[str, Tensor]]:
        optimiser = {"learning_rate": 0.05, "schedule": schedule}
        return [weights for _, weights in both(config_of("dfq", {"student_optimiser": optimiser}))]

    def apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
        return max(float((one[name] - other[name]).abs().max()) for name in one)

    (falling, captured), (constant, _) = students("cosine"), students("constant")
    # The rate is rounded to float32; a rate that was captured with the step would be constant.
    assert apart(falling, captured) < 1e-4 < 1e-2 < apart(captured, constant)


def test_a_term_that_draws_random_numbers_is_not_captured(tapes: list[Tape]) -> None:
    contrast = {"contrast": {"weight": 1.0, "embedding": 8, "memory": 25, "negatives": 8}}
    objective = {**config_of("dfq").generator_objective.model_dump(), **contrast}
    config = config_of("dfq", {"generator_objective": objective})
    assert_same(config)
    # Answers, student steps and samples are; the generator's steps are not.
    assert tapes[0].recorded == 3


def test_students_of_a_cohort_are_captured_each(tapes: list[Tape]) -> None:
    first = config_of("cgdd", {"cuda_graphs": True})
    faster = {**RATES["student_optimiser"], "learning_rate": 2**-4}
    second = config_of("cgdd", {"cuda_graphs": True, "student_optimiser": faster})
    together = distil_together([first, second], small_teacher(), INPUTS)
    assert tapes[0].recorded == 5
    for config, student in zip((first, second), together, strict=True):
        alone = distil(config, small_teacher(), INPUTS).state_dict()
        for name, value in student.state_dict().items():
            torch.testing.assert_close(value, alone[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("captured", [(True, True), (True, False), (False, True)])
def test_a_captured_run_goes_on_from_its_state(
    captured: tuple[bool, bool], tapes: list[Tape]
) -> None:
    """Into a captured one or not: the states are the same."""
    config = config_of("dfq", {"schedule": {"epochs": 3}})
    before, after = (config.model_copy(update={"cuda_graphs": each}) for each in captured)
    states: list[State] = []
    whole = distil(
        before, small_teacher(), INPUTS, report=lambda progress: states.append(progress.state())
    )
    rest = distil(after, small_teacher(), INPUTS, restore=states[0])
    for name, value in whole.state_dict().items():
        assert torch.equal(value, rest.state_dict()[name]), name


def test_optimisers_that_can_be_captured_keep_their_states_as_others_do() -> None:
    config = config_of("dfq").student_optimiser
    for kind in ("sgd", "adam"):
        weight = nn.Parameter(torch.ones(3))
        optimiser = student_optimiser([weight], config.model_copy(update={"kind": kind}))
        plain = optimiser_state(optimiser)
        make_capturable(optimiser, CPU)
        assert isinstance(optimiser.param_groups[0]["lr"], Tensor)
        assert optimiser_state(optimiser) == plain


def test_without_a_gpu_there_is_one_clear_line() -> None:
    config = config_of("dfq", {"cuda_graphs": True})
    teacher = small_teacher().train()
    with pytest.raises(UsageError, match=r"settings\.cuda_graphs: needs a CUDA GPU.*to false"):
        distil(config, teacher, INPUTS)
    # As it came.
    assert all(module.training for module in teacher.modules())
    assert all(weight.requires_grad for weight in teacher.parameters())
    with pytest.raises(UsageError):
        CudaCapture(CPU)


# ------------------------------------------------------------------ work


def doubled(counted: list[int]) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """Work that counts how often Python does it."""

    def work(x: Tensor) -> tuple[Tensor, ...]:
        counted.append(len(x))
        return (2 * x,)

    return work


def test_work_is_captured_after_a_few_times_and_then_done_without_python() -> None:
    counted: list[int] = []
    work = ReplayedWork(doubled(counted), Tape(CPU))
    results = [work(torch.full((2,), float(value)))[0] for value in range(WARM_UP + 4)]
    # Once more to record it.
    assert counted == [2] * (WARM_UP + 1)
    # And what it gave before stays what it was.
    assert [each.tolist() for each in results] == [[2.0 * v] * 2 for v in range(WARM_UP + 4)]


def test_every_kind_of_batch_is_captured_up_to_a_number_of_kinds() -> None:
    counted: list[int] = []
    tape = Tape(CPU)
    work = ReplayedWork(doubled(counted), tape)
    for size in range(1, MOST_KINDS + 3):
        for value in range(WARM_UP + 2):
            (made,) = work(torch.full((size,), float(value)))
            assert made.tolist() == [2.0 * value] * size
    assert tape.recorded == MOST_KINDS
    # Of the same shape and otherwise laid out is another kind.
    square = torch.arange(4.0).view(2, 2)
    assert torch.equal(work(square.T)[0], 2 * square.T)


def test_a_pass_is_flattened_and_gathered() -> None:
    made = ForwardPass(
        logits=torch.rand(2, 3), stages=(torch.rand(2, 1, 4, 4),), penultimate=torch.rand(2, 5)
    )
    assert gathered(flattened(made)) == made
    alone = ForwardPass(logits=made.logits)
    assert gathered(flattened(alone)) == alone


# ------------------------------------------------------------------ the tape itself


def test_the_tape_repeats_what_python_decided() -> None:
    """So that the tests above can fail."""
    rate = [1.0]
    weight = torch.zeros(2)

    def step(x: Tensor) -> tuple[Tensor, ...]:
        weight.add_(x, alpha=rate[0])
        return (weight.clone(),)

    work = ReplayedWork(step, Tape(CPU))
    for _ in range(WARM_UP + 1):
        work(torch.ones(2))
    assert weight.tolist() == [WARM_UP + 1.0] * 2
    rate[0] = 100.0
    work(torch.ones(2))
    assert weight.tolist() == [WARM_UP + 2.0] * 2


@pytest.mark.parametrize(
    "work",
    [
        lambda x: (x * x.sum().item(),),
        lambda x: (x + torch.tensor([1.0, 2.0]),),
        lambda x: (x[x > 0],),
        lambda x: (x + torch.rand(2, generator=torch.Generator()),),
    ],
    ids=["number", "python's numbers", "shape by values", "own generator"],
)
def test_the_tape_refuses_what_a_graph_cannot_hold(
    work: Callable[[Tensor], tuple[Tensor, ...]],
) -> None:
    with pytest.raises(RefusedError):
        Tape(CPU).record(lambda: work(torch.ones(2)))
