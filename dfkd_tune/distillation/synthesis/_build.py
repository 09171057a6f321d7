"""From a configuration to its synthesis."""

import torch
from torch import nn

from dfkd_tune.classifiers import TappedNetwork
from dfkd_tune.distillation._config import DistillationConfig
from dfkd_tune.distillation._cuda_graphs import Capture
from dfkd_tune.distillation.generators import Generator, build_generator
from dfkd_tune.distillation.synthesis._image_bank import ImageBank
from dfkd_tune.distillation.synthesis._labels import Labels
from dfkd_tune.distillation.synthesis._loss import SynthesisLoss
from dfkd_tune.distillation.synthesis._rounds import RoundSynthesis
from dfkd_tune.distillation.synthesis._stream import StreamSynthesis
from dfkd_tune.distillation.terms import Objective
from dfkd_tune.inputs import InputSpecification

Synthesis = StreamSynthesis | RoundSynthesis


def first_generator(
    config: DistillationConfig, inputs: InputSpecification, device: torch.device
) -> Generator | None:
    """The generator with its first weights; None where pixels are optimised.

    Raises:
        UsageError: if it does not suit the images.
    """
    if config.synthesis.optimise == "pixels":
        return None
    made = build_generator(config.generator, inputs, config.seed + 1).to(device)
    made.to(memory_format=torch.channels_last)
    return made


def build_synthesis(
    config: DistillationConfig,
    inputs: InputSpecification,
    generator: Generator | None,
    objective: Objective,
    teacher: TappedNetwork,
    student: TappedNetwork,
    bank: ImageBank | None,
    source: torch.Generator,
    capture: Capture | None = None,
) -> Synthesis:
    """The synthesis that a configuration asks for.

    Args:
        config: of the distillation.
        inputs: shape, normalisation and classes of an image.
        generator: from `first_generator`.
        objective: of the generator.
        teacher: frozen.
        student: trained elsewhere.
        bank: kept images.
        source: of random numbers.
        capture: of the device, if steps are to be captured and replayed.
    """
    head: nn.Module = teacher.head
    labels = Labels(config.schedule.label_sampling, inputs.num_classes, head, source)
    mode = config.schedule.student_mode_in_generator_step
    loss = SynthesisLoss(objective, teacher, student, mode)
    if config.synthesis.kind == "rounds":
        if bank is None:
            raise ValueError("rounds need an image bank")
        return RoundSynthesis(config, inputs, generator, loss, labels, bank, source, capture)
    if generator is None:
        raise ValueError("a stream needs a generator")
    return StreamSynthesis(config, generator, loss, labels, source, capture)
