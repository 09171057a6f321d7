"""Generators: noise and a preset label to an image."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from dfkd_tune.distillation.generators._conditioning import ConditionalBatchNorm, LatentInput
from dfkd_tune.distillation.generators._config import GeneratorConfig
from dfkd_tune.distillation.generators._spatial_attention import SpatialAttention
from dfkd_tune.distillation.generators._upsampling import UpsampledConvolution
from dfkd_tune.errors import UsageError
from dfkd_tune.inputs import InputSpecification

# Channels of the blocks' borders in units of the width, by architecture.
_CHANNELS = {
    "upsample": (2, 2, 1),
    "dcgan": (8, 4, 2, 1, 1),
    "attention": (8, 4, 2, 1, 1),
}


class Generator(nn.Module):
    """A generator for one input size.

    Args:
        config: architecture, conditioning, sizes and output head.
        inputs: shape, normalisation and classes of the images to make.

    Raises:
        UsageError: if the image's sides do not suit the architecture, or its attention does not
            suit its width or its blocks, or label embeddings cannot be used.
    """

    def __init__(self, config: GeneratorConfig, inputs: InputSpecification) -> None:
        super().__init__()
        self.config = config
        self.inputs = inputs
        factors = _CHANNELS[config.architecture]
        doublings = min(config.doublings or 4, len(factors) - 1)
        channels = [each * config.width for each in factors[-doublings - 1 :]]
        factor = 2**doublings
        if inputs.height % factor or inputs.width % factor:
            raise UsageError(
                f"generator '{config.architecture}' makes images with sides divisible by {factor}, "
                f"the benchmark's are {inputs.height} x {inputs.width}; choose another "
                f"generator.architecture, or fewer generator.doublings"
            )
        self._check_blocks(doublings)
        self.start = (channels[0], inputs.height // factor, inputs.width // factor)
        self.latent = LatentInput(config, inputs.num_classes)
        self.project = nn.Linear(self.latent.size, self.start[0] * self.start[1] * self.start[2])
        self.norm_in = self._norm(channels[0])
        borders = list(pairwise(channels))
        self.convs = nn.ModuleList(self._convolution(before, after) for before, after in borders)
        # Spectral norm is there in place of BatchNorm within the blocks (DFKD-FGVC).
        plain = config.architecture == "attention" and config.conditioning != "conditional_bn"
        self.norms = nn.ModuleList(
            nn.Identity() if plain else self._norm(after) for _, after in borders
        )
        self.attentions = nn.ModuleList(
            SpatialAttention(after, config.attention) if self._attends(index) else nn.Identity()
            for index, (_, after) in enumerate(borders)
        )
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

    def _convolution(self, before: int, after: int) -> nn.Module:
        config = self.config
        if config.architecture == "upsample":
            return UpsampledConvolution(before, after)
        if config.architecture == "dcgan" or config.deconvolution == 4:
            conv = nn.ConvTranspose2d(before, after, 4, 2, 1)
        else:
            conv = nn.ConvTranspose2d(before, after, 3, 2, 1, output_padding=1)
        if config.architecture == "dcgan":
            return conv
        # As DCGAN; inferred from the code of the same author (CPSC-DFKD).
        nn.init.normal_(conv.weight, 0, 0.02)
        return parametrizations.spectral_norm(conv) if config.spectral_norm else conv

    def _check_blocks(self, count: int) -> None:
        blocks = self.config.attention.blocks
        if self.config.architecture != "attention" or blocks == "all":
            return
        beyond = [index for index in blocks if not 0 <= index < count]
        if beyond:
            raise UsageError(
                f"generator.attention.blocks names {beyond}, and the generator has {count} blocks; "
                f"give indices from 0 to {count - 1}"
            )

    def _attends(self, index: int) -> bool:
        config = self.config
        if config.architecture != "attention" or config.attention.mix_weight == 0:
            return False
        return config.attention.blocks == "all" or index in config.attention.blocks

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

        x = self.project(self.latent(noise, labels)).view(-1, *self.start)
        # Upsampling and convolutions are faster so, and what comes of them lies likewise.
        x = norm(self.norm_in, x.contiguous(memory_format=torch.channels_last))
        for conv, layer, attention in zip(self.convs, self.norms, self.attentions, strict=True):
            x = functional.leaky_relu(norm(layer, conv(x)), self.config.leaky_relu_slope)
            x = attention(x)
        x = self.to_image(x)
        if self.config.output_head == "sigmoid_normalise":
            return torch.as_tensor((torch.sigmoid(x) - self.mean) / self.std)
        # BatchNorm of so few channels is faster channels first, and its sums are more exact.
        return torch.as_tensor(self.norm_out(torch.tanh(x.contiguous())))


def build_generator(config: GeneratorConfig, inputs: InputSpecification, seed: int) -> Generator:
    """Build a generator with seeded weights, leaving the global random state as it was.

    Args:
        config: architecture and sizes.
        inputs: shape, normalisation and classes.
        seed: of the initial weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return Generator(config, inputs)


def restart_generator(generator: Generator, seed: int) -> None:
    """Give a generator new first weights, in place.

    Args:
        generator: any; keeps its fixed label embeddings.
        seed: of the new weights.
    """
    config = generator.config
    if generator.latent.noisy is not None:
        # The embeddings stay; their file need not be there any more.
        width = generator.latent.noisy.embeddings.shape[1]
        config = config.model_copy(update={"label_embeddings": None, "label_embedding_size": width})
    fresh = build_generator(config, generator.inputs, seed)
    if generator.latent.noisy is not None and fresh.latent.noisy is not None:
        fresh.latent.noisy.embeddings.copy_(generator.latent.noisy.embeddings)
    generator.load_state_dict(fresh.state_dict())


def redraw_noisy_layer(generator: Generator, seed: int) -> None:
    """Draw the noisy layer's weights anew, in place; nothing happens where there is none."""
    if generator.latent.noisy is None:
        return
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        generator.latent.noisy.redraw()
