"""Every term on real networks: finite gradients to the right ones, none to the teacher."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dfkd_tune.classifiers import NetworkConfig, TappedNetwork, build_classifier
from dfkd_tune.distillation.terms import (
    GENERATOR_TERMS,
    STUDENT_TERMS,
    GeneratorObjective,
    Objective,
    Step,
    StudentObjective,
    TermContext,
)
from dfkd_tune.inputs import InputSpecification

INPUTS = InputSpecification(
    channels=2, height=16, width=8, mean=(0.3, 0.5), std=(0.4, 0.2), num_classes=4
)
GENERATOR: dict[str, list[dict[str, Any]]] = {
    "preset_label": [{}, {"label_smoothing": 0.1, "temperature": 20}],
    "pseudo_label": [{"form": "cross_entropy"}, {"form": "entropy"}],
    "bn_statistics": [{"distance": d} for d in ("l2", "l2_squared", "normalised")]
    + [{"momentum": 0.9}],
    "activation": [{}],
    "information_entropy": [{}],
    "adversarial": [{"divergence": d} for d in ("kl_teacher_student", "js", "l1")]
    + [{"agreement_only": True}],
    "contrast": [{"memory": 9, "embedding": 5}],
    "total_variation": [{}],
    "pixel_norm": [{}],
}
STUDENT: dict[str, list[dict[str, Any]]] = {
    "kd": [{"divergence": d} for d in ("kl_teacher_student", "js", "l1", "mse")],
    "preset_label": [{}, {"gate_by_teacher": True}],
    "attention_transfer": [{}, {"distance": "l2"}],
    "high_order_attention": [
        {"policy": policy, "activation": activation}
        for policy in ("separate_fixed_teacher", "shared_stop_gradient", "separate_trainable")
        for activation in ("sigmoid_of_sum", "mean_of_sigmoids", "softmax")
    ]
    + [{"level": "penultimate"}, {"adapter": "conv_bn"}, {"target": "maps"}],
    "semantic_contrast": [{}, {"head": "shared"}, {"anchors": "symmetric"}],
}
# Terms that compare the pixels alone ask no network.
ON_PIXELS = ("total_variation", "pixel_norm")


def cases(terms: dict[str, list[dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
    return [(name, settings) for name, every in terms.items() for settings in every]


def test_every_term_has_a_case() -> None:
    assert set(GENERATOR) == set(GENERATOR_TERMS) == set(GeneratorObjective.model_fields)
    assert set(STUDENT) == set(STUDENT_TERMS) == set(StudentObjective.model_fields)


@pytest.fixture
def teacher() -> TappedNetwork:
    network = build_classifier(NetworkConfig(architecture="resnet8", width=0.5), INPUTS, 1)
    return TappedNetwork(network.eval().requires_grad_(False), INPUTS)


@pytest.fixture(params=["resnet8", "lenet5"])
def student(request: pytest.FixtureRequest, teacher: TappedNetwork) -> TappedNetwork:
    """Of the teacher's family and of another; inclined to the class that the teacher often sees."""
    config = NetworkConfig(architecture=request.param, width=0.25)
    taps = TappedNetwork(build_classifier(config, INPUTS, 2).train(), INPUTS)
    assert isinstance(taps.head, nn.Linear)
    with torch.no_grad():
        taps.head.bias[teacher(images(2)).logits.argmax(1).mode().values] += 1
    return taps


def context(teacher: TappedNetwork, student: TappedNetwork) -> TermContext:
    torch.manual_seed(0)
    source = torch.Generator().manual_seed(5)
    return TermContext(teacher=teacher.shapes(), student=student.shapes(), source=source)


def images(seed: int) -> Tensor:
    return torch.randn(6, *INPUTS.shape, generator=torch.Generator().manual_seed(seed))


LABELS = torch.arange(6) % 4


