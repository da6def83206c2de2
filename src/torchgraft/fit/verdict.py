"""Which rung is shipped: the simplest one that no other beats beyond noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from torchgraft.core.types import Estimate
from torchgraft.evaluate import beaten_by, paired
from torchgraft.fit.ladder import Entry


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The chosen rung (position in the ladder), one sentence for people, and every comparison with the chosen one."""

    index: int
    sentence: str
    comparisons: tuple[dict[str, Any], ...]


def choose(entries: Sequence[Entry], y: np.ndarray, *, seed: int = 0) -> Verdict:
    """Walk up the ladder and stop at the first rung that no other rung beats.

    "Beats" is a joint paired bootstrap over the held-out samples (see `evaluate.beaten_by`), so the chance that any
    of several rungs that are truly no better displaces a simpler one is at most 5 %.
    """
    probabilities = [entry.probabilities for entry in entries]
    for index, own in enumerate(probabilities):
        others = [p for j, p in enumerate(probabilities) if j != index]
        outcomes = beaten_by(y, own, others, seed=seed)
        if not any(outcome["beats"] for outcome in outcomes):
            break
    rivals = [j for j in range(len(entries)) if j != index]
    comparisons = tuple(
        {"rung": j, "against": index, "beats": False, **paired(y, own, probabilities[j], seed=seed)} for j in rivals
    )
    return Verdict(index=index, sentence=_sentence(entries, index, comparisons), comparisons=comparisons)


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
