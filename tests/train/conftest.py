"""A tiny problem with everything that can go wrong when training goes on: dropout, augmentation, BatchNorm, phases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from torchgraft.train.groups import Group, parameter_groups
from torchgraft.train.loader import ArrayLoader, Subset, outputs
from torchgraft.train.step import Batch, Phase, Step


class Net(Step):
    """A convolution in channels_last, BatchNorm, dropout, and a linear head."""

    def __init__(self, *, seed: int = 0, drop: float = 0.0, classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.backbone = nn.Sequential(
            nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 2), nn.ReLU(), nn.Flatten()
        ).to(memory_format=torch.channels_last)
        self.drop = nn.Dropout(drop)
        self.head = nn.Linear(5, classes)

    def forward(self, batch: Batch, progress: float) -> Tensor:
        return functional.cross_entropy(self.logits(batch), batch.y)

    def logits(self, batch: Batch) -> Tensor:
        return self.head(self.drop(self.backbone(batch.inputs[0])))


class Noisy(ArrayLoader):
    """Augmented with noise from the generator."""

    def load(self, rows: np.ndarray, generator: torch.Generator | None) -> Batch:
        batch = super().load(rows, generator)
        if generator is None:
            return batch
        (x,) = batch.inputs
        return Batch((x + 0.1 * torch.randn(x.shape, generator=generator),), batch.y, rows)


class Stopped(Exception):
    """The power went out."""


class Plain:
    """A loader without its augmentation."""

    def __init__(self, loader) -> None:
        self.loader, self.plan = loader, loader.plan

    def __len__(self) -> int:
        return len(self.loader)

    def load(self, rows, generator):
        return self.loader.load(rows, None)


class Fails:
    """A loader that gives up at its n-th batch."""

    def __init__(self, loader, after: int) -> None:
        self.loader, self.left, self.plan = loader, after, loader.plan

    def __len__(self) -> int:
        return len(self.loader)

    def load(self, rows, generator):
        self.left -= 1
        if self.left < 0:
            raise Stopped
        return self.loader.load(rows, generator)


@dataclass
class Problem:
    """Rows for training, and a measure on others."""

    loader: Noisy
    fit: Subset
    held: np.ndarray

    def measure(self, step: Net) -> tuple[dict[str, float], np.ndarray]:
        y = self.loader.y[torch.from_numpy(self.held)]
        logits = outputs(self.loader, self.held, step.logits, batch=16, device=torch.device("cpu"))
        z = torch.from_numpy(logits)
        accuracy = float((z.argmax(1) == y).float().mean())
        loss = float(functional.cross_entropy(z, y))
        return {"loss": loss, "base": float(np.log(3)), "accuracy": accuracy}, logits


def everything(step: Net) -> list[Group]:
    return parameter_groups(step.backbone, step.head, decay=0.01, layer_decay=0.9)


def head_only(step: Net) -> list[Group]:
    return parameter_groups(step.backbone, step.head, decay=0.01, last=0)


def phase(epochs: int = 2, rate: float = 1e-2, groups: Callable[[Net], Sequence[Group]] = everything, **more) -> Phase:
    return Phase(name=more.pop("name", "all"), epochs=epochs, rate=rate, groups=groups, **more)


def weights(step: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in step.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Equal to the bit."""
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.fixture
def problem() -> Problem:
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = rng.normal(size=(60, 2, 4, 4)).astype(np.float32) + 0.7 * rng.normal(size=(3, 2, 4, 4)).astype(np.float32)[y]
    loader = Noisy(x, y, classes=3)
    return Problem(loader, Subset(loader, np.arange(37)), np.arange(37, 60))


@pytest.fixture
def tiny() -> SimpleNamespace:
    """What tests build trainings of."""
    return SimpleNamespace(
        Net=Net,
        Noisy=Noisy,
        Plain=Plain,
        Fails=Fails,
        Stopped=Stopped,
        everything=everything,
        head_only=head_only,
        phase=phase,
        weights=weights,
        same=same,
    )
