"""Students by the size of the images."""

import pytest

from dfkd_tune.classifiers import CLASSIFIERS, NetworkConfig, build_classifier, check_output
from dfkd_tune.inputs import InputSpecification
from search_spaces import get_space, students_for


def of_size(height: int, width: int, channels: int = 3) -> InputSpecification:
    return InputSpecification(
        channels=channels,
        height=height,
        width=width,
        mean=(0.5,) * channels,
        std=(0.5,) * channels,
        num_classes=10,
    )


def test_sizes_that_border_on_each_other() -> None:
    tiny, small, large = (students_for(of_size(side, side)) for side in (8, 32, 224))
    assert students_for(of_size(23, 23)) == tiny
    assert students_for(of_size(24, 24)) == small
    assert students_for(of_size(95, 95)) == small
    assert students_for(of_size(96, 96)) == large
    assert len({tiny, small, large}) == 3


def test_the_smaller_side_decides() -> None:
    assert students_for(of_size(224, 16)) == students_for(of_size(16, 16))
    assert students_for(of_size(32, 224)) == students_for(of_size(32, 32))


def test_the_stem_suits_the_size() -> None:
    assert not any(name.endswith("_imagenet") for name in students_for(of_size(95, 95)))
    assert "resnet18_imagenet" in students_for(of_size(96, 96))


@pytest.mark.parametrize(("side", "channels"), [(8, 1), (24, 3), (96, 3)])
def test_every_student_takes_the_smallest_image_of_its_size(side: int, channels: int) -> None:
    inputs = of_size(side, side, channels)
    students = students_for(inputs)
    assert len(set(students)) == len(students)
    for name in students:
        assert name in CLASSIFIERS
        check_output(build_classifier(NetworkConfig(architecture=name), inputs, 0), inputs)


def test_the_benchmarks_own_student_is_among_the_choices_at_any_size() -> None:
    for side in (8, 64, 224):
        space = get_space("cgdd").for_inputs(of_size(side, side), "resnet18_imagenet")
        (choices,) = [d.choices for d in space.dimensions if d.key == "student.architecture"]
        assert "resnet18_imagenet" in choices
        assert len(set(choices)) == len(choices)
        assert set(students_for(of_size(side, side))) <= set(choices)
