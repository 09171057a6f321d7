"""How a preset label enters a generator."""

import numpy as np
import torch
from torch import Tensor, nn

from dfkd_tune.distillation.generators._config import GeneratorConfig
from dfkd_tune.errors import UsageError


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


def label_embeddings(config: GeneratorConfig, num_classes: int) -> Tensor:
    """Fixed embeddings of the labels: those of a file, else orthogonal ones.

    Args:
        config: names the file, or gives the length.
        num_classes: number of labels.

    Returns:
        `(num_classes, D)`.

    Raises:
        UsageError: if the file cannot be read or has another number of classes.
    """
    path = config.label_embeddings
    if path is None:
        # No more than D vectors of length D are orthogonal: classes beyond them are random.
        size = max(num_classes, config.label_embedding_size)
        return nn.init.orthogonal_(torch.empty(size, size))[
            :num_classes, : config.label_embedding_size
        ].contiguous()
    try:
        with path.open("rb") as file:
            loaded = np.lib.format.read_array(file, allow_pickle=False)
        if loaded.dtype.kind not in "fiu":
            raise ValueError(f"it holds {loaded.dtype}")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"generator.label_embeddings: cannot read {path}; give a .npy of numbers, (classes, D)"
        ) from error
    with np.errstate(over="ignore"):
        vectors = loaded.astype(np.float32)
    right_shape = loaded.ndim == 2 and len(loaded) == num_classes and loaded.size > 0
    if not right_shape or not np.isfinite(vectors).all():
        raise UsageError(
            f"generator.label_embeddings: {path} holds {loaded.shape}; give one finite row for "
            f"each of {num_classes} classes"
        )
    return torch.tensor(vectors)


def _one_hot(labels: Tensor, num_classes: int) -> Tensor:
    """Labels `(N,)` to `(N, K)`, true at each label; without asking which there are."""
    return labels.unsqueeze(1) == torch.arange(num_classes, device=labels.device)


class NoisyLayer(nn.Module):
    """A label's fixed embedding through a layer of random weights (NAYER, CVPR 2024, eq. 5 to 8).

    The randomness of the images is in this layer, not in a noise vector: it is drawn anew in every
    round and trained within it. As in the public code, embeddings are normalised over the batch and
    weights are standard normal: a class moves the output far more than PyTorch's own first weights
    would let it, so that a round of few steps can tell classes apart.

    Args:
        config: length of its output, number of layers, embeddings.
        num_classes: number of labels.

    Raises:
        UsageError: if the embeddings cannot be used.
    """

    def __init__(self, config: GeneratorConfig, num_classes: int) -> None:
        super().__init__()
        embeddings = label_embeddings(config, num_classes)
        self.embeddings: Tensor
        self.register_buffer("embeddings", embeddings)
        width = embeddings.shape[1]
        self.norm = nn.BatchNorm1d(width)
        self.layers = nn.ModuleList(
            nn.Linear(width, config.latent_size) for _ in range(config.noisy_layers)
        )
        self.redraw()

    def forward(self, labels: Tensor) -> Tensor:
        """Labels `(N,)` to `(N, latent_size)`.

        The n-th image of a class goes through layer n, modulo their number, so that images of one
        class differ.
        """
        embedded = self.norm(self.embeddings[labels])
        every = torch.stack([layer(embedded) for layer in self.layers])
        one_hot = _one_hot(labels, len(self.embeddings)).long()
        earlier = (one_hot.cumsum(0) - one_hot).gather(1, labels.unsqueeze(1)).squeeze(1)
        places = torch.arange(len(labels), device=labels.device)
        return every[earlier % len(self.layers), places]

    def redraw(self) -> None:
        """Draw the layers' weights anew, from the global random state."""
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            nn.init.normal_(layer.weight)
            nn.init.zeros_(layer.bias)


class LatentInput(nn.Module):
    """Noise and label to the vector that a generator begins with.

    Args:
        config: how the label enters.
        num_classes: number of labels.
    """

    def __init__(self, config: GeneratorConfig, num_classes: int) -> None:
        super().__init__()
        self.conditioning = config.conditioning
        self.num_classes = num_classes
        self.size = config.latent_size
        self.embedding: nn.Embedding | None = None
        self.noisy: NoisyLayer | None = None
        if config.conditioning == "embed_concat":
            self.embedding = nn.Embedding(num_classes, config.label_embedding_size)
            self.size += config.label_embedding_size
        elif config.conditioning == "embed_multiply":
            self.embedding = nn.Embedding(num_classes, config.latent_size)
        elif config.conditioning == "one_hot_concat":
            self.size += num_classes
        elif config.conditioning == "noisy_layer":
            self.noisy = NoisyLayer(config, num_classes)

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Noise `(N, latent_size)` and labels `(N,)` to `(N, size)`."""
        if self.noisy is not None:
            return torch.as_tensor(self.noisy(labels))
        if self.conditioning == "one_hot_concat":
            one_hot = _one_hot(labels, self.num_classes)
            return torch.cat([noise, one_hot.to(noise.dtype)], dim=1)
        if self.embedding is None:
            return noise
        embedded: Tensor = self.embedding(labels)
        if self.conditioning == "embed_multiply":
            return noise * embedded
        return torch.cat([noise, embedded], dim=1)
