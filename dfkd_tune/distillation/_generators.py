"""Conditional generators: noise and a preset label to an image."""

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from dfkd_tune.errors import UsageError
from dfkd_tune.inputs import InputSpecification

Conditioning = Literal["embed_concat", "one_hot_concat", "embed_multiply", "conditional_bn", "none"]
CONDITIONINGS: dict[Conditioning, str] = {
    "embed_concat": "a learned label embedding beside the noise",
    "one_hot_concat": "the one-hot label beside the noise",
    "embed_multiply": "the noise times a learned label embedding",
    "conditional_bn": "scale and shift of every BatchNorm layer learned per label",
    "none": "no label; for methods whose generator takes none",
}

GeneratorArchitecture = Literal["upsample", "dcgan"]
GENERATORS: dict[GeneratorArchitecture, str] = {
    "upsample": "two doublings by nearest neighbour and 3x3 convolutions; for small images "
    "(DAFL and DFAD for 32 px); sides divisible by 4",
    "dcgan": "four doublings by 4x4 transposed convolutions; for 64 px and up (DFAD, CDFKD); "
    "sides divisible by 16",
}


class GeneratorConfig(BaseModel):
    """Which generator. Published for CGDD: that it is conditional. All else is inferred from the
    lineage, which the registries name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: GeneratorArchitecture = "upsample"
    conditioning: Conditioning = "embed_concat"
    latent_size: int = Field(default=256, ge=1, description="length of the noise vector")
    width: int = Field(default=64, ge=1, description="channels of the last hidden layers")
    label_embedding_size: int = Field(default=50, ge=1, description="for embed_concat")
    output_head: Literal["tanh_bn", "tanh", "sigmoid_normalise"] = Field(
        default="tanh_bn",
        description="tanh, then BatchNorm without weights (DAFL, DFAD); tanh alone; or pixels in "
        "[0, 1], then the benchmark's normalisation (CMI)",
    )
    leaky_relu_slope: float = Field(default=0.2, ge=0, lt=1)


class ConditionalBatchNorm(nn.Module):
    """BatchNorm whose scale and shift are chosen by the label, beginning at 1 and 0.

    Args:
        channels: of the feature map.
        num_classes: number of labels.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels, affine=False)
        self.scale = nn.Embedding(num_classes, channels)
        self.shift = nn.Embedding(num_classes, channels)
        nn.init.ones_(self.scale.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Normalise `(N, C, H, W)` with the weights of labels `(N,)`."""
        scale = self.scale(labels)[:, :, None, None]
        shift = self.shift(labels)[:, :, None, None]
        return torch.as_tensor(self.bn(x) * scale + shift)


class Generator(nn.Module):
    """A conditional generator for one input size.

    Args:
        config: architecture, conditioning, sizes and output head.
        inputs: shape, normalisation and classes of the images to make.

    Raises:
        UsageError: if the image's sides do not suit the architecture.
    """

    def __init__(self, config: GeneratorConfig, inputs: InputSpecification) -> None:
        super().__init__()
        self.config = config
        self.inputs = inputs
        width = config.width
        if config.architecture == "upsample":
            channels, doublings = [2 * width, 2 * width, width], 2
        else:
            channels, doublings = [8 * width, 4 * width, 2 * width, width, width], 4
        factor = 2**doublings
        if inputs.height % factor or inputs.width % factor:
            raise UsageError(
                f"generator '{config.architecture}' makes images with sides divisible by {factor}, "
                f"the benchmark's are {inputs.height} x {inputs.width}; choose another "
                f"generator.architecture"
            )
        self.start = (channels[0], inputs.height // factor, inputs.width // factor)
        self.embedding: nn.Embedding | None = None
        latent = config.latent_size
        if config.conditioning == "embed_concat":
            self.embedding = nn.Embedding(inputs.num_classes, config.label_embedding_size)
            latent += config.label_embedding_size
        elif config.conditioning == "embed_multiply":
            self.embedding = nn.Embedding(inputs.num_classes, config.latent_size)
        elif config.conditioning == "one_hot_concat":
            latent += inputs.num_classes
        self.project = nn.Linear(latent, self.start[0] * self.start[1] * self.start[2])
        self.norm_in = self._norm(channels[0])
        self.convs = nn.ModuleList(
            nn.Conv2d(channels[i], channels[i + 1], 3, 1, 1)
            if config.architecture == "upsample"
            else nn.ConvTranspose2d(channels[i], channels[i + 1], 4, 2, 1)
            for i in range(doublings)
        )
        self.norms = nn.ModuleList(self._norm(channels[i + 1]) for i in range(doublings))
        self.to_image = nn.Conv2d(channels[-1], inputs.channels, 3, 1, 1)
        self.norm_out = (
            nn.BatchNorm2d(inputs.channels, affine=False)
            if config.output_head == "tanh_bn"
            else nn.Identity()
        )
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(inputs.mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(inputs.std).view(-1, 1, 1), persistent=False)

    def _norm(self, channels: int) -> nn.Module:
        if self.config.conditioning == "conditional_bn":
            return ConditionalBatchNorm(channels, self.inputs.num_classes)
        return nn.BatchNorm2d(channels)

    def _latent(self, noise: Tensor, labels: Tensor) -> Tensor:
        if self.config.conditioning == "one_hot_concat":
            one_hot = functional.one_hot(labels, self.inputs.num_classes).to(noise.dtype)
            return torch.cat([noise, one_hot], dim=1)
        if self.embedding is None:
            return noise
        embedded: Tensor = self.embedding(labels)
        if self.config.conditioning == "embed_multiply":
            return noise * embedded
        return torch.cat([noise, embedded], dim=1)

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Synthesise images.

        Args:
            noise: `(N, latent_size)`, standard normal.
            labels: `(N,)`, preset labels.

        Returns:
            Images `(N, C, H, W)`, normalised as the teacher takes them.
        """

        def norm(layer: nn.Module, x: Tensor) -> Tensor:
            if isinstance(layer, ConditionalBatchNorm):
                return torch.as_tensor(layer(x, labels))
            return torch.as_tensor(layer(x))

        x = self.project(self._latent(noise, labels)).view(-1, *self.start)
        x = norm(self.norm_in, x)
        for conv, layer in zip(self.convs, self.norms, strict=True):
            if self.config.architecture == "upsample":
                x = functional.interpolate(x, scale_factor=2, mode="nearest")
            x = functional.leaky_relu(norm(layer, conv(x)), self.config.leaky_relu_slope)
        x = self.to_image(x)
        if self.config.output_head == "sigmoid_normalise":
            return torch.as_tensor((torch.sigmoid(x) - self.mean) / self.std)
        return torch.as_tensor(self.norm_out(torch.tanh(x)))


def build_generator(config: GeneratorConfig, inputs: InputSpecification, seed: int) -> Generator:
    """Build a generator with seeded weights, leaving the global random state as it was.

    Args:
        config: architecture and sizes.
        inputs: shape, normalisation and classes.
        seed: of the initial weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Generator(config, inputs)
