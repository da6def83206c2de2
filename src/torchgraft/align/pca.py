"""The main axes of both domains together (joint PCA)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from torchgraft.align.base import Aligned, Domains, always, inductive
from torchgraft.features.mapping import PCA

applies = always


@dataclass(frozen=True, kw_only=True)
class Options:
    """`k`: how many axes are kept (at least 1; cut at the rank). `whiten`: bring each to variance 1."""

    k: int = 30
    whiten: bool = False


def fit(domains: Domains, options: Options) -> Aligned:
    """z = (x - m) P with the mean m and the first k principal axes P of [X_s; X_t]."""
    mapping = PCA.fit(np.concatenate([domains.xs, domains.xt]), k=options.k, whiten=options.whiten)
    return inductive(domains, mapping, mapping)
