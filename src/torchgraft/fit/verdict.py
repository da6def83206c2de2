"""Which rung is shipped: the simplest one, until a later one beats it beyond noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torchgraft.core.types import Estimate
from torchgraft.fit.ladder import Entry


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The chosen rung (position in the ladder), one sentence for people, and every comparison with the chosen one."""

    index: int
    sentence: str
    comparisons: tuple[dict[str, Any], ...]


def leader(entries: Sequence[Entry], *, seed: int = 0) -> int:
    """Walk up the ladder: a rung takes the place of the simpler one where it beats it beyond noise. Its position.

    "Beats" is a paired test on the held-out samples that both answered (see the task's `Measured`): a rung that is
    truly no better is promoted in at most 5 % of all cases. A method that looks at no sample (a `floor`) is no rung to
    ship: it is passed over wherever another rung loses less on the held-out samples, by however little.
    """
    index = _start(entries)
    for j in range(index + 1, len(entries)):
        if entries[j].measured.beats(entries[index].measured, seed=seed):
            index = j
    return index


def choose(entries: Sequence[Entry], *, title: str = "accuracy", primary: str = "accuracy", seed: int = 0) -> Verdict:
    """The `leader`, with the sentence and the comparisons that tell why; `title` and `primary` name the main metric."""
    index = leader(entries, seed=seed)
    own = entries[index]
    comparisons = []
    for j, entry in enumerate(entries):
        # with the shipped rung, and with the one before: what each step of the ladder changed
        for other in {index, j - 1} - {j, -1}:
            against = entry.measured.against(entries[other].measured, seed=seed)
            comparisons.append({"rung": j, "against": other, **against})
    sentence = _sentence(entries, index, title, primary)
    floors = [entry for entry in entries if entry.floor and entry is not own]
    if any(not own.measured.beats(floor.measured, seed=seed) for floor in floors):
        sentence += (
            f" {len(own.measured.rows)} labels are too few to show that it beats always guessing the most "
            "frequent class."
        )
    return Verdict(index=index, sentence=sentence, comparisons=tuple(comparisons))


def _start(entries: Sequence[Entry]) -> int:
    """The first rung, or the second where the first is the floor and something loses less than it."""
    first = entries[0]
    return int(first.floor and any(other.measured.saves(first.measured) > 0 for other in entries[1:]))


def _sentence(entries: Sequence[Entry], index: int, title: str, primary: str) -> str:
    """Why this rung, in words that need no statistics."""
    entry = entries[index]
    what = f"{entry.rung.method}{' on ' + entry.backbone if entry.backbone else ''}"
    found = _percent(entry.metrics[primary])
    right = f"right on {found} of held-out samples" if primary == "accuracy" else f"{title} {found} on held-out samples"
    transfer = "" if entry.transfer else " No pretrained network was needed."
    if len(entries) == 1:
        return f"Shipped: {what}, the only rung, {right}.{transfer}"
    if index == len(entries) - 1:
        return f"Shipped: {what}, which beats the simpler rungs beyond noise, {right}.{transfer}"
    return f"Shipped: {what}, which no later rung of {len(entries)} beats beyond noise, {right}.{transfer}"


def _percent(share: Estimate) -> str:
    return f"{100 * share.value:.1f} % [{100 * share.low:.1f}, {100 * share.high:.1f}]"
