"""The climb: every rung fitted and measured on the same held-out samples, the best so far always at hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from torchgraft.core import registry
from torchgraft.core.progress import SILENT, Progress
from torchgraft.core.runtime import one_thread
from torchgraft.core.types import Result
from torchgraft.evaluate import fit_temperature, softmax, summary
from torchgraft.fit.plan import Rung
from torchgraft.tune.base import Candidate, Problem, take


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """One rung as measured: its candidate, the temperature fitted on the held-out logits, and what came of it.

    `probabilities` (M x C) are those of the held-out rows after temperature scaling; `metrics` come from them.
    """

    rung: Rung
    candidate: Candidate
    transfer: bool
    temperature: float
    probabilities: np.ndarray
    metrics: Result
    seconds: float

    @property
    def backbone(self) -> str:
        """Where the features come from, for people: backbone names joined by +; empty where there is none."""
        return " + ".join(part.source for part in self.candidate.parts)


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A rung that was not tried, and why."""

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
    with one_thread(), progress.bar("fitting heads", len(rungs)) as bar:
        for rung in rungs:
            method = registry.get("tune", rung.method)
            reason = method.applies(problem)
            if not reason and time.monotonic() > deadline and entries:
                reason = "the budget is spent"
            if reason:
                skipped.append(Skipped(name=rung.name, reason=reason))
            else:
                entries.append(_measure(problem, rung, method))
                after_each(entries)
            bar.advance()
    return entries, skipped


def _measure(problem: Problem, rung: Rung, method) -> Entry:
    start = time.monotonic()
    candidate: Candidate = method.fit(problem, rung.options)
    y = problem.y[candidate.rows]
    temperature = fit_temperature(y, candidate.logits)
    probabilities = softmax(candidate.logits / temperature)
    return Entry(
        rung=rung,
        candidate=candidate,
        transfer=method.TRANSFER,
        temperature=temperature,
        probabilities=probabilities,
        metrics=summary(y, probabilities),
        seconds=time.monotonic() - start,
    )


def refit(problem: Problem, entry: Entry, part: np.ndarray) -> np.ndarray:
    """Fit the entry's method on the rows of `part` alone; whether it is right on each held-out row (M,).

    Each fold is fitted on those of its rows that are in `part`, and measured on all its held-out rows. A fold of
    which `part` leaves one class or nothing predicts that class.
    """
    right = []
    for fit_rows, held in problem.folds:
        rows = np.intersect1d(fit_rows, part)
        present = np.unique(problem.y[rows])
        if len(present) < 2:
            right.append(problem.y[held] == present[0] if len(present) else np.zeros(len(held), dtype=bool))
            continue
        both = np.concatenate([rows, held])
        small = Problem(
            blocks={name: take(values, both) for name, values in problem.blocks.items()},
            y=problem.y[both],
            classes=problem.classes,
            folds=((np.arange(len(rows)), np.arange(len(rows), len(both))),),
            seed=problem.seed,
        )
        candidate = registry.get("tune", entry.rung.method).fit(small, entry.rung.options)
        right.append(candidate.logits.argmax(1) == problem.y[held])
    return np.concatenate(right)
