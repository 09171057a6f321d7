"""Which images the student trains on: new ones, kept ones, those of an average or of a memory."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dfkd_tune.classifiers import random_crops, random_flips
from dfkd_tune.distillation._config import DistillationConfig
from dfkd_tune.distillation._optimisation import adam, load_optimiser
from dfkd_tune.distillation.synthesis._batch import Batch, joined
from dfkd_tune.distillation.synthesis._image_bank import ImageBank
from dfkd_tune.distillation.synthesis._replay import ReplayMemory
from dfkd_tune.distillation.synthesis._rounds import RoundSynthesis
from dfkd_tune.distillation.synthesis._stream import StreamSynthesis
from dfkd_tune.distillation.terms import NO_LABEL
from dfkd_tune.inputs import InputSpecification


class StudentData:
    """Composes the student's batches.

    Args:
        config: of the distillation: shares of each kind.
        inputs: shape of an image.
        synthesis: gives new images, where it is a stream.
        bank: kept images; None for none.
        source: of random numbers on the device.
        host_source: of random numbers of the augmentation, on the CPU.
    """

    def __init__(
        self,
        config: DistillationConfig,
        inputs: InputSpecification,
        synthesis: StreamSynthesis | RoundSynthesis,
        bank: ImageBank | None,
        source: torch.Generator,
        host_source: torch.Generator,
    ) -> None:
        self.config, self.inputs, self.synthesis, self.bank = config, inputs, synthesis, bank
        self.source, self.host_source = source, host_source
        self.memory: ReplayMemory | None = None
        self.memory_optimiser: torch.optim.Adam | None = None
        self._batch: Batch | None = None
        replay = config.generative_replay
        if replay.share > 0:
            self.memory = ReplayMemory(replay, inputs, config.seed + 4).to(source.device)
            rate = config.generator_optimiser.learning_rate * replay.learning_rate_factor
            self.memory_optimiser = adam(self.memory.parameters(), rate, (0.9, 0.999))

    def begin_iteration(self) -> None:
        """Forget the batch that the steps of an iteration share."""
        self._batch = None

    def next(self) -> Batch:
        """The next student step's batch."""
        if self._batch is not None and self.config.schedule.reuse_batch:
            return self._batch
        self._batch = self._compose()
        return self._batch

    def _compose(self) -> Batch:
        count = self.config.schedule.batch_size
        if isinstance(self.synthesis, RoundSynthesis):
            return self._kept(count)
        parts, fresh = [], count
        replayed = round(self.config.image_bank.replay_share * count)
        if self.bank is not None and self.bank.filled and replayed:
            parts.append(self._kept(replayed))
            fresh -= replayed
        if self.synthesis.average is not None:
            share = min(fresh, round(self.config.generator_average.share * count))
            if share:
                parts.append(self.synthesis.fresh(share, averaged=True))
                fresh -= share
        remembered = min(fresh, round(self.config.generative_replay.share * count))
        if self.memory is not None and remembered:
            fresh -= remembered
            parts.append(self._remembered(remembered))
        if fresh or not parts:
            new = self.synthesis.fresh(count if not parts else fresh)
            parts.insert(0, new)
            if self.bank is not None:
                self.bank.add(new.images, new.labels)
            self._memorise(new.images)
        return joined(parts)

    def _kept(self, count: int) -> Batch:
        assert self.bank is not None
        kept = self.bank.sample(count, self.source)
        return replace(kept, images=self._augmented(kept.images))

    def _augmented(self, images: Tensor) -> Tensor:
        kind = self.config.image_bank.augmentation
        if kind == "crop_flip":
            height, width = self.inputs.height, self.inputs.width
            padding = max(1, min(height, width) // 8)
            images = functional.pad(images, (padding,) * 4, mode="reflect")
            images = random_crops(images, 0, height, width, self.host_source)
        return images if kind == "none" else random_flips(images, self.host_source)

    def _remembered(self, count: int) -> Batch:
        assert self.memory is not None
        self.memory.train()
        images = self.memory.sample(count, self.source)
        labels = torch.full((count,), NO_LABEL, dtype=torch.int64, device=images.device)
        return Batch(images=images, labels=labels)

    @torch.enable_grad()
    def _memorise(self, images: Tensor) -> None:
        if self.memory is None or self.memory_optimiser is None:
            return
        self.memory.train()
        loss = self.memory.loss(images, self.source)
        self.memory_optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.memory_optimiser.step()

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs to go on; tensors are those in use."""
        return {
            "bank": self.bank.state_dict() if self.bank else None,
            "memory": self.memory.state_dict() if self.memory else None,
            "memory_optimiser": (
                self.memory_optimiser.state_dict() if self.memory_optimiser else None
            ),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, whose tensors become those in use."""
        if self.bank is not None:
            self.bank.load_state_dict(state["bank"])
        if self.memory is not None and self.memory_optimiser is not None:
            self.memory.load_state_dict(state["memory"])
            load_optimiser(self.memory_optimiser, state["memory_optimiser"])
