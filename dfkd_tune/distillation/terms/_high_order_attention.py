"""Mixed high-order attention distillation (DFKD-FGVC, ICCV 2023, section 4.2 and eq. 7)."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from dfkd_tune.classifiers import NetworkShapes
from dfkd_tune.distillation.terms._stages import StageChoice, paired_stages
from dfkd_tune.distillation.terms._step import Step
from dfkd_tune.distillation.terms._term import TermContext, TermModule, TermSettings, known

Activation = Literal["sigmoid_of_sum", "mean_of_sigmoids", "softmax"]
Policy = Literal["separate_fixed_teacher", "shared_stop_gradient", "separate_trainable"]
Level = Literal["auto", "stages", "penultimate"]
_STAGES_KEY = "student_objective.high_order_attention.stages"


class MixedHighOrderAttention(TermSettings):
    """The student's features, weighted by attention of mixed orders, follow the teacher's.

    Published: the orders' products and sum, the activated map times the feature map, the mean
    squared error of the weighted features at each stage, a 1x1 adapter of the student's channels,
    order 3, weight 10; for students of another family only the penultimate layer, reached by an
    MLP (section 5.2). Inferred: the sigmoid of the sum (its figure was not available; the MHN code
    has the mean of sigmoids), the inner width of C/4 (MHN), who trains the attention (the paper
    freezes the teacher and is silent on the module beside it: if it were trained by this error,
    attention of 0 everywhere would be a trivial minimum, so the teacher's side is fixed by
    default), and what counts as another family: stages of other numbers or sizes.
    """

    weight: float = Field(default=10.0, ge=0, allow_inf_nan=False)
    order: int = Field(default=3, ge=1, le=4, description="R: products of up to R projections")
    inner_share: float = Field(
        default=0.25, gt=0, le=1, description="inner width C' as a share of the channels C"
    )
    activation: Activation = Field(
        default="sigmoid_of_sum",
        description="mean_of_sigmoids: as in the code of MHN; softmax: over positions",
    )
    policy: Policy = Field(
        default="separate_fixed_teacher",
        description="of the teacher-side attention: fixed at its first weights; shared with the "
        "student, its gradient stopped on the teacher's side; or trained too. Both of the latter "
        "have the trivial minimum",
    )
    level: Level = Field(
        default="auto",
        description="stages; penultimate only, as published for other families; auto decides by "
        "the shapes",
    )
    stages: StageChoice = Field(
        default="all", min_length=1, description="indices from 0, largest resolution first"
    )
    target: Literal["features", "maps"] = Field(
        default="features", description="what is compared: attended features, or attention maps"
    )
    adapter: Literal["conv", "conv_bn"] = "conv"


class HighOrderAttention(nn.Module):
    """Attention maps from products of 1x1 projections (B section 4.2; MHN).

    Args:
        channels: of the feature map.
        order: highest order R.
        inner: channels within.
        activation: of the orders' sum.
    """

    def __init__(self, channels: int, order: int, inner: int, activation: Activation) -> None:
        super().__init__()
        self.activation = activation
        self.projections = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(channels, inner, 1, bias=False) for _ in range(r + 1))
            for r in range(order)
        )
        self.expansions = nn.ModuleList(
            nn.Conv2d(inner, channels, 1, bias=False) for _ in range(order)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The attention `(N, C, H, W)` of features `(N, C, H, W)`."""
        orders = []
        for projections, expand in zip(self.projections, self.expansions, strict=True):
            product = torch.ones((), device=x.device, dtype=x.dtype)
            assert isinstance(projections, nn.ModuleList)
            for project in projections:
                product = product * project(x)
            orders.append(expand(functional.relu(product)))
        stacked = torch.stack(orders)
        if self.activation == "mean_of_sigmoids":
            return stacked.sigmoid().mean(0)
        if self.activation == "softmax":
            return stacked.sum(0).flatten(2).softmax(2).view_as(x)
        return stacked.sum(0).sigmoid()


