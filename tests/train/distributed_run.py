"""Train on as many processes as `torchrun` starts; write what each of them ended with as JSON.

Argument: a folder. `test_engine.py` starts it, once with one process and once with two.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from conftest import Net as Plain
from conftest import Problem, head_only, phase
from torchgraft.core.files import digest
from torchgraft.train.loader import ArrayLoader, Subset
from torchgraft.train.loop import LoopOptions, train

TRACKER = "tensorboard" if find_spec("tensorboard") else ""


def problem() -> Problem:
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = rng.normal(size=(60, 2, 4, 4)).astype(np.float32) + rng.normal(size=(3, 2, 4, 4)).astype(np.float32)[y]
    loader = ArrayLoader(x, y, classes=3)
    return Problem(loader, Subset(loader, np.arange(37)), np.arange(37, 60))


def trained(folder: Path, name: str, *, rank: int, **more) -> dict:
    """Each process begins with other weights: those of the main one count."""
    made, step, seen = problem(), Plain(seed=rank), []
    normal = step.backbone[1]
    phases = [
        phase(epochs=1, groups=head_only, name="head"),
        phase(epochs=3, norm=more.pop("norm", "frozen"), name="all"),
    ]
    options = LoopOptions(batch=7, ema=0.8, **more.pop("options", {}))
    file = folder / name / f"{rank}.safetensors" if os.environ.get("RANK") else None
    done = train(
        step, phases, made.fit, options=options, validate=more.pop("validate", made.measure), checkpoint=file,
        on_leg=lambda history: seen.append(len(history.legs)), **more,
    )  # fmt: skip
    return {
        "curve": [loss for _, loss, _ in done.history.curve],
        "held": [leg["loss"] for leg in done.history.legs],
        "weights": digest([tensor.numpy().tobytes() for tensor in step.state_dict().values()]),
        "stopped": done.history.stopped,
        "best": done.history.best,
        "seen": seen,
        "steps": done.history.steps,
        "moved": bool(normal.running_mean.any()),
    }


def disagreeing(rank: int):
    """The main process sees its loss fall, the other one sees it rise."""
    scores = iter(range(100))
    return lambda step: ({"loss": (10.0 - next(scores)) if rank == 0 else 5.0 + next(scores)}, np.zeros((1, 3)))


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    rank = int(os.environ.get("RANK", "0"))
    report = {
        "frozen": trained(folder, "frozen", rank=rank),
        "pieces": trained(folder, "pieces", rank=rank, options={"micro": 2, "tracker": TRACKER, "logs": str(folder)}),
        "statistics": trained(folder, "statistics", rank=rank, norm="train"),
        "patience": trained(folder, "patience", rank=rank, options={"patience": 1}, validate=disagreeing(rank)),
        "deadline": trained(folder, "deadline", rank=rank, deadline=0.0 if rank == 0 else time.monotonic() + 1e6),
    }
    world = int(os.environ.get("WORLD_SIZE", "1"))
    (folder / f"{world}-{rank}.json").write_text(json.dumps(report))
    if world > 1:
        torch.distributed.barrier()
        os._exit(0)  # the end of an interpreter with gloo's threads may hang or abort


if __name__ == "__main__":
    main(Path(sys.argv[1]))
