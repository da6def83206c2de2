"""The climb: every rung fitted and measured on the same held-out samples, the best so far always at hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torchgraft.core import ranks, registry
from torchgraft.core.progress import SILENT, Progress
from torchgraft.core.runtime import one_thread, peak_memory
from torchgraft.core.types import Result
from torchgraft.fit.plan import Rung
from torchgraft.tasks.base import Measured
from torchgraft.tune.base import Candidate, DenseCandidate, Problem, Skip, TooLong

_WORTH = 16
"""Mistakes of the best rung so far below which no training is begun: with half of them mended and one in eight newly
made (8 against 2), a sign test sees no difference (p = 0.055)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """One rung: its candidate, and what came of it on the held-out rows, as the task measures it.

    `seconds` is wall time, `cpu_seconds` that of all threads, `memory` the largest resident size in bytes meanwhile.
    `floor`: its method looks at no sample.
    """

    rung: Rung
    candidate: Candidate | DenseCandidate
    transfer: bool
    measured: Measured
    seconds: float
    cpu_seconds: float = 0.0
    memory: int = 0
    floor: bool = False

    @property
    def metrics(self) -> Result:
        """The numbers of its row."""
        return self.measured.metrics

    @property
    def backbone(self) -> str:
        """Where the features come from, for people: backbone names joined by +; empty where there is none."""
        return " + ".join(self.candidate.sources)


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A rung that was left out, before it was tried or after, and why."""

    name: str
    reason: str


def climb(
    problem: Problem,
    rungs: Sequence[Rung],
    *,
    deadline: float = float("inf"),
    progress: Progress = SILENT,
    after_each: Callable[[list[Entry]], None] = lambda entries: None,
) -> tuple[list[Entry], list[Skipped]]:
    """Fit and measure every rung that applies, until `deadline` (of `time.monotonic`).

    `after_each` is called with the entries so far, so that the best graft is on disk whatever happens next.
    """
    entries: list[Entry] = []
    skipped: list[Skipped] = []
    with progress.bar("climbing the ladder", len(rungs)) as bar:
        for rung in rungs:
            method = registry.get("tune", rung.method)
            reason = method.applies(problem)
            if not reason and entries and ranks.agree(time.monotonic() > deadline):
                reason = "the budget is spent"
            reason = reason or _hopeless(problem, rung, method, entries)
            if not reason:
                rung, entry, reason = _tried(problem, rung, method, entries)
                if entry:
                    entries.append(entry)
                    with one_thread():
                        after_each(entries)
            if reason:
                skipped.append(Skipped(name=rung.name, reason=reason))
            bar.advance()
    return entries, skipped


def _hopeless(problem: Problem, rung: Rung, method, entries: Sequence[Entry]) -> str:
    """Why training a backbone can't be shown to pay, whatever came of it; empty where it may."""
    if rung.asked or not getattr(method, "TRAINS", False) or not entries:
        return ""
    # a rung that answered a part of the held-out rows has few mistakes for that alone
    whole = [e for e in entries if len(e.measured.rows) == len(problem.held_out)]
    wrong = min((e.measured.mistakes for e in whole), default=_WORTH)
    if wrong >= _WORTH:
        return ""
    return (
        f"a simpler rung is wrong on {wrong} of {len(problem.held_out)} held-out samples only: "
        "were half of these mended, it could not be told from luck"
    )


def _tried(problem: Problem, rung: Rung, method, entries: Sequence[Entry]) -> tuple[Rung, Entry | None, str]:
    """The rung on the first of its places that the time is long enough for, and what came of it, or why nothing did."""
    places = _places(problem, rung, method, entries)
    for placed in places:
        try:
            return placed, _measure(problem, placed, method), ""
        except Skip as skip:
            reason = str(skip)
            if placed is places[-1] or not isinstance(skip, TooLong):
                break
        problem.resources.progress.say(f"{placed.name}: {reason}. A cheaper backbone is tried.")
    return placed, None, reason


def _places(problem: Problem, rung: Rung, method, entries: Sequence[Entry]) -> list[Rung]:
    """A rung that trains, on the backbone to train, then on the cheaper ones, for where the time is too short for it.

    It is the cheapest, until the probe of a costlier one beats it.
    """
    if rung.source is not None or not getattr(method, "TRAINS", False):
        return [rung]
    sources = list(problem.resources.backbones)
    scout, best = registry.get("tasks", problem.task).BASE, None
    for entry in entries:
        scouts = entry.rung.method == scout and entry.rung.source in sources
        if scouts and (best is None or entry.measured.beats(best.measured)):
            best = entry
    chosen = best.rung.source if best else sources[0]
    if len(sources) > 1:
        why = "no costlier one's linear probe beats its own beyond noise"
        problem.resources.progress.say(f"{rung.method} trains {chosen}: {why}")
    places = sources[sources.index(chosen) :: -1]
    return [replace(rung, source=source, options=replace(rung.options, source=source)) for source in places]


def _measure(problem: Problem, rung: Rung, method) -> Entry:
    start, cpu = time.monotonic(), time.process_time()
    peak_memory(reset=True)
    candidate = _fitted(problem, rung, method)
    return Entry(
        rung=rung,
        candidate=candidate,
        transfer=method.TRANSFER,
        measured=registry.get("tasks", problem.task).measure(problem, candidate),
        seconds=time.monotonic() - start,
        cpu_seconds=time.process_time() - cpu,
        memory=peak_memory(),
        floor=getattr(method, "FLOOR", False),
    )


def _fitted(problem: Problem, rung: Rung, method) -> Candidate | DenseCandidate:
    if getattr(method, "TRAINS", False):  # with as many threads as there are
        return method.fit(problem, rung.options)
    with one_thread():
        return method.fit(problem, rung.options)
