"""Votes of the most similar labelled samples (cosine), their number chosen by leaving one out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from torchgraft.features.mapping import L2, Mapping
from torchgraft.model import KNNHead, Part
from torchgraft.model.neighbours import leave_one_out
from torchgraft.tune._path import dense_source, mapping_for, needs_dense
from torchgraft.tune.base import Candidate, Problem

TRANSFER = True
applies = needs_dense


@dataclass(frozen=True, kw_only=True)
class Options:
    """`source`: the block to run on (None: the first dense one). `neighbours`: the numbers k that are tried (>= 1)."""

    source: str | None = None
    neighbours: tuple[int, ...] = (1, 3, 5, 10, 20, 40)


def fit(problem: Problem, options: Options) -> Candidate:
    """Of each fold's fit rows, and of all rows at the end, k is what gets most right when each is left out in turn."""
    source = dense_source(problem, options.source)
    z = problem.blocks[source]
    logits = []
    for rows, held in problem.folds:
        mapping, head = _fitted(problem, source, rows, options)
        logits.append(head.logits(mapping.transform(z[held])))
    mapping, head = _fitted(problem, source, np.arange(len(z)), options)
    return Candidate(
        parts=(Part(source, mapping),),
        head=head,
        rows=problem.held_out,
        logits=np.concatenate(logits),
        chosen={"k": head.k},
        note=f"{head.k} neighbour{'s' if head.k > 1 else ''}",
    )


def _fitted(problem: Problem, source: str, rows: np.ndarray, options: Options) -> tuple[Mapping, KNNHead]:
    values, y, n_classes = problem.blocks[source][rows], problem.y[rows], len(problem.classes)
    mapping = mapping_for(source)(values, y)
    z = L2().transform(mapping.transform(values))
    return mapping, KNNHead(z, y, best_k(z, y, n_classes, options.neighbours, seed=problem.seed), n_classes)


def best_k(
    z: np.ndarray, y: np.ndarray, n_classes: int, neighbours: tuple[int, ...], *, seed: int = 0, limit: int = 4000
) -> int:
    """The k whose vote among the others gets most of N samples right; of equals the larger, whose shares are smoother.

    `z` holds N rows of length 1. Only k < N count (with fewer than two samples: 1); from `limit` samples on, a random
    `limit` of them are asked, against all.
    """
    known = [k for k in sorted(neighbours) if k < len(z)]
    if not known:
        return 1
    asked = np.arange(len(z))
    if len(z) > limit:
        asked = np.sort(np.random.default_rng(seed).choice(len(z), limit, replace=False))
    right = leave_one_out(z, y, n_classes, known, asked).sum(axis=0)
    return known[len(known) - 1 - int(right[::-1].argmax())]
