"""Mixed high-order attention distillation against NumPy, and who trains what in it."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dfkd_tune.classifiers import ForwardPass, NetworkShapes
from dfkd_tune.distillation.terms import (
    STUDENT_TERMS,
    Objective,
    Step,
    StudentObjective,
    TermContext,
)
from dfkd_tune.distillation.terms._high_order_attention import (
    HighOrderAttention,
    HighOrderAttentionTerm,
)
from dfkd_tune.errors import UsageError

NUMBERS = np.random.default_rng(12)
N = 3
ACTIVATIONS = ("sigmoid_of_sum", "mean_of_sigmoids", "softmax")
POLICIES = ("separate_fixed_teacher", "shared_stop_gradient", "separate_trainable")
Shape = tuple[int, int, int]

TEACHER_STAGES: list[Shape] = [(8, 6, 4), (12, 3, 2)]
STUDENT_STAGES: list[Shape] = [(8, 6, 4), (5, 3, 2)]
TEACHER_WIDTH, STUDENT_WIDTH = 7, 4


def maps(shapes: list[Shape]) -> list[np.ndarray]:
    return [NUMBERS.normal(0, 1, (N, *shape)) for shape in shapes]


TEACHER, STUDENT = maps(TEACHER_STAGES), maps(STUDENT_STAGES)
TEACHER_VECTOR = NUMBERS.normal(0, 1, (N, TEACHER_WIDTH))
STUDENT_VECTOR = NUMBERS.normal(0, 1, (N, STUDENT_WIDTH))


def context(
    teacher: list[Shape] = TEACHER_STAGES, student: list[Shape] = STUDENT_STAGES
) -> TermContext:
    def shapes(stages: list[Shape], width: int) -> NetworkShapes:
        return NetworkShapes(stages=tuple(stages), penultimate=width, batch_norms=())

    return TermContext(
        teacher=shapes(teacher, TEACHER_WIDTH),
        student=shapes(student, STUDENT_WIDTH),
        source=torch.Generator(),
    )


def build(given: TermContext | None = None, **settings: Any) -> HighOrderAttentionTerm:
    """The term in double precision, with weights large enough to matter."""
    torch.manual_seed(2)
    term = STUDENT_TERMS["high_order_attention"]
    checked = term.settings.model_validate({"weight": 1, **settings})
    built = term.build(checked, given or context()).double()
    assert isinstance(built, HighOrderAttentionTerm)
    return built


def tensor(x: Any) -> Tensor:
    return x if isinstance(x, Tensor) else torch.tensor(x)


def step(
    teacher: list[Any] = TEACHER,
    student: list[Any] = STUDENT,
    vectors: tuple[Any, Any] = (TEACHER_VECTOR, STUDENT_VECTOR),
) -> Step:
    def given(stages: list[Any], vector: Any) -> ForwardPass:
        return ForwardPass(
            logits=torch.zeros(N, 2),
            stages=tuple(tensor(x) for x in stages),
            penultimate=tensor(vector),
        )

    return Step(
        images=torch.zeros(N, 1, 2, 2),
        labels=torch.zeros(N, dtype=torch.int64),
        teacher=given(teacher, vectors[0]),
        student=given(student, vectors[1]),
    )


def projected(layer: nn.Module, x: np.ndarray) -> np.ndarray:
    assert isinstance(layer, nn.Conv2d)
    weight = layer.weight.detach().numpy()[:, :, 0, 0]
    return np.asarray(np.einsum("oc,nchw->nohw", weight, x))


def expected_map(module: HighOrderAttention, x: np.ndarray, activation: str) -> np.ndarray:
    orders = []
    for projections, expand in zip(module.projections, module.expansions, strict=True):
        assert isinstance(projections, nn.ModuleList)
        factors = [projected(layer, x) for layer in projections]
        orders.append(projected(expand, np.maximum(np.prod(factors, axis=0), 0)))
    if activation == "mean_of_sigmoids":
        return np.asarray(np.mean([1 / (1 + np.exp(-a)) for a in orders], axis=0))
    total = np.sum(orders, axis=0)
    if activation == "sigmoid_of_sum":
        return np.asarray(1 / (1 + np.exp(-total)))
    powers = np.exp(total - total.max((2, 3), keepdims=True))
    return np.asarray(powers / powers.sum((2, 3), keepdims=True))


# ---------------------------------------------------------------- the attention


def attention(order: int, activation: Any = "sigmoid_of_sum", inner: int = 3) -> HighOrderAttention:
    torch.manual_seed(1)
    module = HighOrderAttention(8, order, inner, activation).double()
    for parameter in module.parameters():
        nn.init.normal_(parameter, 0, 0.3)
    return module


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_attention_equals_numpy(order: int, activation: str) -> None:
    module = attention(order, activation)
    with torch.no_grad():
        found = module(tensor(TEACHER[0])).numpy()
    expected = expected_map(module, TEACHER[0], activation)
    assert expected.std() > 0.001
    assert found.shape == TEACHER[0].shape
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_order_r_is_a_product_of_r_projections(order: int) -> None:
    module = attention(order)
    assert [len(list(each.children())) for each in module.projections] == list(range(1, order + 1))
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    assert len(layers) == order * (order + 1) // 2 + order
    assert all(layer.bias is None and layer.kernel_size == (1, 1) for layer in layers)


def test_order_r_alone_is_of_degree_r() -> None:
    """Of the scores before the activation: those of order 2 double twice when features double."""
    module, x = attention(2), TEACHER[0]
    with torch.no_grad():
        nn.init.zeros_(module.expansions[0].weight)  # type: ignore[arg-type]
        scores, doubled = (module(tensor(factor * x)).logit().numpy() for factor in (1, 2))
    assert doubled == pytest.approx(4 * scores, rel=1e-6, abs=1e-9)


def test_softmax_sums_to_one_over_positions_and_sigmoids_lie_between_zero_and_one() -> None:
    with torch.no_grad():
        soft = attention(3, "softmax")(tensor(TEACHER[0])).numpy()
        others = [attention(3, kind)(tensor(TEACHER[0])) for kind in ACTIVATIONS[:2]]
    assert soft.sum((2, 3)) == pytest.approx(np.ones((N, 8)), rel=1e-9)
    assert all(0 < found.min() < found.max() < 1 for found in others)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradient_of_the_attention_equals_finite_differences(activation: str) -> None:
    x = tensor(TEACHER[0][:1, :, :2, :2].copy()).requires_grad_(True)
    assert torch.autograd.gradcheck(attention(3, activation), (x,))


@pytest.mark.parametrize(
    ("channels", "expected", "thousands"),
    [(64, 9_216, 9), (128, 36_864, 37), (256, 147_456, 147), (512, 589_824, 590)],
)
def test_parameters_at_the_published_order_and_the_inner_width_of_mhn(
    channels: int, expected: int, thousands: int
) -> None:
    # Six projections and three expansions between C and C / 4 channels.
    assert 9 * channels * channels // 4 == expected
    stages: list[Shape] = [(channels, 2, 2)]
    term = build(context(stages, stages))
    found = sum(p.numel() for p in parts(term, 0)[2].parameters())
    assert found == expected
    assert round(found / 1e3) == thousands


@pytest.mark.parametrize(
    ("share", "order", "inner"),
    [(0.25, 3, 2), (0.125, 1, 1), (0.01, 2, 1), (1.0, 4, 8), (0.5, 2, 4)],
)
def test_inner_width_is_a_share_of_the_channels_and_at_least_one(
    share: float, order: int, inner: int
) -> None:
    term = build(context([(8, 2, 2)], [(8, 2, 2)]), inner_share=share, order=order)
    found = sum(p.numel() for p in parts(term, 0)[2].parameters())
    assert found == 8 * inner * (order * (order + 1) // 2 + order)


# ---------------------------------------------------------------- the loss


def stirred(term: HighOrderAttentionTerm) -> HighOrderAttentionTerm:
    """Weights as if trained, of both sides on their own."""
    for parameter in term.parameters():
        nn.init.normal_(parameter, 0, 0.6)
    return term


def parts(term: HighOrderAttentionTerm, index: int) -> tuple[nn.Module, Any, Any]:
    pair = term.pairs[index]
    of_teacher = pair.of_teacher if pair.of_teacher is not None else pair.of_student
    assert isinstance(pair.adapter, nn.Module)
    return pair.adapter, of_teacher, pair.of_student


def expected_pair(
    term: HighOrderAttentionTerm, index: int, teacher: np.ndarray, student: np.ndarray
) -> float:
    adapter, of_teacher, of_student = parts(term, index)
    settings = term.settings
    if isinstance(adapter, nn.Conv2d):
        student = projected(adapter, student)
    map_t = expected_map(of_teacher, teacher, settings.activation)
    map_s = expected_map(of_student, student, settings.activation)
    if settings.target == "maps":
        return float(((map_t - map_s) ** 2).mean())
    return float(((map_t * teacher - map_s * student) ** 2).mean())


@pytest.mark.parametrize("target", ["features", "maps"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("policy", POLICIES)
def test_loss_is_the_sum_over_stages_of_mean_squared_errors(
    policy: str, activation: str, target: str
) -> None:
    term = stirred(build(policy=policy, activation=activation, target=target))
    pairs = zip(TEACHER, STUDENT, strict=True)
    expected = sum(expected_pair(term, index, t, s) for index, (t, s) in enumerate(pairs))
    assert term(step()).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("stages", [(0,), (1,), (1, 0)])
def test_a_subset_of_stages_takes_those_alone(stages: tuple[int, ...]) -> None:
    term = stirred(build(stages=stages))
    expected = sum(
        expected_pair(term, index, TEACHER[stage], STUDENT[stage])
        for index, stage in enumerate(stages)
    )
    assert len(term.pairs) == len(stages)
    assert term(step()).item() == pytest.approx(expected, rel=1e-9)


def test_stages_are_paired_from_the_deepest() -> None:
    term = stirred(build(context(TEACHER_STAGES, STUDENT_STAGES[1:]), level="stages"))
    value = term(step(student=STUDENT[1:])).item()
    assert value == pytest.approx(expected_pair(term, 0, TEACHER[1], STUDENT[1]), rel=1e-9)


def test_a_larger_student_map_is_brought_to_the_teachers_size() -> None:
    """A map that is constant in blocks has, halved, the blocks' values."""
    small = STUDENT[1]
    large = small.repeat(2, axis=2).repeat(2, axis=3)
    sizes: list[Shape] = [(5, 6, 4)]
    term = stirred(build(context(TEACHER_STAGES[1:], sizes), level="stages"))
    value = term(step([TEACHER[1]], [large])).item()
    assert value == pytest.approx(expected_pair(term, 0, TEACHER[1], small), rel=1e-9)


