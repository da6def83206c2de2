"""The main axes of both domains together (joint PCA)."""

from __future__ import annotations

from dataclasses import dataclass

from torchgraft.align._subspace import joint_axes
from torchgraft.align.base import Aligned, Domains, always, check_range, inductive
from torchgraft.features.mapping import Affine

applies = always


@dataclass(frozen=True, kw_only=True)
class Options:
    """`k`: how many axes are kept (at least 1; cut at the rank)."""

    k: int = 30


def fit(domains: Domains, options: Options) -> Aligned:
    """Rows z = (x - m) P with the mean m and the first k principal axes P of [X_s; X_t]."""
    check_range(k=(options.k, 1, 1e9))
    xs, xt = domains.xs, domains.xt
    mean = (xs.sum(axis=0) + xt.sum(axis=0)) / (len(xs) + len(xt))
    mapping = Affine.of(mean, joint_axes(xs, xt, options.k))
    return inductive(domains, mapping, mapping)
