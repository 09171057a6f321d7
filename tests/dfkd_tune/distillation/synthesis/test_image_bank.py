"""The image bank: a ring of the newest images, in half precision or as pixels."""

import numpy as np
import pytest
import torch
from torch import Tensor

from dfkd_tune.distillation import ImageBank
from dfkd_tune.inputs import InputSpecification

INPUTS = InputSpecification(channels=2, height=3, width=1, mean=(0, 0), std=(1, 1), num_classes=99)
CPU = torch.device("cpu")


def numbered(*numbers: int) -> tuple[Tensor, Tensor]:
    """Images whose every pixel is their number, as is their label."""
    labels = torch.tensor(numbers)
    return labels.float().view(-1, 1, 1, 1).expand(-1, *INPUTS.shape), labels


def kept(bank: ImageBank) -> list[int]:
    state = bank.state_dict()
    images, labels = state["images"], state["labels"]
    assert torch.equal(images.float(), labels.float().view(-1, 1, 1, 1).expand_as(images))
    return sorted(labels.tolist())


def draws(bank: ImageBank, count: int, seed: int = 0) -> Tensor:
    return bank.sample(count, torch.Generator().manual_seed(seed)).labels


def test_the_newest_images_are_kept_over_the_oldest() -> None:
    bank = ImageBank(5, INPUTS, CPU)
    assert bank.filled == 0
    expected: list[int] = []
    for numbers in [(1, 2), (3, 4), (5, 6), (7,), (8, 9, 10), (11, 12, 13, 14, 15), (16,)]:
        bank.add(*numbered(*numbers))
        expected = [*expected, *numbers][-5:]
        assert kept(bank) == sorted(expected)
        assert bank.filled == len(expected)


def test_a_batch_larger_than_the_bank_leaves_its_last_images() -> None:
    bank = ImageBank(4, INPUTS, CPU)
    bank.add(*numbered(1, 2))
    bank.add(*numbered(*range(10, 21)))
    assert kept(bank) == [17, 18, 19, 20]
    bank.add(*numbered(30, 31))
    assert kept(bank) == [19, 20, 30, 31]


def test_an_empty_batch_changes_nothing() -> None:
    bank = ImageBank(3, INPUTS, CPU)
    bank.add(*numbered(1, 2))
    images, labels = numbered(3)
    bank.add(images[:0], labels[:0])
    assert kept(bank) == [1, 2]


def test_images_come_back_in_single_precision_rounded_to_half() -> None:
    bank = ImageBank(1, INPUTS, CPU)
    values = np.random.default_rng(0).normal(0, 1, (1, *INPUTS.shape)).astype(np.float32)
    bank.add(torch.tensor(values), torch.tensor([5]))
    batch = bank.sample(3, torch.Generator().manual_seed(0))
    assert batch.images.dtype == torch.float32
    expected = values.astype(np.float16).astype(np.float32).repeat(3, 0)
    assert np.array_equal(batch.images.numpy(), expected)
    assert batch.labels.tolist() == [5, 5, 5]
    assert batch.answers is None


def test_the_bank_keeps_no_graph_of_the_generator() -> None:
    bank = ImageBank(2, INPUTS, CPU)
    images, labels = numbered(1, 2)
    bank.add(images.clone().requires_grad_(True) * 2, labels)
    assert not bank.sample(2, torch.Generator().manual_seed(0)).images.requires_grad


def test_sampling_is_seeded_and_leaves_the_global_random_state_alone() -> None:
    bank = ImageBank(50, INPUTS, CPU)
    bank.add(*numbered(*range(50)))
    before = torch.get_rng_state()
    assert torch.equal(draws(bank, 20, seed=1), draws(bank, 20, seed=1))
    assert not torch.equal(draws(bank, 20, seed=1), draws(bank, 20, seed=2))
    assert torch.equal(torch.get_rng_state(), before)


def test_sampling_reaches_every_kept_image_and_no_empty_place() -> None:
    bank = ImageBank(100, INPUTS, CPU)
    bank.add(*numbered(3, 5, 8))
    assert set(draws(bank, 200).tolist()) == {3, 5, 8}


@pytest.mark.parametrize("batches", [[(1, 2)], [(1, 2, 3), (4, 5)], [tuple(range(9))]])
def test_a_bank_from_a_state_goes_on_as_the_first(batches: list[tuple[int, ...]]) -> None:
    first = ImageBank(4, INPUTS, CPU)
    for numbers in batches:
        first.add(*numbered(*numbers))
    second = ImageBank(4, INPUTS, CPU)
    second.load_state_dict(first.state_dict())
    assert second.filled == first.filled
    for bank in (first, second):
        bank.add(*numbered(50, 51, 52))
    assert kept(second) == kept(first)
    assert torch.equal(draws(second, 30), draws(first, 30))


def test_a_state_is_a_snapshot_that_later_images_do_not_change() -> None:
    bank = ImageBank(2, INPUTS, CPU)
    bank.add(*numbered(1, 2))
    state = bank.state_dict()
    bank.add(*numbered(3, 4))
    assert state["labels"].tolist() == [1, 2]
    assert state["images"][:, 0, 0, 0].tolist() == [1, 2]


def labelled(bank: ImageBank, *pairs: tuple[int, int]) -> None:
    """Keep images whose every pixel is the first number, of the class of the second."""
    bank.add(numbered(*(number for number, _ in pairs))[0], torch.tensor([k for _, k in pairs]))


