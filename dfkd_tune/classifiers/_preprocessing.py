"""From stored pixels to what a classifier takes, at evaluation and with augmentation."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from dfkd_tune.classifiers._sending import sent
from dfkd_tune.inputs import InputSpecification


def normalise(images: Tensor, inputs: InputSpecification) -> Tensor:
    """Scale pixels of 8 bits to [0, 1], subtract the mean and divide by the deviation.

    Args:
        images: `(N, C, H, W)`, uint8.
        inputs: of the classifier.

    Returns:
        The same shape, float32.
    """
    mean = torch.tensor(inputs.mean, device=images.device).view(-1, 1, 1)
    std = torch.tensor(inputs.std, device=images.device).view(-1, 1, 1)
    return (images.float() / 255 - mean) / std


def centre_crop(images: Tensor, height: int, width: int) -> Tensor:
    """Cut the centre out of images: `(N, C, H, W)` to `(N, C, height, width)`."""
    top, left = (images.shape[2] - height) // 2, (images.shape[3] - width) // 2
    return images[:, :, top : top + height, left : left + width]


def to_input(images: Tensor, inputs: InputSpecification) -> Tensor:
    """Make stored images a classifier's input: the centre, normalised.

    Args:
        images: `(N, C, H, W)`, uint8, at least as large as the input.
        inputs: of the classifier.

    Returns:
        `(N, C, height, width)`, float32.
    """
    return normalise(centre_crop(images, inputs.height, inputs.width), inputs)


def random_crops(
    images: Tensor, padding: int, height: int, width: int, source: torch.Generator
) -> Tensor:
    """Pad images with black and cut out a window at a random place in each.

    Args:
        images: `(N, C, H, W)`, uint8.
        padding: pixels on every side.
        height: of the window.
        width: of the window.
        source: of random numbers, on the CPU.
    """
    count, _, full_height, full_width = images.shape
    free_rows, free_columns = full_height + 2 * padding - height, full_width + 2 * padding - width
    if free_rows == 0 and free_columns == 0:
        return images
    padded = functional.pad(images, (padding,) * 4) if padding else images
    top = torch.randint(0, free_rows + 1, (count, 1, 1), generator=source)
    left = torch.randint(0, free_columns + 1, (count, 1, 1), generator=source)
    device = images.device
    top, left = sent(torch.stack([top, left]), device)
    rows = top + torch.arange(height, device=device).view(1, -1, 1)
    columns = left + torch.arange(width, device=device).view(1, 1, -1)
    which = torch.arange(count, device=device).view(-1, 1, 1)
    return padded[which, :, rows, columns].permute(0, 3, 1, 2)


def random_resized_crops(
    images: Tensor, smallest_area: float, height: int, width: int, source: torch.Generator
) -> Tensor:
    """Cut out a window of random area and shape from each image and resize it.

    Args:
        images: `(N, C, H, W)`, float.
        smallest_area: share of the image, in (0, 1]; areas are uniform from it to 1.
        height: of the result.
        width: of the result.
        source: of random numbers, on the CPU.

    Source: Szegedy et al., "Going Deeper with Convolutions" (CVPR 2015), section 6: aspect ratios
    from 3/4 to 4/3, uniform in their logarithm. A window is shrunk to the image where it would
    stick out; resizing is bilinear.
    """
    count, _, full_height, full_width = images.shape
    area = smallest_area + (1 - smallest_area) * torch.rand(count, generator=source)
    log_ratio = (2 * torch.rand(count, generator=source) - 1) * math.log(4 / 3)
    ratio = log_ratio.exp() * height / width * full_width / full_height
    # Shares of the image's sides; a ratio above 1 is a wide window.
    share_x = (area * ratio).sqrt().clamp(max=1)
    share_y = (area / ratio).sqrt().clamp(max=1)
    centre_x = (2 * torch.rand(count, generator=source) - 1) * (1 - share_x)
    centre_y = (2 * torch.rand(count, generator=source) - 1) * (1 - share_y)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 0, 2] = share_x, centre_x
    theta[:, 1, 1], theta[:, 1, 2] = share_y, centre_y
    shape = [count, images.shape[1], height, width]
    grid = functional.affine_grid(sent(theta, images.device), shape, align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def random_flips(images: Tensor, source: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability one half."""
    flipped = torch.rand(len(images), generator=source) < 0.5
    return torch.where(sent(flipped, images.device).view(-1, 1, 1, 1), images.flip(3), images)
