"""One class for each sample."""

from __future__ import annotations

from typing import Any

import numpy as np

from torchgraft.core.errors import DataError
from torchgraft.data import Samples, folds, split
from torchgraft.evaluate import abstain, fit_temperature, softmax, summary
from torchgraft.model import Graft
from torchgraft.tasks._answers import Answers
from torchgraft.tasks._labels import report
from torchgraft.tasks._scores import compare, evaluate
from torchgraft.tune.base import Candidate, Problem, take

__all__ = [
    "BACKBONES",
    "BASE",
    "LADDER",
    "POOLED",
    "PRIMARY",
    "SCOUTS",
    "TITLE",
    "compare",
    "evaluate",
    "make_graft",
    "make_problem",
    "measure",
    "prepare",
    "report",
]

TITLE = "accuracy"
PRIMARY = "accuracy"
POOLED = True
BACKBONES = 0
BASE = "linear_probe"
SCOUTS = ("linear_probe", "knn")
LADDER = ("majority", "lda", "tfidf", "linear_probe", "knn", "levels", "fusion", "contrastive", "lp_ft")
"""Simplest first: by how much is fitted on the user's labels. Means and one shared covariance (LDA) before a weight
for each of tens of thousands of words (TF-IDF); a closed form before a penalty that is chosen; a matrix before a stored
training set (kNN); the end of a network before more of it; one source before several; frozen networks before trained
ones."""


def prepare(samples: Samples, *, seed: int, test: bool) -> Samples:
    """Say for each sample whether it is train, val or test (see `data.split`). Raises `DataError` for one class."""
    samples = split(samples, seed=seed, test=test)
    if len(np.unique(samples.y[samples.split != "test"])) < 2:
        raise DataError(f"{samples.root} has one class only to learn from. Expected at least two.")
    return samples


def make_problem(sources: Any, seed: int) -> tuple[Problem, np.ndarray]:
    """The problem made of every sample that is not test, and the positions of its rows in `sources.samples`."""
    samples = sources.samples
    rows = np.flatnonzero(samples.split != "test")
    part = samples.take(rows)
    blocks = {name: take(values, rows) for name, values in sources.blocks.items()}
    val = part.split == "val"
    pairs = folds(part.y, group=part.group, seed=seed, val=val if val.any() else None)
    return Problem(blocks=blocks, y=part.y, classes=samples.classes, folds=tuple(pairs), seed=seed), rows


def measure(problem: Problem, candidate: Candidate) -> Answers:
    """Probabilities after the temperature that fits the held-out logits best, and what they are worth."""
    y = problem.y[candidate.rows]
    temperature = fit_temperature(y, candidate.logits)
    probabilities = softmax(candidate.logits / temperature)
    return Answers(
        rows=candidate.rows,
        y=y,
        temperature=temperature,
        probabilities=probabilities,
        metrics=summary(y, probabilities),
    )


def make_graft(entry: Any, problem: Problem, sources: Any) -> Graft:
    """The entry's candidate, calibrated on its held-out rows, with the threshold over which it is mostly right."""
    candidate, measured = entry.candidate, entry.measured
    used = [part.source for part in candidate.parts]
    about = dict(sources.about)
    for name, tuned in candidate.tuned.items():
        about[name] = {**sources.about[tuned.base], "name": name, "base": tuned.base, "revision": tuned.digest}
    for name, (base, pooling) in candidate.pooled.items():
        about[name] = {**sources.about[base], "name": name, "base": base, "pooling": pooling}
    return Graft(
        parts=candidate.parts,
        head=candidate.head,
        classes=problem.classes,
        modality=sources.samples.modality,
        method=entry.rung.method,
        temperature=measured.temperature,
        threshold=abstain(measured.y, measured.probabilities)["threshold"],
        backbones={name: one for name, one in about.items() if name in used},
        tuned=candidate.tuned,
        prior=_prior(entry.rung.options, problem),
    )


def _prior(options: Any, problem: Problem) -> tuple[float, ...]:
    """The class frequencies that the probabilities assume: counts^(1 - tau) under logit adjustment by tau, equal ones
    where classes are balanced.
    """
    counts = np.bincount(problem.y, minlength=len(problem.classes)).astype(float)
    balanced = getattr(options, "class_weight", "none") == "balanced"
    power = 0.0 if balanced else 1.0 - getattr(options, "logit_adjustment", 0.0)
    assumed = np.where(counts > 0, counts, 1.0) ** power * (counts > 0)
    return tuple((assumed / assumed.sum()).tolist())