def is_same_family(teacher: NetworkShapes, student: NetworkShapes) -> bool:
    """Whether stage goes with stage: as many, and of the same sizes."""
    sizes = [[shape[1:] for shape in network.stages] for network in (teacher, student)]
    return sizes[0] == sizes[1] != []


class _Pair(nn.Module):
    """One stage of the student beside one of the teacher."""

    def __init__(self, settings: MixedHighOrderAttention, teacher: int, student: int) -> None:
        super().__init__()
        self.policy, self.target = settings.policy, settings.target
        inner = max(1, round(settings.inner_share * teacher))

        def attention() -> HighOrderAttention:
            return HighOrderAttention(teacher, settings.order, inner, settings.activation)

        self.adapter: nn.Module = nn.Identity()
        if student != teacher:
            self.adapter = nn.Conv2d(student, teacher, 1, bias=False)
            if settings.adapter == "conv_bn":
                self.adapter = nn.Sequential(self.adapter, nn.BatchNorm2d(teacher))
        self.of_student = attention()
        self.of_teacher: nn.Module | None = None
        if settings.policy != "shared_stop_gradient":
            self.of_teacher = attention()
            # Alike at first: equal features then have no error.
            self.of_teacher.load_state_dict(self.of_student.state_dict())
            self.of_teacher.requires_grad_(settings.policy == "separate_trainable")

    def forward(self, teacher: Tensor, student: Tensor) -> Tensor:
        student = self.adapter(student)
        if student.shape[2:] != teacher.shape[2:]:
            student = functional.interpolate(
                student, size=teacher.shape[2:], mode="bilinear", align_corners=False
            )
        map_s = self.of_student(student)
        map_t = (self.of_teacher or self.of_student)(teacher)
        if self.policy == "shared_stop_gradient":
            map_t = map_t.detach()
        if self.target == "maps":
            return functional.mse_loss(map_s, map_t)
        return functional.mse_loss(map_s * student, map_t * teacher)


class HighOrderAttentionTerm(TermModule):
    """Sum over pairs of stages of the mean squared error of attended features.

    Args:
        settings: of the term.
        context: shapes of teacher and student.

    Raises:
        UsageError: if `stages` names one that the networks do not share.
    """

    def __init__(self, settings: MixedHighOrderAttention, context: TermContext | None) -> None:
        super().__init__()
        self.settings = settings
        teacher, student = known(context).teacher, known(context).student
        level = settings.level
        if level == "auto":
            level = "stages" if is_same_family(teacher, student) else "penultimate"
        self.at_stages = level == "stages"
        if self.at_stages:
            self.mlp: nn.Module = nn.Identity()
            shapes = paired_stages(teacher.stages, student.stages, settings.stages, _STAGES_KEY)
            widths = [(t[0], s[0]) for t, s in shapes]
        else:
            # "A two-hidden-layer MLP maps the student's feature to teacher width" (section 5.2).
            hidden, width = teacher.penultimate, student.penultimate
            self.mlp = nn.Sequential(
                nn.Linear(width, hidden),
                nn.ReLU(),
                nn.Linear(hidden, hidden),
                nn.ReLU(),
                nn.Linear(hidden, hidden),
            )
            widths = [(teacher.penultimate, teacher.penultimate)]
        self.pairs = nn.ModuleList(_Pair(settings, t, s) for t, s in widths)

    def forward(self, step: Step) -> Tensor:
        """The error, summed over the pairs."""
        if self.at_stages:
            features = paired_stages(
                step.teacher.stages, step.student_pass.stages, self.settings.stages, _STAGES_KEY
            )
        else:
            vectors = step.teacher.penultimate_vector, step.student_pass.penultimate_vector
            features = [(vectors[0][:, :, None, None], self.mlp(vectors[1])[:, :, None, None])]
        errors = [
            pair(teacher, student)
            for pair, (teacher, student) in zip(self.pairs, features, strict=True)
        ]
        return torch.stack(errors).sum()
