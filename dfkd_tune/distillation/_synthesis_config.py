"""How images come about, and which of them the student trains on."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SynthesisConfig(_Section):
    """How images come about.

    A stream is a generator that is trained step by step on fresh noise (DAFL, ZSKT, DFAD, DFQ,
    CGDD, DFKD-FGVC). In rounds, one batch is optimised for many steps and what it came to goes into
    the image bank (ZSKD and DeepInversion in the pixels; CMI, Fast-DFKD and NAYER through a
    generator). `schedule.generator_steps` are the steps of a stream's iteration, or of a round.
    """

    kind: Literal["stream", "rounds"] = "stream"
    optimise: Literal["generator", "pixels"] = Field(
        default="generator", description="what a round optimises"
    )
    latent_learning_rate: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="of Adam on a round's noise, beside the generator; 0: it is fixed",
    )
    restart_every: int = Field(
        default=0, ge=0, description="rounds between new first weights of the generator; 0: never"
    )
    meta: Literal["none", "reptile", "fomaml"] = Field(
        default="none",
        description="how a round's generator teaches the one from which rounds begin (Fast-DFKD)",
    )
    keep: Literal["best", "last"] = Field(
        default="best", description="the images of a round's step of least loss, or of its last"
    )
    jitter: int = Field(default=0, ge=0, description="pixels of random shift in a round's steps")
    flip: bool = Field(default=False, description="mirror the round's images in half of its steps")
    batch_size: int | None = Field(
        default=None, ge=2, description="images of a round; those of a student batch by default"
    )


class ImageBankConfig(_Section):
    """Kept synthetic images from which the student also samples; CGDD has none."""

    size: int = Field(default=0, ge=0, description="images; 0: no bank")
    replay_share: float = Field(default=0.5, ge=0, le=1, description="of each student batch")
    augmentation: Literal["none", "flip", "crop_flip"] = Field(
        default="none", description="of images from the bank; crop: padded by an eighth"
    )
    keep_answers: bool = Field(
        default=False,
        description="keep what the teacher answers to a banked image, so that it classifies each "
        "once; in rounds without augmentation",
    )


class GeneratorAverageConfig(_Section):
    """A moving average of the generator, from which the student also samples.

    Published: momentum 0.95 and a loss on both (MAD, Do et al., NeurIPS 2022). Here the two share
    a batch.
    """

    momentum: float = Field(default=0.0, ge=0, lt=1, description="0: no average")
    share: float = Field(default=0.5, ge=0, le=1, description="of each student batch")


class GenerativeReplayConfig(_Section):
    """A memory that makes earlier images again: a variational autoencoder.

    Published: the autoencoder, trained on the generator's images beside it at a fortieth of its
    learning rate, replaying an eighth of a batch (PRE-DFKD, Binici et al., AAAI 2022, and its
    code). Inferred: its networks, and that it reconstructs pixels.
    """

    share: float = Field(default=0.0, ge=0, le=1, description="of each student batch; 0: none")
    latent_size: int = Field(default=64, ge=1)
    width: int = Field(default=32, ge=1)
    learning_rate_factor: float = Field(
        default=0.025, gt=0, allow_inf_nan=False, description="of the generator's learning rate"
    )
    divergence_weight: float = Field(
        default=1e-3, ge=0, allow_inf_nan=False, description="of KL(latent || normal) in its loss"
    )
