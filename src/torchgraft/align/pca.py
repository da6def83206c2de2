"""The main axes of both domains together (joint PCA)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from torchgraft.align._subspace import leading_axes
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
    both = np.concatenate([domains.xs, domains.xt])
    mapping = Affine.of(both.mean(axis=0), leading_axes(both, options.k))
    return inductive(domains, mapping, mapping)
