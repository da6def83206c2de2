"""What TCA, JDA and BDA share: a linear embedding in which the means of both domains, and of their classes, agree.

min over A of tr(A^T P^T M P A) + lambda ||A||_F^2 with A^T P^T H P A = I: A holds the k eigenvectors of

    (P^T M P + lambda I) a = phi P^T H P a        with the smallest phi, each of length 1; z = P a.

M = E E^T has rank C + 1 at most, and X = U S V^T turns P into U S^2 (linear kernel, P = K = X X^T) or U S (primal,
P = X), so that the problem is one of r x r, r <= min(n, D): no n x n matrix is ever made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from torchgraft.align._classify import Logistic, nearest
from torchgraft.align.base import Aligned, Domains, check_range, inductive
from torchgraft.core.errors import DataError, OptionError
from torchgraft.features.mapping import L2, Affine, Chain, principal_axes


@dataclass(frozen=True, kw_only=True)
class EmbeddingOptions:
    """`k`: columns of the embedding (at least 1; cut at the rank). `ridge`: lambda > 0. `kernel`: `linear`
    (K = X X^T) or `primal` (X itself; another penalty, not the same result).
    """

    k: int = 30
    ridge: float = 1.0
    kernel: str = "linear"


@dataclass(frozen=True, kw_only=True)
class GuessingOptions(EmbeddingOptions):
    """And `rounds`: how often the target's classes are guessed (at least 1). `classifier`: what guesses them, `nearest`
    (neighbour, as in the papers) or `logistic`.
    """

    rounds: int = 10
    classifier: str = "nearest"


@dataclass(frozen=True, eq=False)
class Rows:
    """All n = Ns + Nt rows of length 1 (`x`, n x D) with X = U S V^T: `singular` S (r,), `right` V (D x r)."""

    x: np.ndarray
    singular: np.ndarray
    right: np.ndarray
    n_source: int

    @classmethod
    def of(cls, xs: np.ndarray, xt: np.ndarray) -> Rows:
        """Each row is brought to length 1 first. Directions under 1e-7 of the largest are left out.

        Raises `DataError` where every row is 0.
        """
        x = np.concatenate([xs, xt])
        x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        axes, variances = principal_axes(x)
        singular = np.sqrt(variances * len(x))
        if not singular.size or singular[0] <= 0:
            raise DataError("every sample of both domains is 0 in all features; there is nothing to align.")
        keep = singular > 1e-7 * singular[0]
        return cls(x, singular[keep], axes[:, keep], len(xs))

    def projected(self, columns: np.ndarray) -> np.ndarray:
        """U^T E (r x m) of n x m columns E; U itself, as large as the rows, is never made."""
        return (self.right.T @ (self.x.T @ columns)) / self.singular[:, None]


@dataclass(frozen=True, eq=False)
class Embedding:
    """`z` (n x k) of the rows it was fitted on, and `projection` (D x k) for rows of length 1, with z = x projection.

    `values` are 1 / phi, largest first.
    """

    z: np.ndarray
    projection: np.ndarray
    values: np.ndarray


def embed(rows: Rows, factors: np.ndarray, *, k: int, ridge: float, kernel: str) -> Embedding:
    """Solve the problem at the top of this file for M = E E^T / ||E E^T||_F with E = `factors` (n x m)."""
    scale = rows.singular ** (2 if kernel == "linear" else 1)
    gram = factors.T @ factors
    reduced = rows.projected(factors) * scale[:, None] / np.linalg.norm(gram) ** 0.5  # r x m: P^T E
    n = len(rows.x)
    centre = scale * rows.projected(np.ones((n, 1)))[:, 0] / np.sqrt(n)
    spread = np.diag(scale**2) - np.outer(centre, centre)  # P^T H P
    penalty = reduced @ reduced.T
    penalty.flat[:: len(penalty) + 1] += ridge
    r, k = len(scale), min(k, len(scale))
    values, vectors = eigh(spread, penalty, subset_by_index=[r - k, r - 1])
    values, vectors = values[::-1], vectors[:, ::-1]
    vectors = vectors / np.linalg.norm(vectors, axis=0)  # the length matters: rows of z are normalised afterwards
    vectors = vectors * np.where(vectors[np.abs(vectors).argmax(axis=0), np.arange(k)] < 0, -1.0, 1.0)
    projection = rows.right @ (vectors * (scale / rows.singular)[:, None])
    return Embedding(rows.x @ projection, projection, values)


def domain_factor(n_source: int, n: int, weights: np.ndarray | None = None) -> np.ndarray:
    """E (n,) with e e^T = M_0, the squared distance of the domains' means: 1 / Ns on the source, -1 / Nt elsewhere.

    With `weights` w (Ns,) the source's mean is the weighted one, w / sum w.
    """
    source = np.full(n_source, 1 / n_source) if weights is None else weights / weights.sum()
    return np.concatenate([source, np.full(n - n_source, -1 / (n - n_source))])


def class_factors(
    ys: np.ndarray, guessed: np.ndarray, present: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """E (n x K) with E E^T = sum_c M_c: as `domain_factor`, within each class of `present`; an empty side gives 0."""
    source, target = (y[:, None] == present for y in (ys, guessed))
    if weights is not None:
        source = source * weights[:, None]
    sums = source.sum(axis=0)
    return np.concatenate([source / np.where(sums > 0, sums, 1), -(target / np.maximum(target.sum(axis=0), 1))])


def fit_embedding(
    domains: Domains, *, k: int, ridge: float, kernel: str, balance: tuple[float, float], rounds: int, classifier: str
) -> Aligned:
    """M = `balance`[0] M_0 + `balance`[1] sum_c M_c, with target classes guessed anew in each of `rounds`.

    The first round knows no classes and has M = M_0 (it is TCA); with `balance`[1] = 0 there is no other.
    """
    check_range(k=(k, 1, 1e9), ridge=(ridge, 1e-12, 1e12), rounds=(rounds, 1, 1000))
    if kernel not in ("linear", "primal"):
        raise OptionError(f"kernel expects linear or primal, got {kernel!r}.")
    if classifier not in ("nearest", "logistic"):
        raise OptionError(f"classifier expects nearest or logistic, got {classifier!r}.")
    rows = Rows.of(domains.xs, domains.xt)
    marginal = domain_factor(rows.n_source, len(rows.x), domains.weights)[:, None]
    found = embed(rows, marginal, k=k, ridge=ridge, kernel=kernel)
    for _ in range(rounds - 1 if balance[1] else 0):
        z = found.z / np.maximum(np.linalg.norm(found.z, axis=1, keepdims=True), 1e-12)
        guessed = _guess(z[: rows.n_source], domains, z[rows.n_source :], classifier)
        classes = class_factors(domains.ys, guessed, domains.present, domains.weights)
        factors = np.hstack([np.sqrt(balance[0]) * marginal, np.sqrt(balance[1]) * classes])
        found = embed(rows, factors, k=k, ridge=ridge, kernel=kernel)
    mapping = Chain((L2(), Affine.of(np.zeros(domains.dimension), found.projection), L2()))
    return inductive(domains, mapping, mapping)


def _guess(zs: np.ndarray, domains: Domains, zt: np.ndarray, classifier: str) -> np.ndarray:
    if classifier == "nearest":
        return nearest(zs, domains.ys, zt)
    model = Logistic(zs, domains.n_classes)
    c = model.choose(zs, domains.ys, domains.weights)
    return model.fit(zs, domains.ys, c, domains.weights).logits(zt).argmax(axis=1)
