"""Classifiers inside the methods: nearest neighbour, logistic regression, and a head from centroids."""

from __future__ import annotations

import warnings

import numpy as np
from scipy import sparse
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from torchgraft.model import LinearHead
from torchgraft.model.softmax import spread

PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""C tried for features whose total variance is 1."""


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """N x m of ||a_i - b_j||^2, never negative."""
    gaps = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * (a @ b.T)
    return np.maximum(gaps, 0.0, out=gaps)


def nearest(zs: np.ndarray, ys: np.ndarray, zt: np.ndarray, *, rows: int = 1024) -> np.ndarray:
    """The class of each target sample's nearest source sample (Euclidean), `rows` target samples at a time."""
    labels = [ys[squared_distances(zt[i : i + rows], zs).argmin(axis=1)] for i in range(0, len(zt), rows)]
    return np.concatenate(labels)


Rows = np.ndarray | sparse.csr_matrix


def joined(z: np.ndarray, beside: sparse.csr_matrix | None) -> Rows:
    """N x D rows with what stands beside them, N x V: sparse; the rows as they are (float64) where nothing does."""
    z = np.asarray(z, dtype=np.float64)
    return z if beside is None else sparse.hstack([sparse.csr_matrix(z), beside], format="csr", dtype=np.float64)


def stacked(a: Rows, b: Rows) -> Rows:
    """The rows of `a`, then those of `b`."""
    return sparse.vstack([a, b], format="csr") if sparse.issparse(a) else np.concatenate([a, b])


class Logistic:
    """Multinomial logistic regression on features brought to mean 0 and total variance 1, with a penalty C on that.

    The mean and scale are those of the first fit, `z` (N x D). Sparse rows are scaled, and stay where they are.
    """

    def __init__(self, z: Rows, n_classes: int) -> None:
        mean = np.asarray(z.mean(axis=0)).ravel()
        squares = float(z.multiply(z).sum() if sparse.issparse(z) else np.einsum("nd,nd->", z, z)) / z.shape[0]
        self.mean = np.zeros(len(mean)) if sparse.issparse(z) else mean
        self.scale = 1 / np.sqrt(max(squares - float(mean @ mean), 1e-12))
        self.n_classes = n_classes

    def fit(self, z: Rows, y: np.ndarray, c: float, weights: np.ndarray | None = None) -> LinearHead:
        """The head for rows as they came, whatever classes `y` lacks."""
        present, counts = np.unique(y, return_counts=True)
        if len(present) == 1 or not z.shape[1]:
            nothing = np.zeros((len(present), z.shape[1]))
            return spread(nothing, np.log(counts), present, self.n_classes, len(y))
        model = LogisticRegression(C=c, max_iter=300, tol=1e-3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # near enough: the head is refitted or calibrated
            model.fit((z if sparse.issparse(z) else z - self.mean) * self.scale, y, sample_weight=weights)
        weight, bias = model.coef_, model.intercept_
        if len(present) == 2:  # one row of weights for the second class stands for -w/2 and w/2
            weight, bias = np.vstack([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
        weight = weight * self.scale
        return spread(weight, bias - weight @ self.mean, present, self.n_classes, len(y))

    def choose(self, z: Rows, y: np.ndarray, weights: np.ndarray | None = None) -> float:
        """The least C of `PENALTIES` whose log loss is within one standard error of the best.

        The loss is that of every fifth sample of each class, after a fit on the rest. The strongest penalty that the
        evidence allows is wanted: directions that only just help on the source are the first to fail elsewhere.
        """
        held = np.zeros(len(y), dtype=bool)
        for c in np.unique(y):
            held[np.flatnonzero(y == c)[4::5]] = True
        if held.sum() < 2:
            return 1.0
        losses: list[np.ndarray] = []
        for c in PENALTIES:
            kept = None if weights is None else weights[~held]
            logits = self.fit(z[~held], y[~held], c, kept).logits(z[held])
            losses.append(-log_softmax(logits, axis=1)[np.arange(held.sum()), y[held]])
            if len(losses) > 2 and losses[-1].mean() > losses[-2].mean() > losses[-3].mean():
                break
        best = min(losses, key=np.mean)
        allowed = best.mean() + best.std(ddof=1) / np.sqrt(len(best))
        return next(c for c, loss in zip(PENALTIES, losses, strict=False) if loss.mean() <= allowed)


def centroid_head(centroids: np.ndarray, present: np.ndarray, n_classes: int, scale: float, n: int) -> LinearHead:
    """Logits = -scale ||z - c_k||^2, up to what is equal for all k: the nearest of the K x D centroids wins.

    `present` names the classes of the centroids, `n` the number of samples behind them (see `spread`).
    """
    return spread(2 * scale * centroids, -scale * (centroids**2).sum(axis=1), present, n_classes, n)


def centroid_scale(centroids: np.ndarray, z: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The `scale` of `centroid_head` under which `y` (N positions among K centroids) of `z` (N x D) is most likely.

    `weights` (N,) is what each row counts (None: all alike).
    """
    logits = -squared_distances(z, centroids)

    def loss(log_scale: float) -> float:
        found = log_softmax(logits * np.exp(log_scale), axis=1)[np.arange(len(y)), y]
        return -float(np.average(found, weights=weights))

    return float(np.exp(minimize_scalar(loss, bounds=(-15.0, 15.0), method="bounded").x))
