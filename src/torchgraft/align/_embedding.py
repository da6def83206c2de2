"""What TCA, JDA and BDA share: a linear embedding in which the means of both domains, and of their classes, agree.

min over A of tr(A^T P^T M P A) + lambda ||A||_F^2 with A^T P^T H P A = I: A holds the k eigenvectors of

    (P^T M P + lambda I) a = phi P^T H P a        with the smallest phi, each of length 1; z = P a.

P is K = X X^T (linear kernel) or X (primal). In an orthonormal basis of the a that matter the problem is one of r x r,
r <= min(n, D): no n x n matrix is ever made where n > D. M = E E^T has rank C + 1 at most, so the root of the left side
is known without a factorisation, and one symmetric r x r problem is left, of which k vectors are computed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh
from scipy.linalg.lapack import dpstrf

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
    """All n = Ns + Nt rows of length 1 (`x`, n x D), and W = x B instead of P, with B = `basis` (D x r).

    W = P Q with orthonormal columns Q that span all a that matter. X^T X = L L^T gives B = L for the linear kernel
    (Q = X L^-T); else X = U S V^T does, B = V S for the linear kernel and V for the primal. `square` is W^T W (r x r).
    """

    x: np.ndarray
    basis: np.ndarray
    square: np.ndarray
    n_source: int

    @classmethod
    def of(cls, xs: np.ndarray, xt: np.ndarray, kernel: str = "linear") -> Rows:
        """Each row is brought to length 1 first. Directions under 1e-7 of the largest are left out.

        Raises `DataError` where every row is 0.
        """
        x = np.concatenate([xs, xt])
        if not x.any():
            raise DataError("every sample of both domains is 0 in all features; there is nothing to align.")
        x /= np.maximum(np.sqrt(np.einsum("nd,nd->n", x, x)), 1e-12)[:, None]
        if kernel == "linear" and len(x) >= x.shape[1]:
            factor = _pivoted_cholesky(x.T @ x)
            inner = factor.T @ factor  # symmetric: a product with its own transpose takes half of the time
            return cls(x, factor, inner @ inner.T, len(xs))
        axes, variances = principal_axes(x)
        singular = np.sqrt(variances * len(x))
        keep = singular > 1e-7 * singular[0]
        axes, singular = axes[:, keep], singular[keep]
        if kernel == "linear":
            return cls(x, axes * singular, np.diag(singular**4), len(xs))
        return cls(x, axes, np.diag(singular**2), len(xs))

    def projected(self, columns: np.ndarray) -> np.ndarray:
        """W^T E (r x m) of n x m columns E; W itself, as large as the rows, is never made."""
        return self.basis.T @ (self.x.T @ columns)


def _pivoted_cholesky(gram: np.ndarray) -> np.ndarray:
    """L (D x r) with L L^T = `gram`; what is left of it after r columns is under 1e-14 of its trace."""
    packed, order, rank, _ = dpstrf(gram.T, lower=1, tol=1e-14 * np.trace(gram))
    factor = np.empty((len(gram), rank))
    factor[order - 1] = np.tril(packed)[:, :rank]
    return factor


@dataclass(frozen=True, eq=False)
class Embedding:
    """`z` (n x k) of the rows it was fitted on, and `projection` (D x k) for rows of length 1, with z = x projection.

    `values` are 1 / phi, largest first.
    """

    z: np.ndarray
    projection: np.ndarray
    values: np.ndarray


def embed(rows: Rows, factors: np.ndarray, *, k: int, ridge: float) -> Embedding:
    """Solve the problem at the top of this file for M = E E^T / ||E E^T||_F with E = `factors` (n x m)."""
    reduced = rows.projected(factors) / np.linalg.norm(factors.T @ factors) ** 0.5  # r x m: P^T E
    centre = rows.projected(np.ones((len(rows.x), 1))) / np.sqrt(len(rows.x))
    left, s, _ = np.linalg.svd(reduced, full_matrices=False)
    gain = np.sqrt(ridge / (ridge + s**2)) - 1

    def halved(a: np.ndarray) -> np.ndarray:
        """(P^T M P / ridge + I)^(-1/2) a."""
        a += (left * gain) @ (left.T @ a)
        return a

    spread = halved(halved(rows.square - centre @ centre.T).T)
    r, k = len(spread), min(k, len(spread))
    values, vectors = eigh(spread.T, subset_by_index=[r - k, r - 1], overwrite_a=True, check_finite=False)
    values, vectors = values[::-1] / ridge, halved(vectors[:, ::-1])
    vectors = vectors / np.linalg.norm(vectors, axis=0)  # the length matters: rows of z are normalised afterwards
    vectors = vectors * np.where(vectors[np.abs(vectors).argmax(axis=0), np.arange(k)] < 0, -1.0, 1.0)
    projection = rows.basis @ vectors
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
    rows = Rows.of(domains.xs, domains.xt, kernel)
    marginal = domain_factor(rows.n_source, len(rows.x), domains.weights)[:, None]
    found = embed(rows, marginal, k=k, ridge=ridge)
    for _ in range(rounds - 1 if balance[1] else 0):
        z = found.z / np.maximum(np.linalg.norm(found.z, axis=1, keepdims=True), 1e-12)
        guessed = _guess(z[: rows.n_source], domains, z[rows.n_source :], classifier)
        classes = class_factors(domains.ys, guessed, domains.present, domains.weights)
        factors = np.hstack([np.sqrt(balance[0]) * marginal, np.sqrt(balance[1]) * classes])
        found = embed(rows, factors, k=k, ridge=ridge)
    mapping = Chain((L2(), Affine.of(np.zeros(domains.dimension), found.projection), L2()))
    return inductive(domains, mapping, mapping)


def _guess(zs: np.ndarray, domains: Domains, zt: np.ndarray, classifier: str) -> np.ndarray:
    if classifier == "nearest":
        return nearest(zs, domains.ys, zt)
    model = Logistic(zs, domains.n_classes)
    c = model.choose(zs, domains.ys, domains.weights)
    return model.fit(zs, domains.ys, c, domains.weights).logits(zt).argmax(axis=1)
