"""Students by the size of the images: what a search chooses among."""

from dfkd_tune.inputs import InputSpecification

# Below 24 pixels, below 96, and above: another stem, and other depths, make sense.
SMALL, MEDIUM = 24, 96
_TINY_STUDENTS = ("resnet8", "resnet14", "convnet")
_SMALL_STUDENTS = (
    "convnet",
    "resnet8",
    "resnet20",
    "wrn16_1",
    "wrn16_2",
    "wrn40_1",
    "resnet18",
    "mobilenet_v2",
    "shufflenet_v2",
)
_LARGE_STUDENTS = ("resnet18_imagenet", "mobilenet_v2", "shufflenet_v2")


def students_for(inputs: InputSpecification) -> tuple[str, ...]:
    """The architectures that suit images of a size.

    Args:
        inputs: whose smaller side decides.
    """
    side = min(inputs.height, inputs.width)
    if side < SMALL:
        return _TINY_STUDENTS
    return _SMALL_STUDENTS if side < MEDIUM else _LARGE_STUDENTS
