"""Multinomial logistic regression on one backbone's features, its penalty chosen on held-out rows."""

from __future__ import annotations

from dataclasses import dataclass

from torchgraft.tune._path import Recipe, dense_source, fit_penalised, mapping_for, needs_dense
from torchgraft.tune.base import Candidate, Problem

TRANSFER = True
applies = needs_dense


@dataclass(frozen=True, kw_only=True)
class Options:
    """`source`: the block to run on (None: the first dense one). `class_weight`: none, or balanced."""

    source: str | None = None
    class_weight: str = "none"


def fit(problem: Problem, options: Options) -> Candidate:
    """Minimise C sum_i s_i loss_i + 1/2 ||W||^2 on l2-normalised features (`array`: standardised), total variance 1.

    C is walked up from 0.1 in half decades until the log loss on the held-out rows, pooled over the folds, has risen
    twice; the head is refitted on all rows with the best C.
    """
    source = dense_source(problem, options.source)
    return fit_penalised(problem, [Recipe(source, mapping_for(source))], options.class_weight)[0]
