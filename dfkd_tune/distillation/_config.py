"""The whole configuration of one distillation, validated at once."""

import hashlib
import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dfkd_tune.classifiers import NetworkConfig
from dfkd_tune.distillation._generator_terms import (
    Activation,
    Adversarial,
    BatchNormStatistics,
    InformationEntropy,
    PresetLabel,
)
from dfkd_tune.distillation._generators import GeneratorConfig
from dfkd_tune.distillation._student_terms import (
    AttentionTransfer,
    KnowledgeDistillation,
    StudentPresetLabel,
)
from dfkd_tune.distillation._terms import TermSettings


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GeneratorOptimiserConfig(_Section):
    """Adam for the generator. Inferred for CGDD from its lineage (CMI, DFAD)."""

    learning_rate: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    beta1: float = Field(default=0.5, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    schedule: Literal["constant", "cosine"] = "constant"


class StudentOptimiserConfig(_Section):
    """SGD for the student. Inferred for CGDD from its lineage (CMI, DFAD)."""

    learning_rate: float = Field(default=0.1, gt=0, allow_inf_nan=False, description="peak")
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0, allow_inf_nan=False)
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup_epochs: int = Field(default=0, ge=0, description="of linearly rising learning rate")


class ScheduleConfig(_Section):
    """Who trains when. The budget of a trial is its student steps."""

    mode: Literal["alternating", "two_stage"] = Field(
        default="alternating",
        description="two_stage: the generator trains first, then is frozen (the reading of CGDD "
        "v1); alternating: both train in every iteration (v3/v4 and most methods)",
    )
    epochs: int = Field(default=200, ge=1, description="in which the student trains")
    generator_epochs: int = Field(
        default=0, ge=0, description="before those, in which only the generator trains"
    )
    iterations_per_epoch: int = Field(default=400, ge=1)
    generator_steps: int = Field(default=1, ge=1, description="per iteration")
    student_steps: int = Field(default=5, ge=1, description="per iteration")
    batch_size: int = Field(default=256, ge=2)
    label_sampling: Literal["uniform", "balanced"] = Field(
        default="uniform", description="independent labels, or every class equally often per batch"
    )
    student_mode_in_generator_step: Literal["train", "eval"] = "train"
    generator_mode_when_sampling: Literal["train", "eval"] = "train"

    @property
    def total_epochs(self) -> int:
        """Epochs of both kinds."""
        return self.generator_epochs + self.epochs

    @property
    def total_student_steps(self) -> int:
        """The trial's budget."""
        return self.epochs * self.iterations_per_epoch * self.student_steps


class ImageBankConfig(_Section):
    """Kept synthetic images from which the student also samples; CGDD has none."""

    size: int = Field(default=0, ge=0, description="images; 0: no bank")
    replay_share: float = Field(default=0.5, ge=0, le=1, description="of each student batch")


class GeneratorObjective(_Section):
    """Loss terms of the generator; a term with weight 0 is absent."""

    preset_label: PresetLabel = PresetLabel(weight=0)
    bn_statistics: BatchNormStatistics = BatchNormStatistics(weight=0)
    activation: Activation = Activation(weight=0)
    information_entropy: InformationEntropy = InformationEntropy(weight=0)
    adversarial: Adversarial = Adversarial(weight=0)


class StudentObjective(_Section):
    """Loss terms of the student; a term with weight 0 is absent."""

    kd: KnowledgeDistillation = KnowledgeDistillation(weight=0)
    preset_label: StudentPresetLabel = StudentPresetLabel(weight=0)
    attention_transfer: AttentionTransfer = AttentionTransfer(weight=0)


def active_terms(objective: GeneratorObjective | StudentObjective) -> dict[str, TermSettings]:
    """The terms with a weight above 0, by name, in the objective's order."""
    settings = {name: getattr(objective, name) for name in type(objective).model_fields}
    return {name: value for name, value in settings.items() if value.weight > 0}


class DistillationConfig(_Section):
    """Everything that decides a distillation but the teacher and its input."""

    method: str = Field(description="name of the recipe it came from; for people")
    student: NetworkConfig
    generator: GeneratorConfig = GeneratorConfig()
    generator_objective: GeneratorObjective
    student_objective: StudentObjective
    generator_optimiser: GeneratorOptimiserConfig = GeneratorOptimiserConfig()
    student_optimiser: StudentOptimiserConfig = StudentOptimiserConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    image_bank: ImageBankConfig = ImageBankConfig()
    seed: int = Field(default=0, ge=0, lt=2**31)

    @model_validator(mode="after")
    def _consistent(self) -> "DistillationConfig":
        for which in ("generator_objective", "student_objective"):
            if not active_terms(getattr(self, which)):
                raise ValueError(f"{which} has no term with a weight above 0; give one")
        two_stage = self.schedule.mode == "two_stage"
        if two_stage and self.schedule.generator_epochs == 0:
            raise ValueError(
                "schedule.mode two_stage needs schedule.generator_epochs of at least 1"
            )
        if two_stage and self.generator_objective.adversarial.weight > 0:
            raise ValueError(
                "generator_objective.adversarial needs a student that trains beside the "
                "generator; set its weight to 0 or schedule.mode to alternating"
            )
        return self


def configuration_hash(config: DistillationConfig) -> str:
    """A short hash of everything that decides a distillation but its teacher."""
    text = json.dumps(config.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
