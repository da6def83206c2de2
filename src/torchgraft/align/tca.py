"""Transfer component analysis: an embedding in which the domains' means agree (TCA, Pan et al., TNN 2011)."""

from __future__ import annotations

from dataclasses import dataclass

from torchgraft.align._embedding import fit_embedding
from torchgraft.align.base import Aligned, Domains, always

applies = always


@dataclass(frozen=True, kw_only=True)
class Options:
    """What can be set.

    `k`: columns of the embedding (at least 1; cut at the rank). `ridge`: lambda > 0.
    `kernel`: `linear` (K = X X^T) or `primal` (X itself; another penalty, not the same result).
    """

    k: int = 30
    ridge: float = 1.0
    kernel: str = "linear"


def fit(domains: Domains, options: Options) -> Aligned:
    """Z = l2(l2(x) W) in both domains; W from (K M_0 K + lambda I) a = phi K H K a, M_0 of Frobenius norm 1."""
    return fit_embedding(
        domains,
        k=options.k,
        ridge=options.ridge,
        kernel=options.kernel,
        balance=(1.0, 0.0),
        rounds=1,
        classifier="nearest",
    )
