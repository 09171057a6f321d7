"""The whole configuration of one distillation, validated at once."""

import hashlib
import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dfkd_tune.classifiers import NetworkConfig, UsedPrecision, is_foreign
from dfkd_tune.distillation._collapse import CollapseConfig
from dfkd_tune.distillation._synthesis_config import (
    GenerativeReplayConfig,
    GeneratorAverageConfig,
    ImageBankConfig,
    SynthesisConfig,
)
from dfkd_tune.distillation.generators import GeneratorConfig
from dfkd_tune.distillation.terms import (
    GENERATOR_TERMS,
    STUDENT_TERMS,
    GeneratorObjective,
    StudentObjective,
    active_terms,
    objective_needs,
)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GeneratorOptimiserConfig(_Section):
    """Adam for the generator, or for pixels. Inferred for CGDD from its lineage (CMI, DFAD)."""

    learning_rate: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    beta1: float = Field(default=0.5, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    schedule: Literal["constant", "cosine"] = Field(
        default="constant", description="over the whole training of a stream, or within a round"
    )
    gradient_clip: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="largest norm; 0: no limit"
    )


class StudentOptimiserConfig(_Section):
    """SGD or Adam for the student. Inferred for CGDD from its lineage (CMI, DFAD)."""

    kind: Literal["sgd", "adam"] = "sgd"
    learning_rate: float = Field(default=0.1, gt=0, allow_inf_nan=False, description="peak")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="of SGD; beta 1 of Adam")
    weight_decay: float = Field(default=5e-4, ge=0, allow_inf_nan=False)
    schedule: Literal["constant", "cosine", "step"] = "cosine"
    milestones: tuple[float, ...] = Field(
        default=(0.4, 0.8),
        description="for step: shares of the budget after which the rate is a tenth",
    )
    warmup_epochs: int = Field(default=0, ge=0, description="of linearly rising learning rate")
    gradient_clip: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="largest norm; 0: no limit"
    )


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
    label_sampling: Literal["uniform", "balanced", "dirichlet"] = Field(
        default="uniform",
        description="independent labels; every class equally often per batch; or distributions "
        "around such labels, shaped by the similarity of classes (ZSKD)",
    )
    reuse_batch: bool = Field(
        default=False,
        description="the student's steps of an iteration share one batch (ZSKT)",
    )
    student_mode_in_generator_step: Literal["train", "eval"] = "train"
    generator_mode_when_sampling: Literal["train", "eval"] = "train"

    @property
    def synthesis_epochs(self) -> int:
        """Epochs in which images come about."""
        return self.generator_epochs if self.mode == "two_stage" else self.total_epochs

    @property
    def total_epochs(self) -> int:
        """Epochs of both kinds."""
        return self.generator_epochs + self.epochs

    @property
    def total_student_steps(self) -> int:
        """The trial's budget."""
        return self.epochs * self.iterations_per_epoch * self.student_steps


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
    synthesis: SynthesisConfig = SynthesisConfig()
    image_bank: ImageBankConfig = ImageBankConfig()
    generator_average: GeneratorAverageConfig = GeneratorAverageConfig()
    generative_replay: GenerativeReplayConfig = GenerativeReplayConfig()
    collapse: CollapseConfig = CollapseConfig()
    precision: UsedPrecision = Field(
        default="float32",
        description="in which networks compute while the student trains; statistics, losses and "
        "scores are float32 in any case",
    )
    compile_teacher: bool = Field(
        default=False,
        description="compile the teacher's answers to the student's batches; the same but for "
        "rounding, needs a C++ compiler",
    )
    cuda_graphs: bool = Field(
        default=False,
        description="capture steps on a GPU once and replay them; the same results",
    )
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
        self._check_rounds()
        self._check_kept_answers()
        return self

    def _check_rounds(self) -> None:
        if self.generator.conditioning == "noisy_layer" and self.synthesis.kind == "stream":
            raise ValueError(
                "generator.conditioning noisy_layer takes no noise and goes with synthesis.kind "
                "rounds only, which draw it anew"
            )
        rounds = self.synthesis.kind == "rounds"
        if rounds and (self.image_bank.size == 0 or self.image_bank.replay_share < 1):
            raise ValueError(
                "synthesis.kind rounds trains the student on the image bank alone; set "
                "image_bank.size above 0 and image_bank.replay_share to 1"
            )
        only_rounds = {
            "synthesis.optimise pixels": self.synthesis.optimise == "pixels",
            "synthesis.latent_learning_rate": self.synthesis.latent_learning_rate > 0,
            "synthesis.restart_every": self.synthesis.restart_every > 0,
            "synthesis.meta": self.synthesis.meta != "none",
            "synthesis.jitter": self.synthesis.jitter > 0,
            "synthesis.flip": self.synthesis.flip,
            "synthesis.batch_size": self.synthesis.batch_size is not None,
        }
        only_stream = {
            "generator_average": self.generator_average.momentum > 0,
            "generative_replay": self.generative_replay.share > 0,
        }
        for names, wrong, kind in (
            (only_rounds, not rounds, "rounds"),
            (only_stream, rounds, "stream"),
        ):
            given = [name for name, is_given in names.items() if is_given]
            if given and wrong:
                verb = "go" if len(given) > 1 else "goes"
                raise ValueError(f"{', '.join(given)} {verb} with synthesis.kind {kind} only")

    def _check_kept_answers(self) -> None:
        if not self.image_bank.keep_answers:
            return
        needs = objective_needs(self.student_objective, STUDENT_TERMS)
        for wrong, what in (
            (
                self.synthesis.kind != "rounds",
                "goes with synthesis.kind rounds only, whose batches are all from the bank",
            ),
            (
                self.image_bank.augmentation != "none",
                "is of images as they are kept; set image_bank.augmentation to none",
            ),
            (
                "teacher_features" in needs,
                "keeps no feature maps, which the student's objective needs; set the weights of "
                "its terms on features to 0",
            ),
        ):
            if wrong:
                raise ValueError(f"image_bank.keep_answers {what}")


def configuration_hash(config: DistillationConfig) -> str:
    """A short hash of everything that decides a distillation but its teacher."""
    decides = config.model_dump(mode="json")
    # Older checkpoints know only these values.
    for section, key, value in (
        (decides, "precision", "float32"),
        (decides, "compile_teacher", False),
        (decides, "cuda_graphs", False),
        (decides["image_bank"], "keep_answers", False),
    ):
        if section[key] == value:
            del section[key]
    text = json.dumps(decides, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def shared_part(config: DistillationConfig) -> str | None:
    """All that decides the images of a distillation, and what the teacher answers to them.

    Students whose configurations share it can be distilled together.

    Returns:
        None where the images depend on the student, or where it may draw random numbers.
    """
    needs = objective_needs(config.generator_objective, GENERATOR_TERMS)
    if "student" in needs or is_foreign(config.student.architecture):
        return None
    own = {"method", "student", "student_objective", "student_optimiser"}
    return json.dumps(config.model_dump(mode="json", exclude=own), sort_keys=True)
