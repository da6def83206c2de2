"""How good a graft is on labelled samples, and whether another one is better: as its task measures it."""

from __future__ import annotations

from typing import Any

from torchgraft.core import registry
from torchgraft.core.errors import DataError, shorten
from torchgraft.core.progress import SILENT, Progress
from torchgraft.data import SPLITS, Finding, Samples
from torchgraft.model import Graft


def held_out(samples: Samples, split: str = "auto") -> tuple[Samples, str]:
    """The samples to evaluate on and the name of what they are: one of train, val, test, or all.

    auto: the test part where the data has one, else its val part, else all of it. Raises `DataError` where the data
    has no such part.
    """
    known = [name for name in SPLITS if (samples.split == name).any()]
    if split == "auto":
        split = next((name for name in ("test", "val") if name in known), "all")
    if split == "all":
        return samples, split
    if split not in known:
        raise DataError(f"{samples.root} has no part called '{split}'. Known: {shorten([*known, 'all'])}.")
    return samples.of(split), split


def evaluate(
    graft: Graft, samples: Samples, *, progress: Progress = SILENT
) -> tuple[dict[str, Any], tuple[Finding, ...]]:
    """The scores of `graft` on `samples`, and which samples could not be read.

    Every sample needs a label that the graft knows; classes without a sample are fine. Raises `DataError`.
    """
    return registry.get("tasks", graft.task).evaluate(graft, samples, progress=progress)


def compare(
    a: Graft, b: Graft, samples: Samples, *, progress: Progress = SILENT
) -> tuple[dict[str, Any], tuple[Finding, ...]]:
    """`{"a": scores, "b": scores, "paired": how much better b is than a}` on the samples that both can read.

    Both must be of one task and know the same classes. Raises `DataError` where they don't, or where a label is
    unknown.
    """
    if a.task != b.task:
        raise DataError(f"two grafts are compared where they answer alike; these are of {a.task} and of {b.task}.")
    return registry.get("tasks", a.task).compare(a, b, samples, progress=progress)
