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


def choose(entries: Sequence[Entry], y: np.ndarray, *, seed: int = 0) -> Verdict:
    """Walk up the ladder: a rung takes the place of the simpler one where it beats it beyond noise.

    "Beats" is a paired test on the held-out samples (see `evaluate.beaten_by`): a rung that is truly no better is
    promoted in at most 5 % of all cases. The majority class is a floor and no rung to ship: it is passed over wherever
    another rung loses less on the held-out samples, by however little.
    """
    probabilities = [entry.probabilities for entry in entries]
    index = _start(entries, y)
    for j in range(index + 1, len(entries)):
        if beaten_by(y, probabilities[index], [probabilities[j]], seed=seed)[0]["beats"]:
            index = j
    own = probabilities[index]
    comparisons = tuple(
        {"rung": j, "against": index, **paired(y, own, p, seed=seed)} for j, p in enumerate(probabilities) if j != index
    )
    sentence = _sentence(entries, index)
    floors = [p for entry, p in zip(entries, probabilities, strict=True) if entry.rung.method == FLOOR and p is not own]
    if any(not beaten_by(y, floor, [own], seed=seed)[0]["beats"] for floor in floors):
        sentence += f" {len(y)} labels are too few to show that it beats always guessing the most frequent class."
    return Verdict(index=index, sentence=sentence, comparisons=comparisons)


def _start(entries: Sequence[Entry], y: np.ndarray) -> int:
    """The first rung, or the second where the first is the floor and something loses less than it."""
    losses = [brier_losses(y, entry.probabilities).mean() for entry in entries]
    return 1 if entries[0].rung.method == FLOOR and losses[0] > min(losses) else 0


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
