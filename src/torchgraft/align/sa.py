"""Subspace alignment: the source's principal axes turned onto the target's (SA, Fernando et al., ICCV 2013)."""

from __future__ import annotations

from dataclasses import dataclass

from torchgraft.align._moments import scaling
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
    first_s = scaling(domains.xs, options.standardise, domains.weights)
    first_t = scaling(domains.xt, options.standardise)
    axes_s = leading_axes(domains.xs, options.k, first_s.scale, domains.weights)
    axes_t = leading_axes(domains.xt, options.k, first_t.scale)
    k = min(axes_s.shape[1], axes_t.shape[1])
    axes_s, axes_t = axes_s[:, :k], axes_t[:, :k]
    source = Affine.of(first_s.mean, axes_s @ (axes_s.T @ axes_t) / first_s.scale[:, None])
    return inductive(domains, source, Affine.of(first_t.mean, axes_t / first_t.scale[:, None]))
