"""What fine-tuning would take, before it is begun: a few real steps are timed, the plan is asked for the rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from torchgraft.tune.base import Problem, take

TIMED_ROWS = 64
"""Samples that are decoded for it."""


def expected_seconds(problem: Problem, source: str) -> float:
    """Wall seconds of LP-FT on `source` as it would run unhurried: all folds, trials of the rate, the last training.

    The cost of a sample is measured on this machine in a few steps with the real network, from a random head, on a few
    of the problem's rows, until its deadline. NaN where too few steps could be timed.
    """
    from torchgraft.tune._budget import plan  # here: these load torch, which planning needs not
    from torchgraft.tune._finetune import _FineTuning
    from torchgraft.tune._options import TrainOptions
    from torchgraft.tune._recipe import RATES, Recipe

    fit = problem.folds[0][0]
    rows = np.sort(np.random.default_rng(problem.seed).permutation(fit)[:TIMED_ROWS])
    few = Problem(
        blocks={name: take(values, rows) for name, values in problem.blocks.items()},
        y=problem.y[rows],
        classes=problem.classes,
        folds=((np.arange(len(rows)), np.arange(len(rows))),),
        seed=problem.seed,
        resources=replace(problem.resources, backbones={source: problem.resources.backbones[source]}),
    )
    tuning = _FineTuning(few, TrainOptions(source=source), Recipe(), "lp_ft")
    cost = tuning._seconds_a_sample(None, few.folds[0][0])
    if not cost:
        return float("nan")
    whole = plan(
        n=len(problem.y),
        folds=[(len(fit), len(held)) for fit, held in problem.folds],
        cost=cost,
        left=float("inf"),
        epochs=0,
        trials=len(RATES),
        modality=tuning.backbone.modality,
        dips=tuning.dips,
    )
    return whole["seconds"]
