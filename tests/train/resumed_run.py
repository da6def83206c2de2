"""Train with everything that has a state; the first argument names the checkpoint and where the digest goes.

Run by `test_loop.py` in a process of its own, which it kills.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch
from conftest import Net, Noisy, Problem, head_only, phase

from torchgraft.core.files import digest, write_text
from torchgraft.train.loader import Subset
from torchgraft.train.loop import LoopOptions, train


class Slow(Net):
    """Slow enough to be killed on the way."""

    def forward(self, batch, progress):
        time.sleep(0.005)
        return super().forward(batch, progress)


def main(base: Path) -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 2, 4, 4)).astype(np.float32), np.arange(60) % 3
    loader = Noisy(x, y, classes=3)
    problem = Problem(loader, Subset(loader, np.arange(37)), np.arange(37, 60))
    step = Slow(drop=0.2)
    base.with_suffix(".ready").touch()
    done = train(
        step,
        [phase(epochs=4, groups=head_only, name="head"), phase(epochs=6, norm="train")],
        problem.fit,
        options=LoopOptions(batch=8, ema=0.9, leg=2),
        validate=problem.measure,
        checkpoint=base.with_suffix(".safetensors"),
    )
    arrays = [tensor.numpy() for tensor in step.state_dict().values()] + list(done.outputs)
    losses = repr([leg["train_loss"] for leg in done.history.legs])
    write_text(base.with_suffix(".digest"), digest([*(array.tobytes() for array in arrays), losses]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
