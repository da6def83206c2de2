"""Train with everything that has a state, again and again killed on the way; print what came out as JSON.

Arguments: a folder for the checkpoints, and how many runs. `test_loop.py` starts it. A run is a forked process, killed
with SIGKILL at a random moment up to three times.
"""

from __future__ import annotations

import json
import os
import random
import signal
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


def run(base: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 2, 4, 4)).astype(np.float32), np.arange(60) % 3
    loader = Noisy(x, y, classes=3)
    problem = Problem(loader, Subset(loader, np.arange(37)), np.arange(37, 60))
    step = Slow(drop=0.2)
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


def forked(base: Path) -> int:
    """The number of a child process that trains."""
    child = os.fork()
    if child:
        return child
    try:
        run(base)
    finally:
        os._exit(0)


def main(folder: Path, rounds: int) -> None:
    torch.set_num_threads(1)
    run(folder / "whole")
    begin = time.monotonic()
    os.waitpid(forked(folder / "again"), 0)
    took = time.monotonic() - begin
    rng, killed, digests = random.Random(0), 0, []
    for i in range(rounds):
        base = folder / f"killed-{i}"
        for _ in range(3):
            child = forked(base)
            time.sleep(rng.uniform(0.1, 0.9) * took)
            os.kill(child, signal.SIGKILL)
            killed += os.waitpid(child, 0)[1] == signal.SIGKILL
        os.waitpid(forked(base), 0)
        digests.append(base.with_suffix(".digest").read_text())
    expected = (folder / "whole.digest").read_text()
    print(json.dumps({"expected": expected, "digests": digests, "killed": killed}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
