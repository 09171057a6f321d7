"""Contrastive model inversion: new images differ from those kept (CMI, IJCAI 2021, eq. 5 and 6)."""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from dfkd_tune.classifiers import ForwardPass, random_flips, random_resized_crops, sent
from dfkd_tune.distillation.terms._step import Step
from dfkd_tune.distillation.terms._term import TermContext, TermModule, TermSettings, known


class Contrast(TermSettings):
    """Every image is told apart from the others of its batch and from those of earlier rounds.

    Published: an instance discriminator on the teacher's features, two views of an image as a
    positive pair, weight 0.8, temperature 0.1 to 0.2, 40,960 kept features of which 4,096 are drawn
    as negatives, an embedding of 256 (CMI and its scripts). Of this project: the features are the
    channel means of the teacher's stages and its penultimate vector, so that a teacher without
    BatchNorm can be used (the public code takes the inputs of all BatchNorm layers).
    """

    weight: float = Field(default=0.8, ge=0, allow_inf_nan=False)
    temperature: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    embedding: int = Field(default=256, ge=2)
    memory: int = Field(default=40960, ge=1, description="features of kept images")
    negatives: int = Field(default=4096, ge=1, description="drawn from the memory at each step")
    local_area: float = Field(default=0.25, gt=0, le=1, description="smallest crop of one view")
    global_area: float = Field(default=0.8, gt=0, le=1, description="smallest crop of the other")


def instance_features(made: ForwardPass) -> Tensor:
    """One vector per image: the channel means of every stage, and the penultimate vector."""
    means = [stage.mean(dim=(2, 3)) for stage in made.stages]
    return torch.cat([*means, made.penultimate_vector], dim=1)


class ContrastTerm(TermModule):
    """Cross entropy of finding an image's other view among all views and kept features.

    Args:
        settings: of the term.
        context: shapes of the teacher's features.
    """

    # Views and negatives are drawn anew in every step.
    can_be_replayed = False

    def __init__(self, settings: Contrast, context: TermContext | None) -> None:
        super().__init__()
        self.settings = settings
        found = known(context)
        self.source = found.source
        width = sum(shape[0] for shape in found.teacher.stages) + found.teacher.penultimate
        self.head = nn.Sequential(
            nn.Linear(width, settings.embedding),
            nn.ReLU(),
            nn.Linear(settings.embedding, settings.embedding),
        )
        self.features: Tensor
        self.count: Tensor
        empty = torch.zeros(settings.memory, width, dtype=torch.float16)
        self.register_buffer("features", empty, persistent=False)
        # Numbers of features ever kept; the oldest are written over.
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        # The same, for the host: to ask for it would be to wait for a GPU.
        self._kept = 0

    def get_extra_state(self) -> Tensor:
        """The features kept so far; the rest of the memory is not written into checkpoints."""
        return self.features[: self._kept].clone()

    def set_extra_state(self, state: Tensor) -> None:
        """Go on with kept features."""
        self.features[: len(state)] = state.to(self.features.device)
        self._kept = int(self.count)

    def _views(self, images: Tensor, area: float) -> Tensor:
        height, width = images.shape[2:]
        crops = random_resized_crops(images, area, height, width, self.source)
        return random_flips(crops, self.source)

    def _negatives(self) -> Tensor | None:
        filled = min(self._kept, self.settings.memory)
        if filled == 0:
            return None
        count = min(self.settings.negatives, filled)
        chosen = torch.randperm(filled, generator=self.source)[:count]
        return self.features[sent(chosen, self.features.device)].float()

    def forward(self, step: Step) -> Tensor:
        """The contrast of a batch; needs the teacher's answers to views of the images."""
        if step.ask_teacher is None:
            raise ValueError("the contrast term needs a step that can ask the teacher again")
        local, other = (
            self.head(instance_features(step.ask_teacher(self._views(step.images, area))))
            for area in (self.settings.local_area, self.settings.global_area)
        )
        queries, keys = functional.normalize(local), functional.normalize(other)
        kept = self._negatives()
        if kept is not None:
            # Moved away from them, not they from it.
            keys = torch.cat([keys, functional.normalize(self.head(kept))])
        wanted = torch.arange(len(queries), device=queries.device)
        return functional.cross_entropy(queries @ keys.T / self.settings.temperature, wanted)

    @torch.no_grad()
    def synthesised(self, step: Step) -> None:
        """Keep the features of a batch."""
        new = instance_features(step.teacher).to(self.features.dtype)[-self.settings.memory :]
        places = torch.arange(len(new), device=new.device) + self._kept
        self.features[places % self.settings.memory] = new
        self.count.add_(len(new))
        self._kept += len(new)
