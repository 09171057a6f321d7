"""Which generator: architectures, conditionings, and their settings."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Conditioning = Literal[
    "embed_concat", "one_hot_concat", "embed_multiply", "conditional_bn", "noisy_layer", "none"
]
CONDITIONINGS: dict[Conditioning, str] = {
    "embed_concat": "a learned label embedding beside the noise",
    "one_hot_concat": "the one-hot label beside the noise",
    "embed_multiply": "the noise times a learned label embedding",
    "conditional_bn": "scale and shift of every BatchNorm layer learned per label",
    "noisy_layer": "no noise: a fixed label embedding through a layer of random weights, drawn "
    "anew in every round (NAYER)",
    "none": "no label; for methods whose generator takes none",
}

GeneratorArchitecture = Literal["upsample", "dcgan", "attention"]
GENERATORS: dict[GeneratorArchitecture, str] = {
    "upsample": "two doublings by nearest neighbour and 3x3 convolutions; for small images "
    "(DAFL and DFAD for 32 px); sides divisible by 4",
    "dcgan": "four doublings by 4x4 transposed convolutions; for 64 px and up (DFAD, CDFKD); "
    "sides divisible by 16",
    "attention": "four doublings by transposed convolutions with spectral norm, each followed by "
    "spatial attention (DFKD-FGVC); sides divisible by 16",
}


class SpatialAttentionConfig(BaseModel):
    """The spatial attention of the attention generator (DFKD-FGVC eq. 4 to 6, table 6).

    Published: the layers, the reuse of the pooling's indices, the mix weight of 0.05, its place
    after each of the four blocks. Not published: the reduction, the softmax's axis and any
    rescaling. A softmax over H x W has the mean 1 / (H W), so that the published weight adds next
    to nothing; `unit_mean` brings its mean to 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mix_weight: float = Field(
        default=0.05, ge=0, allow_inf_nan=False, description="lambda; 0: no attention"
    )
    reduction: Literal[2, 4, 8, 16] = 8
    axis: Literal["spatial", "channel", "both", "sigmoid"] = Field(
        default="spatial", description="over which the softmax goes, or a sigmoid in its place"
    )
    rescale: Literal["none", "unit_mean"] = "none"
    blocks: tuple[int, ...] | Literal["all"] = Field(
        default="all", description="after which blocks, from 0"
    )


class GeneratorConfig(BaseModel):
    """Which generator. Published for CGDD: that it is conditional. All else is inferred from the
    lineage, which the registries name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: GeneratorArchitecture = "upsample"
    doublings: int | None = Field(
        default=None,
        ge=1,
        le=4,
        description="of the image's sides; those of the architecture by default, fewer for images "
        "too small for them",
    )
    conditioning: Conditioning = "embed_concat"
    latent_size: int = Field(
        default=256,
        ge=1,
        description="length of the noise vector, or of the noisy layer's output",
    )
    width: int = Field(default=64, ge=1, description="channels of the last hidden layers")
    label_embedding_size: int = Field(
        default=50, ge=1, description="for embed_concat; for noisy_layer without a file"
    )
    label_embeddings: Path | None = Field(
        default=None,
        description="for noisy_layer: a .npy of (classes, numbers), such as embeddings of the "
        "class names; seeded orthogonal vectors where none is given",
    )
    noisy_layers: int = Field(
        default=1, ge=1, description="for noisy_layer: images of a class and round that differ"
    )
    output_head: Literal["tanh_bn", "tanh", "sigmoid_normalise"] = Field(
        default="tanh_bn",
        description="tanh, then BatchNorm without weights (DAFL, DFAD); tanh alone; or pixels in "
        "[0, 1], then the benchmark's normalisation (CMI)",
    )
    leaky_relu_slope: float = Field(default=0.2, ge=0, lt=1)
    attention: SpatialAttentionConfig = SpatialAttentionConfig()
    spectral_norm: bool = Field(
        default=True, description="of the attention generator's transposed convolutions"
    )
    deconvolution: Literal[3, 4] = Field(
        default=3,
        description="side of the attention generator's transposed kernels: 3 published, 4 in the "
        "code of the same author and of DFAD",
    )

    @field_validator("label_embeddings")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        # A trial's process has another current folder.
        return None if value is None else value.expanduser().absolute()
