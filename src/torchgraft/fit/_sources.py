"""The features of every backbone that the budget allows, for the same samples."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from torchgraft import backbones, features
from torchgraft.core.errors import DataError, OptionError
from torchgraft.core.journal import Journal
from torchgraft.core.progress import Progress
from torchgraft.data import Finding, Samples
from torchgraft.features.speed import expected_seconds
from torchgraft.fit.ladder import Skipped


@dataclass(frozen=True, kw_only=True, eq=False)
class Sources:
    """What the ladder stands on: `samples` that every source could read, and the values of each source for them.

    `about` describes each backbone (for the artifact), `seconds` the extraction of each; `skipped` tells which
    backbones were left out and why.
    """

    samples: Samples
    blocks: dict[str, Any]
    about: dict[str, dict[str, Any]]
    findings: tuple[Finding, ...]
    skipped: tuple[Skipped, ...]
    seconds: dict[str, float]
    engines: dict[str, str]
    backbones: dict[str, backbones.Backbone]


def gather(
    samples: Samples,
    names: Sequence[str],
    *,
    engine: str,
    deadline: float,
    progress: Progress,
    journal: Journal | None = None,
    pooled: bool = True,
) -> Sources:
    """Extract features with each backbone of `names` as far as the time until `deadline` (monotonic) goes.

    Without `pooled` the backbones are loaded and nothing is extracted: methods read the samples themselves.

    The first backbone always gets its features: where the budget is too short for all samples, for a part of them.
    What the clock decides is asked of `journal`.
    """
    journal = journal or Journal()
    found: dict[str, features.Features] = {}
    used: dict[str, backbones.Backbone] = {}
    skipped: list[Skipped] = []
    findings: list[Finding] = []
    for name in names:
        backbone = backbones.load(name)
        if backbone.modality != samples.modality:
            raise OptionError(f"{name} takes {backbone.modality} samples, the target holds {samples.modality} samples.")
        used[name] = backbone
        if not pooled:
            continue
        expected, left = journal.once(
            f"features:{name}",
            lambda: [expected_seconds(samples, backbone, engine=engine), deadline - time.monotonic()],  # noqa: B023 - called at once
            together=False,
        )
        if expected > left and found:
            reason = f"its features would take {expected:.0f} s, the budget has {max(left, 0):.0f} s left"
            skipped.append(Skipped(name=name, reason=reason))
            del used[name]
            continue
        if expected > max(left, 1.0):
            samples, finding = _part_of(samples, max(left, 1.0) / expected)
            findings.append(finding)
        found[name] = features.extract(samples, backbone, engine=engine, progress=progress)
    return _together(samples, found, used, findings, skipped)


def _together(samples: Samples, found: dict, used: dict, findings: list, skipped: list) -> Sources:
    kept = np.arange(len(samples))
    for one in found.values():
        kept = np.intersect1d(kept, one.kept)
    if not len(kept):
        raise DataError(f"{samples.root}: not one sample could be read.")
    samples = samples.take(kept)
    blocks: dict[str, Any] = {name: one.z[np.searchsorted(one.kept, kept)] for name, one in found.items()}
    blocks[samples.modality] = samples.x
    return Sources(
        samples=samples,
        blocks=blocks,
        about={name: {**one.describe(), "pooling": one.pooling} for name, one in used.items()},
        findings=(*findings, *(finding for one in found.values() for finding in (*one.failed, *one.noted))),
        skipped=tuple(skipped),
        seconds={name: one.seconds for name, one in found.items()},
        engines={name: one.engine for name, one in found.items()},
        backbones=used,
    )


def _part_of(samples: Samples, share: float) -> tuple[Samples, Finding]:
    """A random part of the samples, with at least 10 of each class where there are as many."""
    rng = np.random.default_rng(0)
    order = rng.permutation(len(samples))
    rank = np.empty(len(samples), dtype=np.int64)
    for label in np.unique(samples.y):
        rows = order[samples.y[order] == label]
        rank[rows] = np.arange(len(rows))
    keep = (rank < 10) | (rng.random(len(samples)) < share)
    finding = Finding(
        kind="budget",
        severity="warning",
        count=int((~keep).sum()),
        message=f"the budget is too short for the features of all {len(samples)} samples",
        action=f"{int(keep.sum())} drawn at random were used",
    )
    return samples.take(keep), finding
