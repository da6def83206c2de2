"""The target clustered by k-means from the class means of the source, which then name the clusters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from torchgraft.align._classify import centroid_head, centroid_scale, squared_distances
from torchgraft.align._moments import scaling
from torchgraft.align.base import Aligned, Domains, check_range, inductive, needs_labels
from torchgraft.features.mapping import L2, Chain, Identity, Mapping

applies = needs_labels


@dataclass(frozen=True, kw_only=True)
class Options:
    """What can be set.

    `rounds`: most rounds of k-means (at least 0; 0 leaves the class means of the source, the nearest-mean classifier).
    `align_means`: take each domain's own mean off first.
    `normalise`: bring each sample to length 1.
    """

    rounds: int = 100
    align_means: bool = False
    normalise: bool = True


def fit(domains: Domains, options: Options) -> Aligned:
    """Centroids c_k start as class means of the source; target samples join the nearest, which becomes their mean.

    The labelling is a linear head on the target's features: logits = -s ||z - c_k||^2, with the s that suits the
    source's own centroids and labels best. A cluster that loses all its samples stays where it was. This is the
    labelling step of SHOT (Liang et al., ICML 2020) with hard clusters and no training.
    """
    check_range(rounds=(options.rounds, 0, 100_000))
    own = np.ones(len(domains.xs)) if domains.weights is None else domains.weights
    mapped = inductive(domains, _mapping(domains.xs, options, domains.weights), _mapping(domains.xt, options))
    zs, zt = mapped.zs.astype(np.float64), mapped.zt.astype(np.float64)
    start = np.stack([np.average(zs[domains.ys == c], axis=0, weights=own[domains.ys == c]) for c in domains.present])
    centroids, rounds = lloyd(zt, start, options.rounds)
    scale = centroid_scale(start, zs, np.searchsorted(domains.present, domains.ys), domains.weights)
    head = centroid_head(centroids, domains.present, domains.n_classes, scale, len(zs))
    note = f"{rounds} round{'s' if rounds != 1 else ''} of k-means"
    return inductive(domains, mapped.source, mapped.target, head=head, note=note)


def lloyd(z: np.ndarray, centroids: np.ndarray, rounds: int) -> tuple[np.ndarray, int]:
    """K centroids after at most `rounds` of k-means on N x D rows (Lloyd 1982), and how many it took to settle."""
    labels = None
    for done in range(rounds):
        fresh = squared_distances(z, centroids).argmin(axis=1)
        if labels is not None and (fresh == labels).all():
            return centroids, done
        labels, counts = fresh, np.bincount(fresh, minlength=len(centroids))
        sums = (labels[:, None] == np.arange(len(centroids))).T.astype(np.float64) @ z
        centroids = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centroids)
    return centroids, rounds


def _mapping(x: np.ndarray, options: Options, weights: np.ndarray | None = None) -> Mapping:
    last = L2() if options.normalise else Identity()
    return Chain((scaling(x, False, weights), last)) if options.align_means else last
