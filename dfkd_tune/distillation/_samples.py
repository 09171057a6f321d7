"""Synthetic images to look at."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dfkd_tune.classifiers import evaluation_mode
from dfkd_tune.distillation.generators import Generator
from dfkd_tune.distillation.synthesis import ImageBank
from dfkd_tune.inputs import InputSpecification


def sample_per_class(generator: Generator, per_class: int, seed: int) -> Tensor:
    """Synthesise the same noise for every class, leaving the generator and random states alone.

    Args:
        generator: as it is now; used in evaluation mode.
        per_class: images of each class.
        seed: of the noise; the same seed shows the same noise at another epoch.

    Returns:
        Pixels `(per_class, K, C, H, W)`, in [0, 1], on the CPU.
    """
    inputs = generator.inputs
    device = next(generator.parameters()).device
    source = torch.Generator().manual_seed(seed)
    noise = torch.randn(per_class, 1, generator.config.latent_size, generator=source)
    noise = noise.expand(-1, inputs.num_classes, -1).flatten(0, 1).to(device)
    labels = torch.arange(inputs.num_classes, device=device).repeat(per_class)
    with evaluation_mode(generator), torch.no_grad():
        images = generator(noise, labels)
    pixels = to_pixels(images, inputs)
    return pixels.view(per_class, inputs.num_classes, *inputs.shape)


def newest_per_class(bank: ImageBank, per_class: int, inputs: InputSpecification) -> Tensor:
    """The newest kept images of every class; places of classes with fewer are mid-grey.

    Args:
        bank: kept images.
        per_class: images of each class.
        inputs: normalisation and classes.

    Returns:
        Pixels `(per_class, K, C, H, W)`, in [0, 1], on the CPU.
    """
    pixels = torch.full((per_class, inputs.num_classes, *inputs.shape), 0.5)
    for label in range(inputs.num_classes):
        newest = bank.newest(label, per_class)
        pixels[: len(newest), label] = to_pixels(newest, inputs)
    return pixels


def to_pixels(images: Tensor, inputs: InputSpecification) -> Tensor:
    """Undo the normalisation: `(N, C, H, W)` to the same shape in [0, 1], on the CPU."""
    mean = torch.tensor(inputs.mean).view(-1, 1, 1)
    std = torch.tensor(inputs.std).view(-1, 1, 1)
    return (images.detach().float().cpu() * std + mean).clamp(0, 1)


def image_grid(pixels: Tensor, *, gap: int = 1) -> Image.Image:
    """Lay images out as a picture.

    Args:
        pixels: `(rows, columns, C, H, W)`, in [0, 1]; C is 1 or 3, others show the first channel.
        gap: pixels between images.
    """
    rows, columns, channels, height, width = pixels.shape
    if channels != 3:
        pixels = pixels[:, :, :1].expand(-1, -1, 3, -1, -1)
    canvas = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), 255, np.uint8)
    values = (pixels * 255).round().to(torch.uint8).permute(0, 1, 3, 4, 2).numpy()
    for row in range(rows):
        for column in range(columns):
            top, left = gap + row * (height + gap), gap + column * (width + gap)
            canvas[top : top + height, left : left + width] = values[row, column]
    return Image.fromarray(canvas)
