"""What a method gives the loop: a step that turns a batch into a loss, and the phases in which it trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from torchgraft.train.groups import Group
from torchgraft.train.schedule import Schedule, cosine


@dataclass(frozen=True, eq=False)
class Batch:
    """B samples: `inputs` as the network takes them, `y` (B int64 classes, B x C soft targets, or B x H x W int64
    classes of pixels; None: unlabelled).

    `rows` are their positions in the loader.
    """

    inputs: tuple[Tensor, ...]
    y: Tensor | None
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        if device.type == "cpu":
            return self
        inputs = tuple(x.to(device, non_blocking=True) for x in self.inputs)
        return Batch(inputs, None if self.y is None else self.y.to(device, non_blocking=True), self.rows)


class Loader(Protocol):
    """N samples that can be asked for in any order."""

    def __len__(self) -> int:
        """N."""
        ...

    def plan(self, batch: int, seed: int | None, among: np.ndarray | None = None) -> list[np.ndarray]:
        """The positions of each batch of one epoch, the same for the same `seed`; None: a fixed order, for measuring.

        Every position (of `among` where given) comes once; batches hold `batch` at most and are of like size.
        """
        ...

    def load(self, rows: np.ndarray, generator: torch.Generator | None) -> Batch:
        """The samples at `rows`; augmented with `generator`'s randomness alone, or plain where it is None."""
        ...


class Step(nn.Module):
    """Everything that a method trains, as one module: `forward(batch, progress)` gives the mean loss of the batch.

    `progress` runs from 0 to 1 over the planned steps of a phase, for what changes on the way (a gradient reversal's
    weight, say). A step owns its networks (backbone, head, discriminator) as sub-modules: what is registered is
    moved, averaged, saved and restored. Its randomness is torch's global generator, which the loop seeds before every
    step from the run's seed and the step's number.
    """

    def forward(self, batch: Batch, progress: float) -> Tensor:
        """A scalar: the mean over the batch's samples."""
        raise NotImplementedError

    def before_epoch(self, epoch: int) -> None:
        """Called before each epoch of a phase (pseudo-labels from the whole target, a memory to be filled)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Phase:
    """A stretch of training in which the same parameters train, at one rate and schedule.

    `groups` picks what trains out of the step: everything else is frozen. `rate` is multiplied by each group's factor
    and by `schedule(p)`, p running from 0 to 1 over the phase. `norm` is the BatchNorm policy (see `train.norm`).
    """

    name: str
    epochs: int
    rate: float
    groups: Callable[[Step], Sequence[Group]]
    norm: str = "frozen"
    schedule: Schedule = field(default_factory=cosine)


Validate = Callable[[Step], tuple[dict[str, float], np.ndarray]]
"""Measures a step on held-out samples. Scores: `loss` (less is better, and what is watched), `base` (the loss of the
class frequencies), and whatever else is worth a curve; and the outputs (M x C) that they come from."""
