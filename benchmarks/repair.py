"""Does training that repairs itself survive a rate set 100 times too high?

scikit-learn's digits (1797 pictures of 8 x 8, 10 classes), a small convolutional network from random weights, AdamW and
SGD, with and without held-out rows to watch. For each seed: accuracy on a test third at a good rate, at 100 times that
rate with repairs, and without. Prints one Markdown table for each kind of training.

    python benchmarks/repair.py --seeds 10
"""

from __future__ import annotations

import argparse
import math

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from torchgraft.train.groups import parameter_groups
from torchgraft.train.loader import ArrayLoader, Subset, outputs
from torchgraft.train.loop import LoopOptions, train
from torchgraft.train.repair import RepairOptions
from torchgraft.train.step import Batch, Phase, Step, Validate

RATES = {"adamw": 1e-2, "sgd": 1e-1}
OFF = RepairOptions(most=1, lower=1.0, loss_over=math.inf, norm_over=math.inf, lost=math.inf, rose=math.inf)
NEAR = 0.02
"""Accuracy that may be lost against the well-set run."""


class Net(Step):
    """Two convolutions and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Linear(128, 10)

    def forward(self, batch: Batch, progress: float) -> Tensor:
        """Mean cross entropy."""
        return functional.cross_entropy(self.logits(batch), batch.y)

    def logits(self, batch: Batch) -> Tensor:
        """B x 10."""
        return self.head(self.backbone(batch.inputs[0]))


class Digits:
    """The data, cut by `seed` into thirds: fit, held out, test."""

    def __init__(self, seed: int) -> None:
        x, y = load_digits(return_X_y=True)
        self.loader = ArrayLoader((x / 16).astype(np.float32).reshape(-1, 1, 8, 8), y, classes=10)
        self.y = y
        self.fit, self.held, self.test = np.array_split(np.random.default_rng(seed).permutation(len(y)), 3)

    def logits(self, step: Net, rows: np.ndarray) -> np.ndarray:
        """M x 10."""
        return outputs(self.loader, rows, step.logits, batch=256, device=torch.device("cpu"))

    def measure(self, step: Net) -> tuple[dict[str, float], np.ndarray]:
        """See `train.step.Validate`."""
        z = self.logits(step, self.held)
        loss = functional.cross_entropy(torch.from_numpy(z), torch.from_numpy(self.y[self.held]))
        return {"loss": float(loss), "base": math.log(10)}, z


def accuracy(seed: int, optimizer: str, rate: float, *, watched: bool, repair: RepairOptions) -> tuple[float, int]:
    """On the test third, and how often it was repaired."""
    digits = Digits(seed)
    torch.manual_seed(seed)
    step = Net()
    phase = Phase(
        name="all", epochs=8, rate=rate,
        groups=lambda step: parameter_groups(step.backbone, step.head, decay=0.01),
    )  # fmt: skip
    validate: Validate | None = digits.measure if watched else None
    options = LoopOptions(batch=16, optimizer=optimizer, repair=repair, seed=seed)
    done = train(step, [phase], Subset(digits.loader, digits.fit), options=options, validate=validate)
    found = digits.logits(step, digits.test).argmax(1) == digits.y[digits.test]
    return float(found.mean()), len(done.history.repairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--optimizer", nargs="*", choices=RATES, default=list(RATES))
    arguments = parser.parse_args()
    for optimizer in arguments.optimizer:
        for watched in (True, False):
            table(optimizer, watched, arguments.seeds)


def table(optimizer: str, watched: bool, seeds: int) -> None:
    rate = RATES[optimizer]
    print(f"\n## {optimizer}, {'with' if watched else 'without'} held-out rows\n")
    print(
        f"| seed | rate {rate:g} | repairs | rate {100 * rate:g}, repaired | repairs | rate {100 * rate:g} as it is |"
    )
    print("|---|---|---|---|---|---|")
    near = 0
    for seed in range(seeds):
        well, false = accuracy(seed, optimizer, rate, watched=watched, repair=RepairOptions())
        mended, repairs = accuracy(seed, optimizer, 100 * rate, watched=watched, repair=RepairOptions())
        broken, _ = accuracy(seed, optimizer, 100 * rate, watched=watched, repair=OFF)
        near += mended >= well - NEAR
        print(f"| {seed} | {well:.3f} | {false} | {mended:.3f} | {repairs} | {broken:.3f} |", flush=True)
    print(f"\n{near} of {seeds} repaired runs end within {NEAR:.0%} of the well-set one (target: 9 of 10).")


if __name__ == "__main__":
    main()
