"""Which backbones a run stands on where none is named: all that came with packages, or what a ranking leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torchgraft.core import registry
from torchgraft.core.errors import OptionError
from torchgraft.core.journal import Journal
from torchgraft.core.progress import Progress
from torchgraft.data import Samples
from torchgraft.fit import plan
from torchgraft.fit._candidates import Limits, candidates, limits_of
from torchgraft.fit._inputs import backbone_names
from torchgraft.fit.ladder import Skipped
from torchgraft.fit.options import FitOptions

LARGEST = 500e6
"""Bytes of weights from which a network is not tried unasked, whatever lies in a cache."""

MOST = 3
"""Backbones that the frozen rungs, and their fusion, are given."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The backbones of a run, who was left out and why, and the ranking behind it in plain values, if there was one."""

    names: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()
    ranking: Mapping[str, Any] | None = field(default=None)

    @property
    def pick(self) -> str:
        """The backbone to start from, where there was a ranking; else empty."""
        return self.ranking["advice"]["backbone"] if self.ranking else ""


def choose_backbones(
    options: FitOptions, samples: Samples, *, deadline: float, progress: Progress, journal: Journal
) -> Choice:
    """The backbones named; or with auto what is here and within the limits (licence, size, latency).

    Those of packages alone, without limits, are all used: the ladder compares them itself. Where a hub's cache holds
    others, they race by `deadline` (see `ranking`), and the best `MOST` of those that ran to the end are used. With
    limits it is one backbone, the knee: several side by side would break them together.
    """
    names = backbone_names(options, samples.modality, samples.task)
    limits = limits_of(options)
    if options.backbone != plan.AUTO or not names:
        return Choice(names=names)
    if not registry.get("tasks", samples.task).POOLED:
        if limits != Limits():
            raise OptionError("--max-latency, --max-size and --licence rank by one label a sample: name a --backbone.")
        return Choice(names=names)
    known, skipped = candidates(samples.modality, plan.AUTO, limits)
    known = {name: about for name, about in known.items() if name in names or about.size <= LARGEST}
    if set(known) == set(names) and limits == Limits():
        return Choice(names=names)
    from torchgraft.fit import ranking  # here: most runs need no race

    def decide() -> dict[str, Any]:
        part = ranking.few(samples.take(samples.split != "test"), options.seed)
        contest = ranking.Networks(part, known, engine=options.engine, seed=options.seed, progress=progress)
        slow = contest.too_slow(limits.latency)
        rows = ranking.run(contest, (), deadline=deadline)
        used = _used(rows, alone=limits != Limits())
        progress.say(ranking.advice(rows))
        return {
            "names": used,
            "skipped": [[one.name, one.reason] for one in (*skipped, *slow)]
            + [[row.name, row.place.let_go or "others did better"] for row in rows if row.name not in used],
            "ranking": ranking.told(rows),
        }

    decided = journal.once("backbones", decide, together=False)
    return Choice(
        names=tuple(decided["names"]),
        skipped=tuple(Skipped(name=name, reason=reason) for name, reason in decided["skipped"]),
        ranking=decided["ranking"],
    )


def _used(rows: Any, *, alone: bool) -> list[str]:
    """The knee alone, or with the best others that ran as far as it; the cheapest first."""
    knee = next(row for row in rows if row.knee)
    others = [row for row in rows if row.place.samples == knee.place.samples and row is not knee]
    used = [knee] if alone else [knee, *others[: MOST - 1]]
    return [row.name for row in sorted(used, key=lambda row: row.about.parameters)]
