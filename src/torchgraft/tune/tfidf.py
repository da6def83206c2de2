"""TF-IDF of words and characters with a linear probe: texts without any pretrained network."""

from __future__ import annotations

from dataclasses import dataclass

from torchgraft.features.tfidf import TfIdf
from torchgraft.tune._path import Recipe, fit_penalised
from torchgraft.tune.base import Candidate, Problem

TRANSFER = False


@dataclass(frozen=True, kw_only=True)
class Options:
    """`class_weight`: none, or balanced (rare classes count as much as frequent ones)."""

    class_weight: str = "none"


def applies(problem: Problem) -> str:
    """It needs texts with at least one letter or digit."""
    if "text" not in problem.blocks:
        return "the samples are no texts"
    return "" if any(c.isalnum() for t in problem.blocks["text"] for c in t) else "no text holds a letter or a digit"


def fit(problem: Problem, options: Options) -> Candidate:
    """Vocabulary and idf of each fold's fit rows, then the l2-penalised multinomial probe (see `linear_probe`)."""
    return fit_penalised(problem, [Recipe("text", TfIdf.fit)], options.class_weight)[0]