def check_gradients(module: nn.Module, *, some: bool) -> None:
    """Finite where there is one, and one for every weight that is trained or for none."""
    for name, parameter in module.named_parameters():
        if not some or not parameter.requires_grad:
            assert parameter.grad is None, name
            continue
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
    if some and any(p.requires_grad for p in module.parameters()):
        assert any(p.grad.abs().max() > 0 for p in module.parameters() if p.grad is not None)


@pytest.mark.parametrize(("name", "settings"), cases(GENERATOR))
def test_a_generator_term_has_gradients_of_the_images_alone(
    teacher: TappedNetwork, student: TappedNetwork, name: str, settings: dict[str, Any]
) -> None:
    config = GeneratorObjective.model_validate({name: {"weight": 0.7, **settings}})
    objective = Objective("generator", config, GENERATOR_TERMS, context(teacher, student))
    needs = objective.needs

    def ask(given: Tensor) -> Any:
        return teacher(
            given,
            features="teacher_features" in needs,
            statistics="teacher_statistics" in needs,
        )

    def step(given: Tensor) -> Step:
        passed = student(given) if "student" in needs else None
        return Step(
            images=given, labels=LABELS, teacher=ask(given), student=passed, ask_teacher=ask
        )

    student.network.requires_grad_(False)
    objective.synthesised(step(images(1)))
    made = images(2).requires_grad_(True)
    loss, parts = objective(step(made))
    loss.backward()
    assert list(parts) == [f"generator/{name}"]
    assert parts[f"generator/{name}"].item() == loss.item()
    assert made.grad is not None
    assert bool(torch.isfinite(made.grad).all())
    assert made.grad.abs().max() > 0
    check_gradients(teacher.network, some=False)
    check_gradients(student.network, some=False)
    check_gradients(objective, some=True)


@pytest.mark.parametrize(("name", "settings"), cases(STUDENT))
def test_a_student_term_has_gradients_of_the_student_and_its_own_weights(
    teacher: TappedNetwork, student: TappedNetwork, name: str, settings: dict[str, Any]
) -> None:
    config = StudentObjective.model_validate({name: {"weight": 0.7, **settings}})
    objective = Objective("student", config, STUDENT_TERMS, context(teacher, student))
    needs = objective.needs
    given = images(2)
    before = {key: value.clone() for key, value in teacher.network.state_dict().items()}
    with torch.no_grad():
        taught = teacher(given, features="teacher_features" in needs)
    passed = student(given, features="student_features" in needs)
    # Labels that the teacher would give, so that the gate lets some through.
    labels = torch.where(LABELS < 2, taught.logits.argmax(1), LABELS)
    loss, parts = objective(Step(images=given, labels=labels, teacher=taught, student=passed))
    loss.backward()
    assert parts[f"student/{name}"].item() == loss.item()
    assert bool(torch.isfinite(loss))
    check_gradients(teacher.network, some=False)
    check_gradients(objective, some=True)
    gradients = [p.grad for p in student.network.parameters() if p.grad is not None]
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
    # All but the last layer, which a loss on features does not reach.
    first = next(student.network.parameters())
    assert first.grad is not None
    assert first.grad.abs().max() > 0
    after = teacher.network.state_dict()
    assert all(torch.equal(value, before[key]) for key, value in after.items())


@pytest.mark.parametrize("name", GENERATOR)
def test_the_weight_scales_a_term(
    teacher: TappedNetwork, student: TappedNetwork, name: str
) -> None:
    losses = []
    for weight in (1.0, 2.5):
        config = GeneratorObjective.model_validate({name: {"weight": weight, **GENERATOR[name][0]}})
        objective = Objective("generator", config, GENERATOR_TERMS, context(teacher, student))
        with torch.no_grad():
            given = Step(
                images=images(2),
                labels=LABELS,
                teacher=teacher(images(2), features=True, statistics=True),
                student=student(images(2)),
                ask_teacher=lambda x: teacher(x, features=True, statistics=True),
            )
            losses.append(objective(given)[0].item())
    assert losses[1] == pytest.approx(2.5 * losses[0], rel=1e-3)
