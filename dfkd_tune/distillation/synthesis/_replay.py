"""Generative replay: a variational autoencoder that makes earlier images again (PRE-DFKD)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from dfkd_tune.distillation._synthesis_config import GenerativeReplayConfig
from dfkd_tune.distillation.generators import GeneratorConfig, build_generator
from dfkd_tune.inputs import InputSpecification


class ReplayMemory(nn.Module):
    """A variational autoencoder of synthetic images.

    Args:
        config: sizes and weight of its divergence.
        inputs: shape of an image.
        seed: of its first weights.
    """

    def __init__(
        self,
        config: GenerativeReplayConfig,
        inputs: InputSpecification,
        seed: int,
    ) -> None:
        super().__init__()
        self.config = config
        width = config.width
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.encoder = nn.Sequential(
                nn.Conv2d(inputs.channels, width, 3, 2, 1),
                nn.BatchNorm2d(width),
                nn.LeakyReLU(0.2),
                nn.Conv2d(width, 2 * width, 3, 2, 1),
                nn.BatchNorm2d(2 * width),
                nn.LeakyReLU(0.2),
                nn.AdaptiveAvgPool2d((2, 2)),
                nn.Flatten(),
                nn.Linear(8 * width, 2 * config.latent_size),
            )
        self.decoder = build_generator(
            GeneratorConfig(
                conditioning="none",
                latent_size=config.latent_size,
                width=width,
                output_head="tanh_bn",
            ),
            inputs,
            seed,
        )

    def loss(self, images: Tensor, source: torch.Generator) -> Tensor:
        """Mean squared error of the pixels, and the weighted divergence of its latent vectors.

        Args:
            images: `(N, C, H, W)`, without gradients.
            source: of random numbers.
        """
        mean, log_variance = self.encoder(images).chunk(2, dim=1)
        drawn = torch.randn(mean.shape, generator=source, device=mean.device)
        latent = mean + (0.5 * log_variance).exp() * drawn
        made = self.decoder(latent, torch.zeros(len(latent), dtype=torch.int64, device=mean.device))
        divergence = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1).mean()
        return torch.as_tensor(
            functional.mse_loss(made, images) + self.config.divergence_weight * divergence
        )

    @torch.no_grad()
    def sample(self, count: int, source: torch.Generator) -> Tensor:
        """Images `(count, C, H, W)` of the memory."""
        noise = torch.randn(count, self.config.latent_size, generator=source, device=source.device)
        labels = torch.zeros(count, dtype=torch.int64, device=source.device)
        return torch.as_tensor(self.decoder(noise, labels))
