"""The climb: every rung fitted and measured on the same held-out samples, the best so far always at hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torchgraft.core import ranks, registry
from torchgraft.core.progress import SILENT, Progress
from torchgraft.core.runtime import one_thread, peak_memory
from torchgraft.core.types import Result
from torchgraft.fit.plan import Rung, runs_backbone
from torchgraft.tasks.base import Measured
from torchgraft.tune.base import Candidate, DenseCandidate, Problem, Skip, TooLong

NEAR = 0.005
"""So much less than the best backbone is expected to reach may be given up for a cheaper one."""

_WORTH = 16
"""Mistakes of the best rung so far below which no backbone is run again: with half of them mended and one in eight
newly made (8 against 2), a sign test sees no difference (p = 0.055)."""


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
    pick: str = "",
    deadline: float = float("inf"),
    progress: Progress = SILENT,
    after_each: Callable[[list[Entry]], None] = lambda entries: None,
) -> tuple[list[Entry], list[Skipped]]:
    """Fit and measure every rung that applies, until `deadline` (of `time.monotonic`).

    `pick`: the backbone to train, where a ranking named one. `after_each` is called with the entries so far, so that
    the best graft is on disk whatever happens next.
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
                rung, entry, reason = _tried(problem, rung, method, entries, pick)
                if entry:
                    entries.append(entry)
                    with one_thread():
                        after_each(entries)
            if reason:
                skipped.append(Skipped(name=rung.name, reason=reason))
            bar.advance()
    return entries, skipped


def _hopeless(problem: Problem, rung: Rung, method, entries: Sequence[Entry]) -> str:
    """Why running a backbone again can't be shown to pay, whatever came of it; empty where it may."""
    if rung.asked or not runs_backbone(method) or not entries:
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


def _tried(
    problem: Problem, rung: Rung, method, entries: Sequence[Entry], pick: str = ""
) -> tuple[Rung, Entry | None, str]:
    """The rung on the first of its places that the time is long enough for, and what came of it, or why nothing did."""
    places = _places(problem, rung, method, entries, pick)
    for placed in places:
        try:
            return placed, _measure(problem, placed, method), ""
        except Skip as skip:
            reason = str(skip)
            if placed is places[-1] or not isinstance(skip, TooLong):
                break
        problem.resources.progress.say(f"{placed.name}: {reason}. A cheaper backbone is tried.")
    return placed, None, reason


def _places(problem: Problem, rung: Rung, method, entries: Sequence[Entry], pick: str = "") -> list[Rung]:
    """A rung that runs a backbone, on the one to take, then on the cheaper ones, for where the time is too short.

    It is the `pick` of a ranking, or else what the ladder's own rungs say.
    """
    if rung.source is not None or not runs_backbone(method):
        return [rung]
    sources = list(problem.resources.backbones)
    chosen, why = (pick, "the ranking's pick") if pick in sources else _knee(problem, sources, entries)
    verb = "trains" if getattr(method, "TRAINS", False) else "looks through"
    first = f"{verb} {chosen}, {why}" if len(sources) > 1 else ""
    if first:
        problem.resources.progress.say(f"{rung.method} {first}")
    places = sources[sources.index(chosen) :: -1]
    whys = [first] + [f"{verb} {source}: the time is too short for {chosen}" for source in places[1:]]
    return [
        replace(rung, source=source, why=why, options=replace(rung.options, source=source))
        for source, why in zip(places, whys, strict=True)
    ]


def _knee(problem: Problem, sources: Sequence[str], entries: Sequence[Entry]) -> tuple[str, str]:
    """The cheapest of `sources` (the cheapest first) within `NEAR` of the best, by the mean over the task's `SCOUTS`,
    and why. One that lacks a scout that others have is not compared; where there are none, it is the cheapest of all.
    """
    task = registry.get("tasks", problem.task)
    rungs = {(e.rung.method, e.rung.source): e.metrics[task.PRIMARY].value for e in entries if e.rung.source}
    scouts = [scout for scout in task.SCOUTS if any((scout, source) in rungs for source in sources)]
    reached = {
        source: sum(rungs[scout, source] for scout in scouts) / len(scouts)
        for source in sources
        if scouts and all((scout, source) in rungs for scout in scouts)
    }
    if not reached:
        return sources[0], "the cheapest"
    least = max(reached.values()) - NEAR - 1e-9  # half a point to the sample is within it
    chosen = next(source for source, value in reached.items() if value >= least)
    by = f"of those within half a point of the best by {' and '.join(scouts)} ({100 * reached[chosen]:.1f} %)"
    return chosen, f"the cheapest {by}"


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
