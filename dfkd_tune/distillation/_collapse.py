"""The collapse watch: signs, without any label, that the synthesis has gone to sleep."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from dfkd_tune.classifiers import TappedNetwork, evaluation_mode
from dfkd_tune.errors import CollapsedError
from dfkd_tune.inputs import InputSpecification

# Images kept of every epoch, and of all, to see what the student forgets.
PER_EPOCH, KEPT, KEPT_NUMBERS = 16, 512, 2**22


class CollapseConfig(BaseModel):
    """When a synthesis counts as collapsed. All thresholds are this project's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stop: bool = Field(default=False, description="end a trial as collapsed")
    patience: int = Field(default=3, ge=1, description="epochs in a row with a sign")
    entropy_below: float = Field(
        default=0.1, ge=0, le=1, description="class entropy, as a share of that of equal classes"
    )
    distance_below: float = Field(
        default=0.05,
        ge=0,
        description="mean distance of two images' penultimate features of unit length",
    )
    kd_below: float = Field(
        default=1e-3, ge=0, description="distillation loss that is next to nothing"
    )
    agreement_fall: float = Field(
        default=0.1, gt=0, le=1, description="below the best agreement on earlier images"
    )


@dataclass(frozen=True, kw_only=True)
class CollapseSigns:
    """What the watch saw after an epoch.

    Args:
        feature_distance: mean over pairs of images of the distance of the teacher's penultimate
            features, scaled to unit length; in [0, 2].
        agreement: share of images of this and earlier epochs on whose class student and teacher
            agree; NaN before the student trains.
        signs: what looks like a collapse: `classes`, `features`, `forgetting`.
        collapsed: whether there were signs for as many epochs in a row as it takes.
    """

    feature_distance: float
    agreement: float
    signs: tuple[str, ...]
    collapsed: bool


def most_kept(numbers: int) -> int:
    """How many images the watch keeps at most, of so many numbers each."""
    return max(2 * PER_EPOCH, min(KEPT, KEPT_NUMBERS // numbers))


@dataclass
class CollapseWatch:
    """Looks at the last batch of every epoch, and at kept images.

    The teacher classifies each kept image once; the student all of them after every epoch.

    Args:
        config: thresholds.
        inputs: shape of an image, number of classes.
        device: where images are kept.
    """

    config: CollapseConfig
    inputs: InputSpecification
    device: torch.device
    best: float = 0.0
    run: int = 0
    images: Tensor = field(init=False)
    classes: Tensor = field(init=False)

    def __post_init__(self) -> None:
        """Begin with no images, and the teacher's classes of none."""
        shape = (0, *self.inputs.shape)
        self.images = torch.empty(shape, dtype=torch.float16, device=self.device)
        self.classes = torch.empty(0, dtype=torch.long, device=self.device)

    @torch.no_grad()
    def look(
        self,
        teacher: TappedNetwork,
        student: nn.Module,
        images: Tensor,
        class_entropy: float,
        *,
        student_trained: bool,
        kd: float | None,
    ) -> CollapseSigns:
        """Look at an epoch.

        Args:
            teacher: frozen, in evaluation mode.
            student: as it is now.
            images: `(N, C, H, W)`, of the last batch.
            class_entropy: of the epoch, in nats.
            student_trained: whether the student trained in the epoch.
            kd: unweighted distillation loss of the epoch; None where there is none.
        """
        config = self.config
        made = teacher(images, features=True)
        distance = mean_pairwise_distance(made.penultimate_vector)
        self._keep(images, teacher)
        signs = []
        if class_entropy < config.entropy_below * math.log(self.inputs.num_classes):
            signs.append("classes")
        if distance < config.distance_below:
            signs.append("features")
        agreement = float("nan")
        if student_trained:
            with evaluation_mode(student):
                same = student(self.images.float()).argmax(1) == self.classes
            agreement = same.float().mean().item()
            silent = kd is not None and kd < config.kd_below
            if silent and agreement < self.best - config.agreement_fall:
                signs.append("forgetting")
            self.best = max(self.best, agreement)
        self.run = self.run + 1 if signs else 0
        return CollapseSigns(
            feature_distance=distance,
            agreement=agreement,
            signs=tuple(signs),
            collapsed=self.run >= config.patience,
        )

    def _keep(self, images: Tensor, teacher: TappedNetwork) -> None:
        kept = torch.cat([self.images, images[:PER_EPOCH].to(torch.float16)])
        # All of them where a checkpoint of an older version has images alone.
        unknown = kept[len(self.classes) :].float()
        classes = torch.cat([self.classes, teacher(unknown).logits.argmax(1)])
        most = most_kept(images[0].numel())
        # Where only few fit, one thinning frees fewer places than an epoch takes.
        while len(kept) > most:
            # Every second one of the older half goes.
            kept, classes = (
                torch.cat([of[: most // 2 : 2], of[most // 2 :]]) for of in (kept, classes)
            )
        self.images, self.classes = kept, classes

    def check(self, signs: CollapseSigns, epoch: int) -> None:
        """End a collapsed distillation, where that is asked for.

        Raises:
            CollapsedError: naming the signs.
        """
        if self.config.stop and signs.collapsed:
            raise CollapsedError(signs.signs, epoch)

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs to go on."""
        return {
            "best": self.best,
            "run": self.run,
            "images": self.images,
            "classes": self.classes,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.best, self.run = state["best"], state["run"]
        self.images = state["images"].to(self.device)
        self.classes = state.get("classes", self.classes[:0]).to(self.device)


def mean_pairwise_distance(features: Tensor) -> float:
    """Mean distance of two different rows of `(N, D)`, scaled to unit length; 0 for one row."""
    count = len(features)
    if count < 2:
        return 0.0
    units = functional.normalize(features.float(), dim=1)
    return torch.pdist(units).mean().item()
