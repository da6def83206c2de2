"""Source samples weighted by how likely a classifier of domains takes them for the target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from torchgraft.align._classify import Logistic
from torchgraft.align.base import Aligned, Domains, always, check_range, inductive
from torchgraft.features.mapping import PCA, Chain, Identity, Standardise

applies = always


@dataclass(frozen=True, kw_only=True)
class Options:
    """What can be set.

    `k`: principal axes that the classifier sees (at least 1; few, or it tells any two samples apart).
    `clip`: quantile in (0, 1] of the weights above which they are cut.
    `folds`: parts that are each weighted by a classifier of the others (at least 2).
    """

    k: int = 32
    clip: float = 0.95
    folds: int = 5


def fit(domains: Domains, options: Options) -> Aligned:
    """w_i = (Ns / Nt) p(t | x_i) / p(s | x_i), cut at a quantile, brought to mean 1; the features stay as they are.

    (Bickel, Brueckner and Scheffer, JMLR 2009.) No sample is weighted by a classifier that was fitted on it. The note
    tells the effective sample size; where it is small, the domains hardly overlap and the weights are of no use.
    """
    check_range(k=(options.k, 1, 1e9), clip=(options.clip, 1e-6, 1), folds=(options.folds, 2, 1000))
    both = np.concatenate([domains.xs, domains.xt])
    n = len(domains.xs)
    z = Chain.fit(both, steps=[Standardise.fit, lambda values, _: PCA.fit(values, k=options.k)]).transform(both)
    log_odds = _cross_fitted(z.astype(np.float64), np.arange(len(both)) >= n, options.folds)[:n]
    odds = expit(log_odds) / np.maximum(expit(-log_odds), 1e-12)
    weights = normalised(np.minimum(odds, np.quantile(odds, options.clip)))
    aligned = inductive(domains, Identity(), Identity(), weights=weights)
    note = f"effective sample size {aligned.effective_size:.0f} of {n}"
    return inductive(domains, Identity(), Identity(), weights=weights, note=note)


def normalised(weights: np.ndarray) -> np.ndarray:
    """Weights of mean 1; all 1 where every one is 0."""
    mean = float(weights.mean())
    return weights / mean if mean > 0 else np.ones(len(weights))


def _cross_fitted(z: np.ndarray, target: np.ndarray, folds: int) -> np.ndarray:
    """Log p(t | x) / p(s | x) of each row, less the log ratio of the domains' sizes, from fits on other rows."""
    model, labels = Logistic(z, 2), target.astype(np.int64)
    c = model.choose(z, labels)
    part = np.empty(len(z), dtype=int)
    for side in (False, True):  # each part holds its share of both domains, and of classes that come in runs
        part[target == side] = np.arange((target == side).sum()) % folds
    log_odds = np.empty(len(z))
    for i in range(folds):
        held = part == i
        if held.any():
            logits = model.fit(z[~held], labels[~held], c).logits(z[held])
            log_odds[held] = logits[:, 1] - logits[:, 0] - np.log(target[~held].sum() / (~target[~held]).sum())
    return log_odds