def newest(bank: ImageBank, label: int, count: int) -> list[int]:
    return [int(value) for value in bank.newest(label, count)[:, 0, 0, 0]]


def test_the_newest_of_a_class_come_newest_first() -> None:
    bank = ImageBank(6, INPUTS, CPU)
    assert newest(bank, 0, 3) == []
    labelled(bank, (1, 0), (2, 1), (3, 0), (4, 0))
    assert newest(bank, 0, 2) == [4, 3]
    assert newest(bank, 0, 9) == [4, 3, 1]
    assert newest(bank, 1, 9) == [2]
    assert newest(bank, 2, 9) == []
    assert newest(bank, 0, 0) == []


def test_the_newest_are_those_of_a_bank_that_has_wrapped_around() -> None:
    bank = ImageBank(5, INPUTS, CPU)
    labelled(bank, (1, 0), (2, 1), (3, 0), (4, 0))
    labelled(bank, (5, 1), (6, 0), (7, 1))
    assert newest(bank, 0, 9) == [6, 4, 3]
    assert newest(bank, 1, 9) == [7, 5]
    restored = ImageBank(5, INPUTS, CPU)
    restored.load_state_dict(bank.state_dict())
    assert newest(restored, 0, 9) == [6, 4, 3]
    labelled(restored, (8, 0))
    assert newest(restored, 0, 9) == [8, 6, 4]


def test_the_newest_are_read_without_random_numbers_and_in_single_precision() -> None:
    bank = ImageBank(3, INPUTS, CPU)
    labelled(bank, (1, 0))
    before = torch.get_rng_state()
    assert bank.newest(0, 1).dtype == torch.float32
    assert bank.newest(0, 1).shape == (1, *INPUTS.shape)
    assert torch.equal(torch.get_rng_state(), before)


PIXELS = InputSpecification(
    channels=2, height=3, width=1, mean=(0.3, 0.6), std=(0.2, 0.5), num_classes=9
)


def normalised(stored: np.ndarray) -> np.ndarray:
    shape = (1, 2, 1, 1)
    return (stored / 255 - np.reshape(PIXELS.mean, shape)) / np.reshape(PIXELS.std, shape)


def test_pixels_come_back_as_from_an_image_file() -> None:
    stored = np.random.default_rng(0).integers(0, 256, (20, 2, 3, 1))
    between = stored + np.random.default_rng(1).uniform(-0.49, 0.49, stored.shape)
    bank = ImageBank(20, PIXELS, CPU, pixels=True)
    bank.add(torch.tensor(normalised(between), dtype=torch.float32), torch.zeros(20).long())
    assert bank.state_dict()["images"].dtype == torch.uint8
    assert np.array_equal(bank.state_dict()["images"].numpy(), stored)
    assert bank.newest(0, 20).flip(0).numpy() == pytest.approx(normalised(stored), abs=1e-6)


def test_pixels_beyond_black_and_white_are_black_and_white() -> None:
    bank = ImageBank(2, PIXELS, CPU, pixels=True)
    bank.add(torch.tensor([-50.0, 50.0]).view(2, 1, 1, 1).expand(2, 2, 3, 1), torch.arange(2))
    assert bank.state_dict()["images"].flatten(1).tolist() == [[0] * 6, [255] * 6]


def test_a_state_in_half_precision_goes_on_as_pixels() -> None:
    stored = np.arange(0, 240, 10).reshape(4, 2, 3, 1)
    images = torch.tensor(normalised(stored), dtype=torch.float16)
    bank = ImageBank(4, PIXELS, CPU, pixels=True)
    bank.load_state_dict({"images": images, "labels": torch.arange(4), "next": 0})
    assert np.array_equal(bank.state_dict()["images"].numpy(), stored)


def first_pixel(images: Tensor) -> Tensor:
    """An answer by which an image can be known."""
    return images[:, :1, 0, 0].expand(-1, INPUTS.num_classes)


@pytest.mark.parametrize("pixels", [False, True])
def test_answers_are_those_to_the_images_as_they_are_kept(pixels: bool) -> None:
    bank = ImageBank(5, INPUTS, CPU, pixels=pixels, ask=first_pixel)
    numbers = torch.Generator().manual_seed(0)
    for count in (2, 4, 3, 9):
        images = torch.rand(count, *INPUTS.shape, generator=numbers)
        bank.add(images, torch.zeros(count, dtype=torch.int64))
        batch = bank.sample(20, torch.Generator().manual_seed(count))
        assert batch.answers is not None
        assert torch.equal(batch.answers, first_pixel(batch.images))
        # And not to the images before they were rounded.
        assert not torch.isin(batch.answers[:, 0], first_pixel(images)[:, 0]).any()


def test_answers_go_on_from_a_state() -> None:
    first = ImageBank(4, INPUTS, CPU, ask=first_pixel)
    first.add(*numbered(1, 2, 3))

    def never(images: Tensor) -> Tensor:
        raise AssertionError("they are known")

    second = ImageBank(4, INPUTS, CPU, ask=never)
    second.load_state_dict(first.state_dict())
    answers = [bank.sample(9, torch.Generator().manual_seed(0)).answers for bank in (first, second)]
    assert answers[0] is not None
    assert answers[1] is not None
    assert torch.equal(*answers)
    assert set(answers[0].unique().tolist()) == {1, 2, 3}
