"""What is recorded of a selected trial's images: duplicates planted, all counted anew by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from complete_trials import INPUTS, NETWORK, add_complete_trial, network, own_images
from PIL import Image
from run_folders import empty_run
from torch import Tensor

from dfkd_tune.benchmarks import Benchmark, BenchmarkConfig, get_benchmark, open_benchmark
from dfkd_tune.classifiers import TappedNetwork, file_sha256, save_weights, to_input
from dfkd_tune.records import RunFolder, SelectedImagesRecord, TeacherCard, now, write_record
from trainables import DUPLICATE_DISTANCE, look_at_selected, save_kept

TEACHER = 99
CPU = torch.device("cpu")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """One complete trial with 30 images, of which the 7th and the 20th are the same."""
    run = empty_run(tmp_path / "run")
    save_weights(run.teacher_weights, network(TEACHER))
    card = TeacherCard(
        benchmark="digits",
        architecture=NETWORK.architecture,
        width=NETWORK.width,
        parameters=1,
        source="file",
        origin="w",
        recipe_hash="r",
        weights_sha256=file_sha256(run.teacher_weights),
        data_hash="",
        scores={},
        seconds=0.0,
        created=now(),
    )
    write_record(run.teacher_card_file, card)
    folder = add_complete_trial(run, network(1))
    save_kept(folder, planted())
    return run


def planted() -> Tensor:
    images = own_images(5, count=30)
    images[20] = images[7]
    return images


def bare() -> Benchmark:
    given = {"size": 8, "channels": 1, "mean": [0.5], "std": [0.5], "classes": 10}
    return open_benchmark(BenchmarkConfig.model_validate({"name": "bare", "input": given}))


def unlabelled(folder: Path) -> Benchmark:
    numbers = np.random.default_rng(2)
    folder.mkdir()
    for place in range(60):
        pixels = numbers.integers(0, 255, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{place}.png")
    given = {"size": 8, "channels": 1, "mean": [0.5], "std": [0.5], "classes": 10}
    config = {"name": "own", "unlabelled": str(folder), "input": given}
    return open_benchmark(BenchmarkConfig.model_validate(config))


def look(run: RunFolder, benchmark: Benchmark) -> SelectedImagesRecord:
    record = look_at_selected(run, benchmark, "t0000", "sha", CPU)
    assert run.selected_images() == record
    return record


def features(images: Tensor) -> np.ndarray:
    made = TappedNetwork(network(TEACHER), INPUTS)(images, features=True)
    return made.penultimate_vector.double().numpy()


def nearest(vectors: np.ndarray) -> np.ndarray:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    distances = 1 - unit @ unit.T
    np.fill_diagonal(distances, np.inf)
    return distances.min(1)


def test_balance_and_planted_duplicates(run: RunFolder) -> None:
    record = look(run, get_benchmark("digits"))
    images = planted().float()
    chosen = network(TEACHER)(images).argmax(1).numpy()
    assert record.balance == tuple(int((chosen == label).sum()) for label in range(10))
    distances = nearest(features(images))
    assert record.duplicates is not None
    assert record.duplicates.images == 30
    assert record.duplicates.median == pytest.approx(float(np.median(distances)), abs=1e-6)
    assert record.duplicates.share == (distances < DUPLICATE_DISTANCE).mean() >= 2 / 30
    assert record.closest is not None
    assert record.closest.images == (7, 20)
    assert record.closest.distance == pytest.approx(0, abs=1e-6)
    picture = Image.open(run.selected_path / record.closest.file)
    assert picture.size == (record.closest.width, record.closest.height)
    left, right = (np.asarray(picture)[2:-2, start : start + 96] for start in (2, 100))
    assert (left == right).all()
    assert left.std() > 0


def test_real_images_are_measured_beside(run: RunFolder) -> None:
    digits = get_benchmark("digits")
    record = look(run, digits)
    stored = digits.images("validation")
    sample = stored[np.linspace(0, len(stored) - 1, 30).round().astype(int)]
    distances = nearest(features(to_input(sample, digits.inputs)))
    assert record.real is not None
    assert record.real.images == 30
    assert record.real.median == pytest.approx(float(np.median(distances)), abs=1e-6)
    assert record.real.share == pytest.approx((distances < DUPLICATE_DISTANCE).mean())
    labels = digits.load("validation").labels
    assert record.real_attention is not None
    for shown in record.real_attention.images:
        assert shown.label == labels[shown.image]
        assert shown.image == int((labels == shown.label).nonzero()[0]), "none is picked"
    assert len(record.real_attention.images) == 8


def test_attention_is_of_the_surest_image_of_each_class(run: RunFolder) -> None:
    record = look(run, get_benchmark("digits"))
    images = planted().float()
    confidence, chosen = network(TEACHER)(images).double().softmax(1).max(1)
    attention = record.attention
    assert attention is not None
    assert 1 <= len(attention.images) <= 8
    assert len({shown.teacher for shown in attention.images}) == len(attention.images)
    for shown in attention.images:
        of_class = chosen == shown.teacher
        assert shown.confidence == pytest.approx(float(confidence[of_class].max()))
        assert chosen[shown.image] == shown.teacher
        assert shown.label is None
        assert shown.student == int(network(1)(images[shown.image][None]).argmax())
    maps = []
    for seed in (TEACHER, 1):
        tapped = TappedNetwork(network(seed), INPUTS)
        stages = tapped(images[[s.image for s in attention.images]], features=True).stages
        stage = next(s for s in reversed(stages) if s.shape[2] >= 4)
        maps.append((stage.double() ** 2).sum(1))
    assert attention.teacher_size == attention.student_size == tuple(maps[0].shape[1:])
    large = [
        torch.nn.functional.interpolate(m[:, None], (8, 8), mode="bilinear").numpy() for m in maps
    ]
    for place, shown in enumerate(attention.images):
        wanted = np.corrcoef(large[0][place].ravel(), large[1][place].ravel())[0, 1]
        assert shown.correlation == pytest.approx(wanted, abs=1e-5)
    picture = Image.open(run.selected_path / attention.file)
    assert picture.size == (attention.width, attention.height)
    assert attention.height == 3 * 98 + 2
    # The brightest place of a map lies where the map is largest.
    grey = np.asarray(picture.convert("L"), dtype=int)[100 : 100 + 96, 2 : 2 + 96]
    row, column = (int(x) for x in np.unravel_index(grey.argmax(), grey.shape))
    enlarged = torch.nn.functional.interpolate(maps[0][:1, None], (96, 96), mode="bilinear")
    assert enlarged[0, 0, row, column] == pytest.approx(enlarged.max().item(), rel=0.02)


def test_a_teacher_beside_itself_looks_where_it_looks(run: RunFolder) -> None:
    save_weights(run.trial_folder("t0000").student_weights, network(TEACHER))
    record = look(run, get_benchmark("digits"))
    for attention in (record.attention, record.real_attention):
        assert attention is not None
        for shown in attention.images:
            assert shown.correlation is None or shown.correlation == pytest.approx(1)
            assert shown.student == shown.teacher


def test_without_images_nothing_real_is_said(run: RunFolder) -> None:
    record = look(run, bare())
    assert (record.real, record.real_attention) == (None, None)
    assert record.attention is not None
    assert sorted(path.name for path in run.selected_path.iterdir()) == [
        "attention_synthetic.png",
        "closest_pair.png",
        "images.json",
    ]


def test_unlabelled_images_are_shown_without_labels(run: RunFolder, tmp_path: Path) -> None:
    record = look(run, unlabelled(tmp_path / "images"))
    assert record.real is not None
    assert record.real_attention is not None
    assert all(shown.label is None for shown in record.real_attention.images)
    seen = [shown.teacher for shown in record.real_attention.images]
    assert len(set(seen)) == len(seen)


def test_without_kept_images_only_real_ones_are_looked_at(run: RunFolder) -> None:
    run.trial_folder("t0000").kept_images.unlink()
    record = look(run, get_benchmark("digits"))
    assert (record.balance, record.duplicates, record.attention) == (None, None, None)
    assert record.real_attention is not None
