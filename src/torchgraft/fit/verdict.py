"""Which rung is shipped: the simplest one, until a later one beats it beyond noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from torchgraft.core.types import Estimate
from torchgraft.evaluate import beaten_by, brier_losses, paired
from torchgraft.fit.ladder import Entry

FLOOR = "majority"
"""The method that looks at no sample."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The chosen rung (position in the ladder), one sentence for people, and every comparison with the chosen one."""

    index: int
    sentence: str
    comparisons: tuple[dict[str, Any], ...]


def leader(entries: Sequence[Entry], y: np.ndarray, *, seed: int = 0) -> int:
    """Walk up the ladder: a rung takes the place of the simpler one where it beats it beyond noise. Its position.

    "Beats" is a paired test on the held-out samples that both answered (see `evaluate.beaten_by`): a rung that is truly
    no better is promoted in at most 5 % of all cases. `y` holds the classes of all N rows. The majority class is a
    floor and no rung to ship: it is passed over wherever another rung loses less on the held-out samples, by however
    little.
    """
    index = _start(entries, y)
    for j in range(index + 1, len(entries)):
        if _beats(entries[j], entries[index], y, seed):
            index = j
    return index


def choose(entries: Sequence[Entry], y: np.ndarray, *, seed: int = 0) -> Verdict:
    """The `leader`, with the sentence and the comparisons that tell why."""
    index = leader(entries, y, seed=seed)
    own = entries[index]
    comparisons = []
    for j, entry in enumerate(entries):
        # with the shipped rung, and with the one before: what each step of the ladder changed
        for other in {index, j - 1} - {j, -1}:
            comparisons.append({"rung": j, "against": other, **paired(*shared(entries[other], entry, y), seed=seed)})
    sentence = _sentence(entries, index)
    if any(entry.rung.method == FLOOR and entry is not own and not _beats(own, entry, y, seed) for entry in entries):
        sentence += (
            f" {len(own.candidate.rows)} labels are too few to show that it beats always guessing the most "
            "frequent class."
        )
    return Verdict(index=index, sentence=sentence, comparisons=tuple(comparisons))


def shared(a: Entry, b: Entry, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Classes, and the probabilities of `a` and of `b`, on the held-out rows that both answered."""
    rows, of_a, of_b = np.intersect1d(a.candidate.rows, b.candidate.rows, return_indices=True)
    return y[rows], a.probabilities[of_a], b.probabilities[of_b]


def _beats(challenger: Entry, incumbent: Entry, y: np.ndarray, seed: int) -> bool:
    classes, own, other = shared(incumbent, challenger, y)
    return bool(beaten_by(classes, own, [other], seed=seed)[0]["beats"])


def _start(entries: Sequence[Entry], y: np.ndarray) -> int:
    """The first rung, or the second where the first is the floor and something loses less than it."""
    return int(entries[0].rung.method == FLOOR and any(_saves(entries[0], other, y) > 0 for other in entries[1:]))


def _saves(a: Entry, b: Entry, y: np.ndarray) -> float:
    """Mean Brier loss that `b` saves against `a`, on the rows that both answered."""
    classes, of_a, of_b = shared(a, b, y)
    return float((brier_losses(classes, of_a) - brier_losses(classes, of_b)).mean())


def _sentence(entries: Sequence[Entry], index: int) -> str:
    """Why this rung, in words that need no statistics."""
    entry = entries[index]
    what = f"{entry.rung.method}{' on ' + entry.backbone if entry.backbone else ''}"
    right = f"right on {_percent(entry.metrics['accuracy'])} of held-out samples"
    transfer = "" if entry.transfer else " No pretrained network was needed."
    if len(entries) == 1:
        return f"Shipped: {what}, the only rung, {right}.{transfer}"
    if index == len(entries) - 1:
        return f"Shipped: {what}, which beats the simpler rungs beyond noise, {right}.{transfer}"
    return f"Shipped: {what}, which no later rung of {len(entries)} beats beyond noise, {right}.{transfer}"


def _percent(share: Estimate) -> str:
    return f"{100 * share.value:.1f} % [{100 * share.low:.1f}, {100 * share.high:.1f}]"
