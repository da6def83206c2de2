"""Source samples weighted to stand for the target, and the validation losses that such weights give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import log_expit

from torchgraft.core.errors import OptionError
from torchgraft.train._select_inputs import Inputs

_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
_FOLDS = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class DomainWeights:
    """Density ratios `weights` (Ns,) of source samples, 0 or more; their mean is about 1 where the domains overlap.

    `effective_size` is (sum w)^2 / sum w^2 (Kish 1965), 0..Ns: how many equally weighted samples they are worth. Where
    it is some dozens or less, or the mean is far under 1, `iwv` and `dev` rest on hardly anything.
    """

    weights: np.ndarray
    effective_size: float


def domain_weights(z_s: np.ndarray, z_t: np.ndarray, seed: int = 0, *, axes: int = 32) -> DomainWeights:
    """w_i = p(t | x_i) / p(s | x_i) * Ns / Nt for source samples, from a logistic classifier of the domains.

    `z_s` Ns x D and `z_t` Nt x D features, 5 rows each or more; `axes` (1 or more) principal axes of the standardised
    features are what the classifier sees: with many it tells any two samples apart. No sample is weighted by a
    classifier fitted on it (5 folds); the penalty is the one with the least held-out log loss. Weights are cut at
    sqrt(Ns) times their mean (truncated importance sampling: Ionides, JCGS 2008). Bickel, Brueckner and Scheffer,
    JMLR 2009; You et al., ICML 2019. Raises `DataError` for features that can't be used.
    """
    given = Inputs(least=_FOLDS)
    z_s, z_t = given.features("z_s", z_s), given.features("z_t", z_t)
    given.same_width(z_s=z_s, z_t=z_t)
    given.check()
    if axes < 1:
        raise OptionError(f"axes expects 1 or more, got {axes}.")
    target = np.arange(len(z_s) + len(z_t)) >= len(z_s)
    log_ratios = _cross_fitted(_reduced(np.concatenate([z_s, z_t]), axes), target, seed)
    weights = np.exp(np.minimum(log_ratios[~target], 50.0))
    weights = np.minimum(weights, np.sqrt(len(z_s)) * weights.mean())
    return DomainWeights(weights=weights, effective_size=effective_size(weights))


def effective_size(weights: np.ndarray) -> float:
    """(sum w)^2 / sum w^2 of N weights (Kish 1965), 0..N; 0 where all weights are 0."""
    given = Inputs()
    w = given.amounts("weights", weights)
    given.check()
    top = float(w.max())
    return float((w / top).sum() ** 2 / ((w / top) ** 2).sum()) if top > 0 else 0.0


def iwv(losses: np.ndarray, weights: np.ndarray) -> float:
    """Importance-weighted validation, NEGATED: -(1/n) sum w_i l_i. Larger is better; 0 at most.

    `losses` (n,) of held-out source samples, 0 or more (in the paper 0 or 1: wrong), `weights` (n,) theirs from
    `domain_weights`. Unbiased for the target's loss under covariate shift (Sugiyama, Krauledat and Mueller, JMLR 2007).
    Of models with different weights, the one whose features tell the domains apart best seems best: all its weights
    are near 0. Compare models under the same weights. Raises `DataError`.
    """
    losses, weights = _weighted(losses, weights)
    return -float((weights * losses).mean())


def dev(losses: np.ndarray, weights: np.ndarray) -> float:
    """Deep embedded validation, NEGATED: -(mean(w l) + eta mean(w) - eta). Larger is better; no bounds.

    eta = -Cov(w l, w) / Var(w), with n - 1; 0 where all weights are equal. Inputs as in `iwv`. The control variate uses
    that the mean of w should be 1, which lessens the variance (You et al., ICML 2019). It is fragile: on published runs
    it chose models right on 2 to 5 % of the target; ask `collapsed` first. Raises `DataError`.
    """
    losses, weights = _weighted(losses, weights)
    weighted, centred = weights * losses, weights - weights.mean()
    variance = float(centred @ centred)
    level = (1e-12 * float(weights.max())) ** 2 * len(weights)
    eta = -float((weighted - weighted.mean()) @ centred) / variance if variance > level else 0.0
    return -float(weighted.mean() + eta * weights.mean() - eta)


def _weighted(losses: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    given = Inputs(least=2)
    losses, weights = given.amounts("losses", losses), given.amounts("weights", weights)
    given.same_rows("losses", "weights")
    given.check()
    return losses, weights


def _reduced(z: np.ndarray, axes: int) -> np.ndarray:
    """Standardised features on their first principal axes, of variance 1 in the mean."""
    from sklearn.decomposition import PCA

    spread = z.std(axis=0)
    z = (z - z.mean(axis=0)) / np.where(spread > 1e-12 * np.abs(z).max(axis=0), spread, np.inf)
    if min(z.shape) > axes:
        z = PCA(axes, svd_solver="randomized", random_state=0).fit_transform(z)
    return z / np.sqrt(max(float(z.var(axis=0).sum()), 1e-12) / z.shape[1])


def _cross_fitted(z: np.ndarray, target: np.ndarray, seed: int) -> np.ndarray:
    """Log of the density ratio at each row, from classifiers fitted on other rows, under the best penalty."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    folds = list(StratifiedKFold(_FOLDS, shuffle=True, random_state=seed).split(z, target))
    best, least = np.zeros(len(z)), np.inf
    for penalty in _PENALTIES:
        log_odds, log_ratios = np.empty(len(z)), np.empty(len(z))
        for fitted, held in folds:
            model = LogisticRegression(C=penalty, max_iter=1000).fit(z[fitted], target[fitted])
            log_odds[held] = model.decision_function(z[held])
            share = target[fitted].mean()
            log_ratios[held] = log_odds[held] - np.log(share / (1 - share))
        loss = -float(log_expit(np.where(target, log_odds, -log_odds)).mean())
        if loss < least:
            best, least = log_ratios, loss
    return best
