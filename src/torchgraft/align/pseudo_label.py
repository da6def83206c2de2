"""A classifier of the source that goes on learning from its own surest guesses on the target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from torchgraft.align._classify import Logistic, joined, stacked
from torchgraft.align.base import Aligned, Domains, check_range, inductive, needs_labels
from torchgraft.align.standardise import Options as Moments
from torchgraft.align.standardise import fit as standardise
from torchgraft.core.errors import OptionError
from torchgraft.features.mapping import L2, Identity

applies = needs_labels


@dataclass(frozen=True, kw_only=True)
class Options:
    """What can be set.

    `rounds`: in round t of T the t / T surest guesses of each guessed class are learnt from (at least 1).
    `moments`: `variance` or `mean`, of each domain's own, taken off first (see `standardise`); `l2`: each sample to
    length 1; `none`: features as they are.
    `c`: the penalty of logistic regression on features of total variance 1; 0 chooses it on a fifth of the source.
    `source_weight`: what a source sample counts in the last rounds beside a guessed one, in [0, 1].
    """

    rounds: int = 5
    moments: str = "variance"
    c: float = 0.0
    source_weight: float = 1.0


def fit(domains: Domains, options: Options) -> Aligned:
    """Fit on the source; then T times guess the target, add the surest guesses of each class, fit again.

    Guesses are taken class by class, so that an easy class does not crowd out the others (Zou et al., ECCV 2018; the
    growing share is that of Wang and Breckon, AAAI 2020). The head is the classifier of the last round.
    """
    check_range(rounds=(options.rounds, 1, 1000), c=(options.c, 0, 1e9), source_weight=(options.source_weight, 0, 1))
    aligned = _mapped(domains, options.moments)
    own, other = domains.beside or (None, None)
    zs, zt, ys = joined(aligned.zs, own), joined(aligned.zt, other), domains.ys
    model = Logistic(stacked(zs, zt), domains.n_classes)
    c = options.c or model.choose(zs, ys, domains.weights)
    head = model.fit(zs, ys, c, domains.weights)
    counted = np.ones(len(ys)) if domains.weights is None else domains.weights
    for t in range(1, options.rounds + 1):
        probabilities = softmax(head.logits(zt), axis=1)
        rows, guessed = surest(probabilities, t / options.rounds)
        weights = np.concatenate([counted * max(options.source_weight, 1e-6), np.ones(len(rows))])
        head = model.fit(stacked(zs, zt[rows]), np.concatenate([ys, guessed]), c, weights)
    note = f"{options.rounds} rounds, C {c:g}"
    return inductive(domains, aligned.source, aligned.target, head=head, note=note)


def surest(probabilities: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Of each guessed class the `share` (rounded up) of samples with the largest probability: rows, and their class."""
    guessed, top = probabilities.argmax(axis=1), probabilities.max(axis=1)
    kept = []
    for c in np.unique(guessed):
        members = np.flatnonzero(guessed == c)
        order = np.argsort(-top[members], kind="stable")
        kept.append(members[order[: int(np.ceil(share * len(members)))]])
    rows = np.sort(np.concatenate(kept))
    return rows, guessed[rows]


def _mapped(domains: Domains, moments: str) -> Aligned:
    if moments in ("variance", "mean"):
        return standardise(domains, Moments(moments=moments))
    if moments not in ("l2", "none"):
        raise OptionError(f"moments expects variance, mean, l2 or none, got {moments!r}.")
    mapping = L2() if moments == "l2" else Identity()
    return inductive(domains, mapping, mapping)
