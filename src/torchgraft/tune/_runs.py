"""One training of a method: on some rows of a problem, from a checkpoint, within the time; and what it is scored by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from torchgraft.train.loader import Subset
from torchgraft.train.loop import SPENT, LoopOptions, Trained, train
from torchgraft.train.step import Loader, Phase, Step, Validate
from torchgraft.tune._path import calibrated_loss, sample_weights
from torchgraft.tune.base import Problem, Resources, Skip

MEASURE = 32
"""Samples of a batch without gradients."""


def run(
    step: Step,
    phases: Sequence[Phase],
    loader: Loader,
    rows: np.ndarray,
    resources: Resources,
    *,
    options: LoopOptions,
    validate: Validate | None,
    name: str,
) -> Trained:
    """Train on `rows` of the loader, with a checkpoint called `name` (empty: none).

    Raises `Skip` where the deadline came first: what is half trained is no candidate.
    """
    plain = "".join(c if c.isalnum() else "-" for c in name)
    trained = train(
        step,
        phases,
        Subset(loader, rows),
        options=replace(options, logs=str(resources.logs or "")),
        validate=validate,
        checkpoint=resources.folder / f"{plain}.safetensors" if resources.folder and name else None,
        deadline=resources.deadline,
        progress=resources.progress,
        on_leg=lambda history: resources.on_leg(history.to_dict()),
    )
    if trained.history.stopped == SPENT:
        raise Skip("the budget was spent before it was done")
    return trained


def lowered(runs: Sequence[Trained]) -> float:
    """What repairs made of the rate: the median factor over the runs."""
    return float(np.median([run.history.repairs[-1]["factor"] if run.history.repairs else 1.0 for run in runs]))


def scores(problem: Problem, rows: np.ndarray, class_weight: str) -> Callable[[np.ndarray | None], dict[str, float]]:
    """M x C logits of `rows` (None: not finite) -> calibrated log `loss`, `accuracy`, and the `base` of guessing."""
    y = problem.y[rows]
    weights = sample_weights(y, class_weight)
    shares = np.bincount(y, weights) / weights.sum()
    base = -float((shares[shares > 0] * np.log(shares[shares > 0])).sum())

    def score(logits: np.ndarray | None) -> dict[str, float]:
        if logits is None or not np.isfinite(logits).all():
            return {"loss": float("nan"), "accuracy": 0.0, "base": base}
        loss = calibrated_loss(y, logits.astype(np.float64), weights)[0]
        return {"loss": loss, "accuracy": float((logits.argmax(1) == y).mean()), "base": base}

    return score
