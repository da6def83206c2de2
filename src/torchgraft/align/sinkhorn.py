"""Optimal transport of the source's samples onto the target's (Sinkhorn, Courty et al., TPAMI 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from torchgraft.align._classify import squared_distances
from torchgraft.align._moments import scaling
from torchgraft.align._transport import entropic_plan
from torchgraft.align.base import Aligned, Domains, check_range
from torchgraft.core.errors import DataError
from torchgraft.features.mapping import Identity

LARGEST_PLAN = 25_000_000
"""Ns x Nt that is still tried: 200 MB an array, about four of them at once."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What can be set.

    `epsilon`: entropy > 0, in units of the median squared distance; small values follow single samples.
    `class_penalty`: eta >= 0; above 0, source samples of different classes are kept from sharing a target sample
    (group lasso with exponent 1/2), which needs the source's labels.
    `rounds`: how often that penalty is made anew (at least 1).
    `standardise`: bring each domain to its own mean 0 and variance 1 first.
    """

    epsilon: float = 0.1
    class_penalty: float = 0.0
    rounds: int = 10
    standardise: bool = True


def applies(domains: Domains) -> str:
    """The plan is Ns x Nt, and is held whole."""
    size = len(domains.xs) * len(domains.xt)
    if size <= LARGEST_PLAN:
        return ""
    return (
        f"its plan has {len(domains.xs)} x {len(domains.xt)} entries, more than the {LARGEST_PLAN:,} that are tried; "
        "take a part of the samples"
    )


def fit(domains: Domains, options: Options) -> Aligned:
    """z_s,i = sum_j T_ij x_t,j / sum_j T_ij with the plan T of `plan`; z_t = x_t.

    The source's samples are moved one by one, so there is no map for later ones; later target samples stay as they
    are. Memory: about four float64 arrays of Ns x Nt.
    """
    check_range(
        epsilon=(options.epsilon, 1e-6, 1e6),
        class_penalty=(options.class_penalty, 0, 1e6),
        rounds=(options.rounds, 1, 1000),
    )
    if options.class_penalty and domains.ys is None:
        raise DataError("class_penalty above 0 needs the classes of the source, and none are given.")
    target = scaling(domains.xt, True) if options.standardise else Identity()
    source = scaling(domains.xs, True, domains.weights) if options.standardise else Identity()
    xs, xt = (m.transform(x).astype(np.float64) for m, x in ((source, domains.xs), (target, domains.xt)))
    found = plan(xs, xt, domains.ys, options, domains.weights)
    zs = (found @ xt) / found.sum(axis=1, keepdims=True)
    return Aligned(zs=zs.astype(np.float32), zt=target.transform(domains.xt), target=target)


def plan(
    xs: np.ndarray, xt: np.ndarray, ys: np.ndarray | None, options: Options, weights: np.ndarray | None = None
) -> np.ndarray:
    """T (Ns x Nt, sum 1): min <T, M> + epsilon sum T log T + eta sum_j sum_c (sum_(i in c) T_ij)^(1/2).

    M is the squared distance over its median. The last term is concave: it is replaced by its tangent at the last T,
    a penalty added to M, `rounds` times. A source sample has the mass 1 / Ns, or its share of `weights` (Ns,).
    """
    cost = squared_distances(xs, xt)
    cost /= max(float(np.median(cost)), 1e-300)
    a = np.full(len(xs), 1 / len(xs)) if weights is None else weights / weights.sum()
    b = np.full(len(xt), 1 / len(xt))
    found = entropic_plan(cost, a, b, options.epsilon)
    for _ in range(options.rounds - 1 if options.class_penalty else 0):
        penalised = cost.copy()
        for c in np.unique(ys):
            members = ys == c
            penalised[members] += options.class_penalty * 0.5 / np.sqrt(found[members].sum(axis=0) + 1e-3)
        found = entropic_plan(penalised, a, b, options.epsilon)
    return found
