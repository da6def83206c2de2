"""Transfer component analysis: an embedding in which the domains' means agree (TCA, Pan et al., TNN 2011)."""

from __future__ import annotations

from dataclasses import dataclass

from torchgraft.align._embedding import EmbeddingOptions, fit_embedding
from torchgraft.align.base import Aligned, Domains, always

applies = always


@dataclass(frozen=True, kw_only=True)
class Options(EmbeddingOptions):
    """See `EmbeddingOptions`."""


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
