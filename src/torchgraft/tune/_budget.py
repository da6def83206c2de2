"""Wall time of training: what a sample costs on this machine, and what fits into the time that is left."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from torchgraft.train.loop import Trained
from torchgraft.train.step import Batch, Loader
from torchgraft.tune.base import Problem, Skip, TooLong

MARGIN = 1.25
"""How much longer training may take than measured before it no longer fits: others use the machine too."""

TRIAL = 800
"""Samples that a rate is tried on at most."""

TRIAL_EPOCHS = 2
"""Epochs of such a trial, where the method needs no more."""

_SEEN, _MOST = 4000, 20
"""Pictures that training sees at least where there is time, as long as that is at most so many epochs."""

_BACK = 2400
"""Pictures after which a training that first got worse is well above its start: 150 updates of 16."""


class Timed:
    """A loader that notes when its batches are asked for: the time between two of them is that of a step."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader
        self.asked: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self.loader)

    def plan(self, batch: int, seed: int | None, among: np.ndarray | None = None) -> list[np.ndarray]:
        """See `step.Loader`."""
        return self.loader.plan(batch, seed, among)

    def load(self, rows: np.ndarray, generator: torch.Generator | None) -> Batch:
        """See `step.Loader`."""
        self.asked.append((time.monotonic(), len(rows)))
        return self.loader.load(rows, generator)

    def seconds_a_sample(self) -> float:
        """Median over the steps but the first, which warms up, of wall time by samples; 0 where there are too few."""
        took = [(end - begin) / n for (begin, n), (end, _) in zip(self.asked[1:], self.asked[2:], strict=False)]
        return float(np.median(took)) if took else 0.0


def another_fits(problem: Problem, key: str, i: int, runs: Sequence[Trained]) -> bool:
    """Whether fold `i` and the training on all samples still fit, as long as the folds before (`runs`) took.

    The clock's word is written into the journal under `key`: a run that goes on must hear it again.
    """

    def fits() -> bool:
        sizes = [len(fit) for fit, _ in problem.folds]
        each = sum(run.history.seconds for run in runs) / sum(sizes[:i])
        return MARGIN * each * (sizes[i] + len(problem.y)) < problem.resources.deadline - time.monotonic()

    return problem.resources.journal.once(f"{key}, fold {i + 1}", fits)


def plan(
    *,
    n: int,
    folds: Sequence[tuple[int, int]],
    cost: float,
    left: float,
    epochs: int,
    trials: int,
    least: int = 1,
    tested: int = 0,
    modality: str = "",
    dips: bool = False,
    cheapest: bool = True,
) -> dict[str, Any]:
    """Epochs and folds that fit into `left` seconds with a `MARGIN`, `cost` being those of training on one sample.

    Without `epochs` given, the `wanted_epochs` are. First folds are given up, to two, then epochs, to a half: on one
    fold alone few gains can be told from luck. Where that is too long, one fold with all the epochs, and so on down to
    a third of them. A backbone that is not the `cheapest` needs two folds, and of pictures so many epochs that 2400 are
    seen: a whole training of a cheaper one is worth more than a part that only gets worse, or that proves nothing.
    `epochs` that are given stay. Trials of a rate are `trial_epochs` on at most `TRIAL` samples, longer ones or none
    where training `dips`; a range test sees `tested` of them; measuring costs a third of training.
    """
    wanted = epochs or wanted_epochs(n, modality, least)
    lowest = epochs or max(wanted // 3, least)
    if modality == "image" and not cheapest:
        lowest = max(lowest, min(math.ceil(_BACK / n), wanted))
    fewest = 1 if cheapest else min(2, len(folds))
    tries = [(tried, k) for tried in range(wanted, lowest - 1, -1) for k in range(len(folds), fewest - 1, -1)]
    for tried, k in sorted(tries, key=lambda one: one[1] == 1 < len(folds) or 2 * one[0] < wanted):
        samples = tested + n * tried + sum(fit * tried + held * (tried + 1) / 3 for fit, held in folds[:k])
        if each := trial_epochs(folds[0][0], tried, least, dips=dips):
            samples += trials * (min(folds[0][0], TRIAL) * each + min(folds[0][1], TRIAL))
        if MARGIN * cost * samples <= left:
            return {"epochs": tried, "folds": k, "seconds": cost * samples}
    if left <= 0:
        return {"skip": "the budget was spent before it began: the budget has 0 s left", "spent": True}
    return {"skip": f"it would take up to {MARGIN * cost * samples:.0f} s, the budget has {left:.0f} s left"}


def refusal(decided: Mapping[str, Any]) -> Skip:
    """What to raise for a plan that holds a `skip`: where the time is `spent`, no cheaper backbone fits either."""
    return (Skip if decided.get("spent") else TooLong)(decided["skip"])


def wanted_epochs(n: int, modality: str = "", least: int = 1) -> int:
    """Epochs over n samples where there is time: 150 / sqrt(n), 1 to 12, and `least` at least.

    Of few pictures up to 20, for 4000 samples in all: a network that must learn to see what ImageNet does not hold is
    at its worst after some 50 updates of 16 (`train.repair`), and comes back by 150 to 250. Texts gain nothing by it.
    """
    wanted = np.clip(round(150 / np.sqrt(n)), 1, 12)
    if modality == "image":
        wanted = max(wanted, min(round(_SEEN / n), _MOST))
    return max(int(wanted), least)


def trial_epochs(n: int, epochs: int, least: int = 1, *, dips: bool = False) -> int:
    """Epochs of the trial of a rate on at most `TRIAL` of n samples, for a training of `epochs`; 0: none is worth it.

    Two, or `least`. Where training `dips` (of pictures, from a fitted head, it gets worse first), as many as see 2400:
    before that, the rate that does least looks best. Where that is more than half of the training itself, none.
    """
    wanted, part = max(TRIAL_EPOCHS, least), min(n, TRIAL)
    if not dips:
        return min(epochs, wanted)
    wanted = max(wanted, math.ceil(_BACK / part))
    return wanted if 2 * wanted * part <= epochs * n else 0
