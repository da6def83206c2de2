"""Subspace alignment: the source's principal axes turned onto the target's (SA, Fernando et al., ICCV 2013)."""

from __future__ import annotations

from dataclasses import dataclass

from torchgraft.align._moments import chained, standardised
from torchgraft.align._subspace import leading_axes
from torchgraft.align.base import Aligned, Domains, always, check_range, inductive
from torchgraft.features.mapping import Affine

applies = always


@dataclass(frozen=True, kw_only=True)
class Options:
    """What can be set.

    `k`: axes of each domain (at least 1; cut at the smaller of the two ranks).
    `standardise`: bring each domain to its own mean 0 and variance 1 first.
    """

    k: int = 80
    standardise: bool = True


def fit(domains: Domains, options: Options) -> Aligned:
    """z_s = (x_s - m_s) P_s P_s^T P_t, z_t = (x_t - m_t) P_t, with the first k principal axes P of each domain."""
    check_range(k=(options.k, 1, 1e9))
    xs, first_s = standardised(domains.xs, options.standardise)
    xt, first_t = standardised(domains.xt, options.standardise)
    (mean_s, axes_s), (mean_t, axes_t) = leading_axes(xs, options.k), leading_axes(xt, options.k)
    k = min(axes_s.shape[1], axes_t.shape[1])
    axes_s, axes_t = axes_s[:, :k], axes_t[:, :k]
    source = chained(*first_s, Affine.of(mean_s, axes_s @ (axes_s.T @ axes_t)))
    return inductive(domains, source, chained(*first_t, Affine.of(mean_t, axes_t)))
