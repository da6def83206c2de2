"""Which rung is shipped: the simplest one that no other beats beyond noise."""

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
    """Walk up the ladder and stop at the first rung that no other rung beats.

    "Beats" is a paired test on the held-out samples (see `evaluate.beaten_by`): a rung that is truly no better
    displaces a simpler one in at most 5 % of all cases. The majority class is a floor and no rung to ship: it is
    passed over wherever another rung loses less on the held-out samples, by however little.
    """
    probabilities = [entry.probabilities for entry in entries]
    losses = [brier_losses(y, p).mean() for p in probabilities]
    for index, own in enumerate(probabilities):
        if entries[index].rung.method == FLOOR and losses[index] > min(losses):
            continue
        others = [p for j, p in enumerate(probabilities) if j != index]
        if not any(one["beats"] for one in beaten_by(y, own, others, seed=seed)):
            break
    comparisons = tuple(
        {"rung": j, "against": index, **paired(y, own, p, seed=seed)} for j, p in enumerate(probabilities) if j != index
    )
    sentence = _sentence(entries, index, comparisons)
    floors = [p for entry, p in zip(entries, probabilities, strict=True) if entry.rung.method == FLOOR and p is not own]
    if any(not beaten_by(y, floor, [own], seed=seed)[0]["beats"] for floor in floors):
        sentence += f" {len(y)} labels are too few to show that it beats always guessing the most frequent class."
    return Verdict(index=index, sentence=sentence, comparisons=comparisons)


def _sentence(entries: Sequence[Entry], index: int, comparisons: Sequence[dict[str, Any]]) -> str:
    """Why this rung, in words that need no statistics."""
    entry = entries[index]
    what = f"{entry.rung.method}{' on ' + entry.backbone if entry.backbone else ''}"
    how_good = f"It is right on {_percent(entry.metrics['accuracy'])} of held-out samples"
    if len(entries) == 1:
        return f"Shipped: {what}, the only rung. {how_good}."
    better = max(comparisons, key=lambda one: one["accuracy"]["value"])
    gain = 100 * better["accuracy"]["value"]
    rival = entries[better["rung"]].rung.name
    rest = f"{rival} looks {gain:.1f} points better, which is within the noise" if gain > 0 else "no other rung looks better"
    transfer = "" if entry.transfer else " No pretrained network was needed."
    return f"Shipped: {what}, the simplest rung that no other beats beyond noise. {how_good}; {rest}.{transfer}"


def _percent(share: Estimate) -> str:
    return f"{100 * share.value:.1f} % [{100 * share.low:.1f}, {100 * share.high:.1f}]"
