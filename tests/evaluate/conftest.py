"""A rung that trained a backbone, as a run writes it: two folds, of which one was repaired, and all samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from torchgraft.train.history import History

LAYERS = ("embeddings", "blocks.0", "blocks.1", "blocks.2", "head")
EPOCHS = (1, 3)
STEPS = 20


def made_history(name: str, *, held_out: bool = True, seed: int = 0, explodes: bool = False) -> dict[str, Any]:
    """Two phases, the head and then all layers, 20 steps an epoch; `explodes` undoes an epoch and halves the rate."""
    rng = np.random.default_rng(seed)
    history = History()
    if held_out:
        history.legs.append({"phase": "before", "step": 0, "rate": 0.0, "train_loss": None, **_score(0, rng)})
    factor, done = 1.0, 0
    for index, epochs in enumerate(EPOCHS):
        what = ("head", "all layers")[index]
        phase = f"lp_ft, {name}: {what}"
        history.phases.append(_phase(phase, index, epochs))
        left = epochs
        while left:
            for step in range(STEPS):
                part = (epochs - left + step / STEPS) / epochs
                loss = 1.2 * np.exp(-0.5 * (done + step / STEPS)) + 0.2 + 0.05 * rng.normal()
                history.add_point(float(loss), 3e-4 * factor * (1 - part))
            row = {"phase": phase, "step": history.steps, "train_loss": history.smooth, "rate": 3e-4 * factor}
            if explodes and done == 2:
                reason, explodes, factor = "the held-out loss went from 0.9 to 5.2", False, 0.1
                history.legs.append(row | {"loss": 5.2, "accuracy": 0.2, "base": 1.8})
                repair = {"phase": phase, "step": history.steps, "kind": "explosion", "reason": reason}
                history.repairs.append(repair | {"factor": factor})
                continue
            done, left = done + 1, left - 1
            history.legs.append(row | (_score(done, rng) if held_out else {}))
            history.best = len(history.legs) - 1
    history.seconds, history.cpu_seconds, history.average = 12.5, 21.0, "last"
    return history.to_dict()


def _score(epoch: int, rng: np.random.Generator) -> dict[str, float]:
    return {
        "loss": 1.1 - 0.1 * epoch + 0.01 * rng.normal(),
        "accuracy": 0.7 + 0.03 * epoch + 0.005 * rng.normal(),
        "base": 1.8,
    }


def _phase(name: str, index: int, epochs: int) -> dict[str, Any]:
    groups = [{"name": "head", "rate": 3e-4}] if not index else []
    for depth, layer in enumerate(LAYERS if index else ()):
        rate = 3e-4 * 0.65 ** (len(LAYERS) - 1 - depth)
        groups += [{"name": layer, "rate": rate}, {"name": f"{layer} (no decay)", "rate": rate}]
    return {
        "name": name,
        "rate": 3e-4,
        "norm": ("frozen", "affine")[index],
        "epochs": epochs,
        "steps": epochs * STEPS,
        "trained": 22_700_000 if index else 2_310,
        "parameters": 22_700_000,
        "groups": groups,
    }


@pytest.fixture(scope="session")
def make_history() -> Callable[..., dict[str, Any]]:
    """`made_history`."""
    return made_history


@pytest.fixture
def rung() -> dict[str, Any]:
    """Two folds and all samples; the third epoch is the one that is kept."""
    return {
        "rung": 1,
        "method": "lp_ft",
        "backbone": "tuned/packaged/minilm_l6",
        "metrics": {"accuracy": {"value": 0.8, "low": 0.75, "high": 0.85}},
        "seconds": 41.0,
        "cpu_seconds": 63.0,
        "memory": 1_234_000_000,
        "held_out": 200,
        "options": {"rate": 3e-4, "epochs": 3, "of": 4, "folds": 2},
        "note": "rate 3.0e-04, epoch 3 of 4, 2 folds",
        "training": [
            made_history("fold 1 of 2", seed=1),
            made_history("fold 2 of 2", seed=2, explodes=True),
            made_history("all samples", seed=3, held_out=False),
        ],
    }