@pytest.mark.parametrize("target", ["features", "maps"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("policy", POLICIES)
def test_equal_features_have_no_error_at_the_start(
    policy: str, activation: str, target: str
) -> None:
    given = context(TEACHER_STAGES, TEACHER_STAGES)
    term = build(given, policy=policy, activation=activation, target=target)
    assert term(step(student=TEACHER)).item() == 0
    assert term(step(student=[-x for x in TEACHER])).item() > 0


def test_an_adapter_is_there_only_where_channels_differ() -> None:
    term = build()
    assert isinstance(parts(term, 0)[0], nn.Identity)
    adapter = parts(term, 1)[0]
    assert isinstance(adapter, nn.Conv2d)
    assert tuple(adapter.weight.shape) == (12, 5, 1, 1)
    assert adapter.bias is None


def test_an_adapter_can_have_batch_norm() -> None:
    term = stirred(build(adapter="conv_bn"))
    assert isinstance(parts(term, 0)[0], nn.Identity)
    adapter, of_teacher, of_student = parts(term, 1)
    assert isinstance(adapter, nn.Sequential)
    conv, norm = adapter
    assert isinstance(norm, nn.BatchNorm2d)
    lifted = projected(conv, STUDENT[1])
    mean, deviation = lifted.mean((0, 2, 3)), np.sqrt(lifted.var((0, 2, 3)) + norm.eps)
    weight, bias = (p.detach().numpy()[:, None, None] for p in norm.parameters())
    lifted = (lifted - mean[:, None, None]) / deviation[:, None, None] * weight + bias
    map_t = expected_map(of_teacher, TEACHER[1], "sigmoid_of_sum")
    map_s = expected_map(of_student, lifted, "sigmoid_of_sum")
    expected = ((map_t * TEACHER[1] - map_s * lifted) ** 2).mean()
    expected += expected_pair(term, 0, TEACHER[0], STUDENT[0])
    assert term(step()).item() == pytest.approx(expected, rel=1e-9)


# ---------------------------------------------------------------- which level


def linear(layer: nn.Module, x: np.ndarray) -> np.ndarray:
    weight, bias = (p.detach().numpy() for p in layer.parameters())
    return np.asarray(x @ weight.T + bias)


@pytest.mark.parametrize("level", ["auto", "penultimate"])
def test_a_student_of_another_family_is_compared_at_its_penultimate_vector(level: str) -> None:
    sizes: list[Shape] = [(8, 6, 4), (5, 2, 1)]
    term = stirred(build(context(TEACHER_STAGES, sizes), level=level))
    layers = list(term.mlp.children())
    # Two hidden layers to the teacher's width.
    widths = [(x.in_features, x.out_features) for x in layers if isinstance(x, nn.Linear)]
    assert widths == [(STUDENT_WIDTH, TEACHER_WIDTH)] + [(TEACHER_WIDTH, TEACHER_WIDTH)] * 2
    hidden = np.maximum(linear(layers[0], STUDENT_VECTOR), 0)
    hidden = np.maximum(linear(layers[2], hidden), 0)
    lifted = linear(layers[4], hidden)[:, :, None, None]
    expected = expected_pair(term, 0, TEACHER_VECTOR[:, :, None, None], lifted)
    assert term(step()).item() == pytest.approx(expected, rel=1e-9)
    assert isinstance(parts(term, 0)[0], nn.Identity)


@pytest.mark.parametrize(
    ("student", "is_at_stages"),
    [
        (STUDENT_STAGES, True),
        ([(1, 6, 4), (99, 3, 2)], True),  # channels do not matter
        (STUDENT_STAGES[1:], False),
        ([(8, 12, 8), *STUDENT_STAGES], False),
        ([(8, 6, 4), (5, 3, 1)], False),
        ([], False),
    ],
)
def test_the_level_is_decided_by_numbers_and_sizes_of_the_stages(
    student: list[Shape], is_at_stages: bool
) -> None:
    given = context(TEACHER_STAGES, student)
    assert build(given).at_stages is is_at_stages
    assert isinstance(build(given).mlp, nn.Identity) is is_at_stages
    assert build(given, level="penultimate").at_stages is False
    if student:
        assert build(given, level="stages").at_stages is True


def test_networks_without_feature_maps_are_compared_at_their_penultimate_vectors() -> None:
    term = build(context([], []))
    assert term.at_stages is False
    assert bool(torch.isfinite(term(step([], []))))


@pytest.mark.parametrize("stages", [(2,), (0, 5), (-1,)])
def test_stages_that_are_none_are_refused_in_one_line(stages: tuple[int, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        build(stages=stages)
    message = str(caught.value)
    assert message.startswith(f"student_objective.high_order_attention.stages names [{stages[-1]}]")
    assert "from 0 to 1" in message
    assert "\n" not in message


def test_stages_of_networks_that_share_none_are_refused_in_one_line() -> None:
    for teacher, student in ((TEACHER_STAGES, []), ([], STUDENT_STAGES), ([], [])):
        with pytest.raises(
            UsageError, match=r"weight of student_objective.high_order_attention to"
        ) as caught:
            build(context(teacher, student), level="stages")
        assert "\n" not in str(caught.value)


def test_the_term_must_know_the_networks() -> None:
    term = STUDENT_TERMS["high_order_attention"]
    with pytest.raises(TypeError, match="shapes of teacher and student"):
        term.build(term.settings(weight=1), None)


# ---------------------------------------------------------------- who trains what


def objective(policy: str) -> Objective:
    torch.manual_seed(2)
    config = StudentObjective.model_validate({"high_order_attention": {"policy": policy}})
    return Objective("student", config, STUDENT_TERMS, context()).double()


def names(policy: str, *, trained: bool) -> set[str]:
    """Modules of the first level below a pair, by whether their weights get a gradient."""
    made = objective(policy)
    made(step())[0].backward()
    found = set()
    for name, parameter in made.named_parameters():
        has_gradient = parameter.grad is not None and bool(parameter.grad.abs().max() > 0)
        assert has_gradient == parameter.requires_grad, name
        if has_gradient == trained:
            found.add(name.split("pairs.")[1].split(".")[1])
    return found


def test_gradients_reach_what_the_policy_says() -> None:
    assert names("separate_fixed_teacher", trained=True) == {"of_student", "adapter"}
    assert names("separate_fixed_teacher", trained=False) == {"of_teacher"}
    assert names("shared_stop_gradient", trained=True) == {"of_student", "adapter"}
    assert names("shared_stop_gradient", trained=False) == set()
    both = {"of_student", "of_teacher", "adapter"}
    assert names("separate_trainable", trained=True) == both
    assert names("separate_trainable", trained=False) == set()


def test_what_the_objective_trains_leaves_out_the_fixed_side() -> None:
    made = objective("separate_fixed_teacher")
    trained = {id(p) for p in made.trained()}
    of_teacher = {id(p) for n, p in made.named_parameters() if ".of_teacher." in n}
    assert len(of_teacher) == 2 * 9
    assert not trained & of_teacher
    assert len(trained) == len(list(made.parameters())) - len(of_teacher)


def test_a_shared_attention_learns_as_beside_a_fixed_copy_of_itself() -> None:
    """That is what stopping the gradient on the teacher's side means."""
    fixed, shared = build(), build(policy="shared_stop_gradient")
    state = {
        name: value for name, value in fixed.state_dict().items() if ".of_teacher." not in name
    }
    shared.load_state_dict(state)
    for term in (fixed, shared):
        term(step()).backward()
    gradients = {name: p.grad for name, p in shared.named_parameters()}
    for name, parameter in fixed.named_parameters():
        if ".of_teacher." not in name:
            other = gradients[name]
            assert parameter.grad is not None
            assert other is not None
            assert torch.allclose(parameter.grad, other, rtol=1e-9)


def test_the_fixed_side_stays_bit_for_bit_under_an_optimiser() -> None:
    made = objective("separate_fixed_teacher")
    before = copy.deepcopy(made.state_dict())
    optimiser = torch.optim.SGD(made.trained(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(5):
        optimiser.zero_grad()
        made(step())[0].backward()
        optimiser.step()
    for name, value in made.state_dict().items():
        assert torch.equal(value, before[name]) == (".of_teacher." in name), name


def attended_norm(term: HighOrderAttentionTerm, teacher: Tensor) -> float:
    of_teacher = parts(term, 0)[1]
    with torch.no_grad():
        return float((of_teacher(teacher) * teacher).norm())


def train(term: HighOrderAttentionTerm, given: Step, *more: Tensor) -> float:
    """Train the term's weights, and more tensors, for the loss alone; gives the last loss."""
    weights = [p for p in term.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam([*weights, *more], lr=0.05)
    for _ in range(400):
        optimiser.zero_grad()
        loss = term(given)
        loss.backward()
        optimiser.step()
    return float(loss.item())


ONE_STAGE: list[Shape] = [(8, 6, 4)]


def test_with_a_fixed_teacher_side_attention_does_not_vanish() -> None:
    term = build(context(ONE_STAGE, ONE_STAGE))
    teacher = tensor(TEACHER[0])
    student = tensor(STUDENT[0]).clone().requires_grad_(True)
    given = step([teacher], [student])
    first, before = term(given).item(), attended_norm(term, teacher)
    last = train(term, given, student)
    assert last < 0.05 * first
    assert attended_norm(term, teacher) == before
    # The student came to the teacher's attended features, and not both to nothing.
    with torch.no_grad():
        reached = float((parts(term, 0)[2](student) * student).norm())
    assert reached == pytest.approx(before, rel=0.1)


@pytest.mark.parametrize("policy", ["separate_trainable", "shared_stop_gradient"])
def test_where_the_teacher_side_moves_attention_vanishes_though_the_features_differ(
    policy: str,
) -> None:
    """Why the fixed teacher side is the default: the error falls and nothing is learnt.

    Of shared attention the gradient stops on the teacher's side, but what the student's side does
    to it, it does to both.
    """
    term = build(context(ONE_STAGE, ONE_STAGE), policy=policy, inner_share=1.0)
    teacher = tensor(TEACHER[0])
    given = step([teacher], [STUDENT[0]])
    first, before = term(given).item(), attended_norm(term, teacher)
    last = train(term, given)
    assert last < 0.01 * first
    assert attended_norm(term, teacher) < 0.05 * before
