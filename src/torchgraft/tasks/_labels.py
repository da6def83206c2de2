"""What a run with one class for each sample has to tell: calibration, curve, test split, mistakes, doubtful labels."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from torchgraft.core import registry
from torchgraft.data import Samples
from torchgraft.evaluate import abstain, calibration, label_errors, learning_curve, score, worst_mistakes
from torchgraft.evaluate.pictures import thumbnail
from torchgraft.tune.base import Problem, take

_CURVE_SECONDS = 60.0
"""A learning curve may take this long. Parts of the labels are drawn three times where that fits, else once."""

_SHOWN = 24
"""Samples in each gallery."""


def report(outcome: Any) -> dict[str, Any]:
    """Measure the test split (once), draw the curves, gather the galleries."""
    entry = outcome.entries[outcome.verdict.index]
    problem, answers = outcome.problem, entry.measured
    held = outcome.sources.samples.take(outcome.rows[answers.rows])
    test, test_mistakes = _test(outcome)
    y, probabilities = answers.y, answers.probabilities
    suspects = label_errors(y, probabilities, problem.classes, held.ids, limit=len(y))
    worst = worst_mistakes(y, probabilities, problem.classes, held.ids, limit=_SHOWN)
    return {
        "calibration": calibration(y, entry.candidate.logits),
        "abstain": abstain(y, probabilities),
        "learning_curve": _curve(problem, outcome.frozen, outcome.deadline - time.monotonic()),
        "test": test,
        "mistakes": test_mistakes or _gallery(worst, held),
        "label_errors": _gallery(suspects[:_SHOWN], held),
        "label_errors_found": len(suspects),
    }


def refit(problem: Problem, entry: Any, part: np.ndarray) -> np.ndarray:
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
            resources=problem.resources,
        )
        candidate = registry.get("tune", entry.rung.method).fit(small, entry.rung.options)
        right.append(candidate.logits.argmax(1) == problem.y[held])
    return np.concatenate(right)


def _test(outcome: Any) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    samples = outcome.sources.samples
    rows = np.flatnonzero(samples.split == "test")
    if not len(rows):
        return None, []
    part = samples.take(rows)
    graft = outcome.graft
    if not set(graft.backbones) <= set(outcome.sources.blocks):  # the ladder does not stand on its features
        probabilities = graft.predict(part).probabilities
    else:
        blocks = {name: take(values, rows) for name, values in outcome.sources.blocks.items()}
        probabilities = np.exp(graft.log_probabilities(blocks))
    worst = worst_mistakes(part.y, probabilities, part.classes, part.ids, limit=_SHOWN)
    return score(part.y, probabilities, part.classes, seed=outcome.options.seed), _gallery(worst, part)


def _curve(problem: Problem, entry: Any, left: float) -> dict[str, Any] | None:
    """Accuracy of the entry's method on the held-out samples with 10, 25, 50 and 100 % of the labels.

    None where `left`, the seconds of the budget, are too few, or the method looks at no sample.
    """
    once = 1.5 * entry.seconds  # 10, 25 and 50 % of the labels, with something to spare
    if not entry.candidate.parts or entry.candidate.tuned or once > min(left, _CURVE_SECONDS):
        return None
    repeats = 3 if 3 * once < min(left, _CURVE_SECONDS) else 1

    def right(part: np.ndarray) -> np.ndarray:
        if len(part) == len(problem.y):
            return entry.measured.probabilities.argmax(1) == entry.measured.y
        return refit(problem, entry, part)

    return learning_curve(np.arange(len(problem.y)), problem.y, right, repeats=repeats, seed=problem.seed)


def _gallery(entries: list[dict[str, Any]], samples: Samples) -> list[dict[str, Any]]:
    """Add to each entry what a person needs to judge it: a small picture, or the text."""
    shown = []
    for entry in entries:
        item = samples.x[entry["row"]]
        own = {key: value for key, value in entry.items() if key != "row"}
        if samples.modality == "image":
            own["thumbnail"] = thumbnail(item)
        elif samples.modality == "text":
            own["text"] = str(item)[:600]
        shown.append(own)
    return shown
