"""Shrinkage LDA on each backbone, and TF-IDF where there are texts, fitted apart; their log-probabilities are added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from torchgraft.model import LinearHead
from torchgraft.tune import lda, tfidf
from torchgraft.tune._path import calibrated_loss, measured
from torchgraft.tune.base import Candidate, Problem

TRANSFER = True
PRIOR = 16.0
"""How many held-out samples the belief in equal shares is worth."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """`class_weight`: none, or balanced (rare classes count as much as frequent ones)."""

    class_weight: str = "none"


def applies(problem: Problem) -> str:
    """It needs a backbone's features, and another backbone or texts."""
    if not problem.dense:
        return "there are no features: no backbone is at hand"
    experts = len(problem.dense) + (tfidf.applies(problem) == "")
    return "" if experts > 1 else f"{problem.dense[0]} is alone: nothing to pool it with"


def fit(problem: Problem, options: Options) -> Candidate:
    """Pool by sum_k w_k l_k / T_k, a logarithmic opinion pool of experts k (Genest and Zidek 1986; Hinton 2002).

    The experts are those of `lda` (one for each dense block) and `tfidf`, each with the temperature T_k that its
    held-out logits l_k ask for. All are linear, so the pool is one linear head on their features side by side.
    """
    experts = [lda.fit(problem, lda.Options(source=s, class_weight=options.class_weight)) for s in problem.dense]
    if not tfidf.applies(problem):
        experts.append(tfidf.fit(problem, tfidf.Options(class_weight=options.class_weight)))
    rows, y, weights = measured(problem, options.class_weight)
    temperatures = [calibrated_loss(y, expert.logits[rows], weights)[1] for expert in experts]
    logits = [expert.logits / t for expert, t in zip(experts, temperatures, strict=True)]
    shares = pool_shares(y, [own[rows] for own in logits], weights)
    factors = shares / temperatures
    head = LinearHead(
        np.hstack([factor * expert.head.weight for factor, expert in zip(factors, experts, strict=True)]),
        sum(factor * expert.head.bias for factor, expert in zip(factors, experts, strict=True)),
    )
    parts = tuple(part for expert in experts for part in expert.parts)
    named = {part.source: round(float(share), 3) for part, share in zip(parts, shares, strict=True)}
    return Candidate(
        parts=parts,
        head=head,
        rows=problem.held_out,
        logits=np.einsum("k,kmc->mc", shares, np.stack(logits)),
        chosen={"shares": named},
        note=", ".join(f"{source} {share:.2f}" for source, share in named.items()),
    )


def pool_shares(y: np.ndarray, logits: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """K positive shares w: those under which softmax(sum_k w_k logits_k) fits y best, held near 1 / K.

    Minimises the weighted log loss + `PRIOR` / 2 sum_k (ln w_k + ln K)^2. K numbers only, from all held-out rows, so
    the pool's own held-out loss is hardly flattered by them.
    """
    stack, rows = np.stack(logits), np.arange(len(y))
    start = np.full(len(stack), -np.log(len(stack)))

    def value(log_w: np.ndarray) -> tuple[float, np.ndarray]:
        w = np.exp(log_w)
        log_p = log_softmax(np.einsum("k,kmc->mc", w, stack), axis=1)
        expected = np.einsum("mc,kmc->km", np.exp(log_p), stack)
        slope = w * ((expected - stack[:, rows, y]) @ weights)
        off = log_w - start
        return -float(weights @ log_p[rows, y]) + PRIOR / 2 * float(off @ off), slope + PRIOR * off

    return np.exp(minimize(value, start, jac=True, method="L-BFGS-B").x)
