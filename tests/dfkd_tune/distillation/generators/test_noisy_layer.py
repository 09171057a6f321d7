"""The noisy layer of NAYER and its label embeddings, against NumPy."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dfkd_tune.distillation.generators import (
    Generator,
    GeneratorConfig,
    build_generator,
    redraw_noisy_layer,
    restart_generator,
)
from dfkd_tune.errors import UsageError
from dfkd_tune.inputs import InputSpecification

CLASSES, LENGTH, LATENT = 4, 5, 6
INPUTS = InputSpecification(
    channels=1, height=8, width=8, mean=(0.3,), std=(0.4,), num_classes=CLASSES
)
LABELS = torch.tensor([2, 0, 1, 1, 3, 2, 2])


def config(**settings: Any) -> GeneratorConfig:
    sizes = {"width": 2, "latent_size": LATENT, "label_embedding_size": LENGTH}
    return GeneratorConfig.model_validate({**sizes, "conditioning": "noisy_layer", **settings})


def save(folder: Path, numbers: Any) -> Path:
    path = folder / "embeddings.npy"
    np.save(path, numbers)
    return path


def embeddings(generator: Generator) -> Tensor:
    assert generator.latent.noisy is not None
    return generator.latent.noisy.embeddings


def expected_latent(generator: Generator, labels: np.ndarray, training: bool) -> np.ndarray:
    noisy = generator.latent.noisy
    assert noisy is not None
    assert noisy.norm.running_mean is not None
    assert noisy.norm.running_var is not None
    chosen = noisy.embeddings.double().numpy()[labels]
    mean, variance = chosen.mean(0), chosen.var(0)
    if not training:
        mean = noisy.norm.running_mean.double().numpy()
        variance = noisy.norm.running_var.double().numpy()
    normalised = (chosen - mean) / np.sqrt(variance + noisy.norm.eps)
    weight, bias = (p.detach().double().numpy() for p in noisy.norm.parameters())
    embedded = normalised * weight + bias
    rows = []
    met: Counter[int] = Counter()
    for label, row in zip(labels.tolist(), embedded, strict=True):
        layer = noisy.layers[met[label] % len(noisy.layers)]
        met[label] += 1
        matrix, shift = (p.detach().double().numpy() for p in layer.parameters())
        rows.append(matrix @ row + shift)
    return np.array(rows)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layers", [1, 3, 9])
def test_the_nth_image_of_a_class_goes_through_layer_n_modulo_their_number(
    layers: int, training: bool
) -> None:
    generator = build_generator(config(noisy_layers=layers), INPUTS, 0).train(training)
    assert generator.latent.noisy is not None
    with torch.no_grad():
        generator.latent.noisy.norm.weight.uniform_(0.5, 2)
        expected = expected_latent(generator, LABELS.numpy(), training)
        found = generator.latent(torch.zeros(7, LATENT), LABELS).numpy()
    assert found.shape == (7, LATENT)
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_images_of_a_class_differ_by_their_layers_alone() -> None:
    generator = build_generator(config(noisy_layers=3), INPUTS, 0).eval()
    with torch.no_grad():
        images = generator(torch.randn(7, LATENT), torch.ones(7, dtype=torch.int64))
    assert all(torch.allclose(images[i], images[i + 3], atol=1e-6) for i in range(4))
    assert not any(torch.allclose(images[i], images[i + 1], atol=1e-4) for i in range(6))


@pytest.mark.parametrize("length", [CLASSES, LENGTH, 50])
def test_default_embeddings_are_orthonormal(length: int) -> None:
    generator = build_generator(config(label_embedding_size=length), INPUTS, 0)
    found = embeddings(generator).double().numpy()
    assert found.shape == (CLASSES, length)
    assert found @ found.T == pytest.approx(np.eye(CLASSES), abs=1e-5)


def test_more_classes_than_numbers_have_embeddings_that_differ() -> None:
    found = embeddings(build_generator(config(label_embedding_size=3), INPUTS, 0))
    assert found.shape == (CLASSES, 3)
    assert torch.pdist(found).min() > 0.05


def test_default_embeddings_follow_the_seed() -> None:
    first, same, other = (embeddings(build_generator(config(), INPUTS, s)) for s in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "f8", "f2", "i8", "u2", "longdouble"])
def test_embeddings_of_a_file_are_used(tmp_path: Path, dtype: str) -> None:
    numbers = np.arange(CLASSES * 7).reshape(CLASSES, 7).astype(dtype)
    generator = build_generator(config(label_embeddings=save(tmp_path, numbers)), INPUTS, 0)
    found = embeddings(generator)
    assert found.dtype == torch.float32
    assert found.double().numpy() == pytest.approx(numbers.astype(float))
    assert generator(torch.zeros(7, LATENT), LABELS).shape == (7, 1, 8, 8)


def test_embeddings_are_fixed_and_kept_in_a_state() -> None:
    generator = build_generator(config(), INPUTS, 0)
    assert not any("embeddings" in name for name, _ in generator.named_parameters())
    assert torch.equal(generator.state_dict()["latent.noisy.embeddings"], embeddings(generator))


@pytest.mark.parametrize(
    "numbers",
    [
        np.ones((CLASSES - 1, 3)),
        np.ones((CLASSES + 1, 3)),
        np.ones(CLASSES),
        np.ones((CLASSES, 3, 1)),
        np.ones((CLASSES, 0)),
        np.array(1.0),
        np.full((CLASSES, 3), np.nan),
        np.full((CLASSES, 3), -np.inf),
        np.full((CLASSES, 3), 1e300),  # beyond single precision
    ],
)
def test_embeddings_of_another_shape_or_not_finite_are_refused(
    tmp_path: Path, numbers: np.ndarray
) -> None:
    path = save(tmp_path, numbers)
    with pytest.raises(UsageError) as caught:
        build_generator(config(label_embeddings=path), INPUTS, 0)
    message = str(caught.value)
    assert message.startswith(f"generator.label_embeddings: {path} holds {numbers.shape}")
    assert f"each of {CLASSES} classes" in message
    assert "\n" not in message


def write(path: Path, kind: str) -> None:
    if kind == "text":
        path.write_text("0.1, 0.2\n0.3, 0.4\n")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "damaged_archive":
        path.write_bytes(b"PK\x03\x04 and no more")
    elif kind == "archive":
        with path.open("wb") as file:
            np.savez(file, numbers=np.ones((CLASSES, 3)))
    elif kind == "folder":
        path.mkdir()
    elif kind == "cut_off":
        np.save(path, np.ones((CLASSES, 3)))
        path.write_bytes(path.read_bytes()[:-8])
    elif kind != "missing":
        values = {"words": "a", "objects": None, "complex": 1j, "truths": True}[kind]
        np.save(path, np.full((CLASSES, 3), values))


KINDS = ("text", "empty", "damaged_archive", "archive", "folder", "cut_off", "missing")


@pytest.mark.parametrize("kind", [*KINDS, "words", "objects", "complex", "truths"])
def test_a_file_that_holds_no_array_of_numbers_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "embeddings.npy"
    write(path, kind)
    with pytest.raises(UsageError) as caught:
        build_generator(config(label_embeddings=path), INPUTS, 0)
    assert str(caught.value) == (
        f"generator.label_embeddings: cannot read {path}; give a .npy of numbers, (classes, D)"
    )


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def state(generator: Generator) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in generator.state_dict().items()}


def test_redrawing_changes_the_noisy_layers_alone_by_the_seed() -> None:
    generator = build_generator(config(noisy_layers=2, latent_size=400), INPUTS, 0)
    # The biases begin at 0 each time.
    layers = {f"latent.noisy.layers.{i}.weight" for i in (0, 1)}
    first = state(generator)
    torch.manual_seed(77)
    random = torch.get_rng_state()
    redraw_noisy_layer(generator, 3)
    assert torch.equal(torch.get_rng_state(), random)
    second = state(generator)
    assert changed(first, second) == layers
    redraw_noisy_layer(generator, 4)
    assert changed(second, state(generator)) == layers
    redraw_noisy_layer(generator, 3)
    assert changed(second, state(generator)) == set()
    weights = second["latent.noisy.layers.0.weight"]
    assert weights.mean() == pytest.approx(0, abs=0.1)
    assert weights.std() == pytest.approx(1, abs=0.1)
    assert second["latent.noisy.layers.0.bias"].abs().max() == 0


def test_redrawing_forgets_what_the_biases_learned() -> None:
    generator = build_generator(config(noisy_layers=2), INPUTS, 0)
    assert generator.latent.noisy is not None
    with torch.no_grad():
        for layer in generator.latent.noisy.layers:
            assert isinstance(layer, torch.nn.Linear)
            layer.bias.fill_(3.0)
    redraw_noisy_layer(generator, 3)
    assert state(generator)["latent.noisy.layers.1.bias"].abs().max() == 0


@pytest.mark.parametrize("conditioning", ["none", "embed_concat"])
def test_redrawing_does_nothing_without_a_noisy_layer(conditioning: str) -> None:
    generator = build_generator(config(conditioning=conditioning), INPUTS, 0)
    before = state(generator)
    redraw_noisy_layer(generator, 3)
    assert changed(before, state(generator)) == set()


def test_a_restarted_generator_keeps_its_label_embeddings() -> None:
    generator = build_generator(config(), INPUTS, 0)
    kept = embeddings(generator).clone()
    restart_generator(generator, 5)
    assert torch.equal(embeddings(generator), kept)
    fresh = state(build_generator(config(), INPUTS, 5))
    assert changed(state(generator), fresh) == {"latent.noisy.embeddings"}
