"""Are the classes clusters? Asked of the source, whose labels are known, before clusters of the target are believed."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from torchgraft.core.errors import DataError, OptionError
from torchgraft.train._select_inputs import Inputs

_TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class ClusterTest:
    """Source accuracies, 0..1, of `kmeans` started at class means and of a `classifier`, on the same held-out halves.

    `margin` is how far k-means may stay behind.
    """

    kmeans: float
    classifier: float
    margin: float

    @property
    def agree(self) -> bool:
        """Whether methods that cluster the target may be used: kmeans >= classifier - margin."""
        return self.kmeans >= self.classifier - self.margin - 1e-12


def clusters_agree(
    z_s: np.ndarray, y_s: np.ndarray, n_classes: int, seed: int = 0, *, normalise: bool = True, margin: float = 0.03
) -> ClusterTest:
    """K-means on one half of the SOURCE, started at the class means of the other half, beside a classifier.

    `z_s` Ns x D features, `y_s` (Ns,) class indices in 0..n_classes - 1. The source is halved at random within each
    class. Clusters of a half keep the class of the mean they started from; the classifier, shrinkage LDA, is fitted on
    the other half. Both accuracies are means over the swapped halves. `normalise` brings each row to length 1 first, as
    the method `centroids` does. Classes with a single sample are left out. Higher is better for both numbers.

    `margin` of 3 points was set after seeing the sets it was tried on: a lead, not a result. Raises `DataError` for
    what can't be used, or fewer than 2 classes with 2 samples.
    """
    given = Inputs(least=4)
    z, y = given.features("z_s", z_s), given.labels("y_s", y_s, n_classes)
    given.same_rows("z_s", "y_s")
    given.check()
    if not 0 <= margin <= 1:
        raise OptionError(f"margin expects a share in 0..1, got {margin!r}.")
    counts = np.bincount(y, minlength=n_classes)
    kept = counts[y] >= 2
    if (counts >= 2).sum() < 2:
        raise DataError("the test of clusters needs 2 samples or more of 2 classes or more.")
    z, y = z[kept], np.unique(y[kept], return_inverse=True)[1]
    if normalise:
        z = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), _TINY)
    halves = _halves(y, np.random.default_rng(seed))
    pairs = [(halves, ~halves), (~halves, halves)]
    kmeans = [float((clustered(z[b], _means(z[a], y[a])) == y[b]).mean()) for a, b in pairs]
    classifier = [float((_classified(z[a], y[a], z[b]) == y[b]).mean()) for a, b in pairs]
    return ClusterTest(kmeans=float(np.mean(kmeans)), classifier=float(np.mean(classifier)), margin=margin)


def clustered(z: np.ndarray, start: np.ndarray | int, seed: int = 0) -> np.ndarray:
    """Clusters (N,) by k-means (Lloyd 1982) from K x D means, or the best of 4 random starts with that many."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    random = isinstance(start, int)
    k = min(start, len(z)) if random else len(start)
    model = KMeans(k, init="k-means++" if random else start, n_init=4 if random else 1, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different rows than clusters: some stay empty
        return model.fit(z).labels_


def _halves(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One half of each class at random; of odd classes, the larger half goes to either side in turn."""
    first = np.zeros(len(y), dtype=bool)
    for c in range(int(y.max()) + 1):
        members = rng.permutation(np.flatnonzero(y == c))
        first[members[: (len(members) + c % 2) // 2]] = True
    return first


def _means(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.stack([z[y == c].mean(axis=0) for c in range(int(y.max()) + 1)])


def _classified(z: np.ndarray, y: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Labels of `other` by linear discriminants under the covariance within classes, shrunk (Ledoit and Wolf 2004)."""
    from sklearn.covariance import ledoit_wolf

    means = _means(z, y)
    covariance, _ = ledoit_wolf(z - means[y], assume_centered=True)
    covariance[np.diag_indices_from(covariance)] += max(_TINY, 1e-9 * np.trace(covariance) / len(covariance))
    slopes = np.linalg.solve(covariance, means.T)
    return (other @ slopes - (means.T * slopes).sum(axis=0) / 2 + np.log(np.bincount(y))).argmax(axis=1)
