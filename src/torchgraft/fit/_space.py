"""One space for all that is known of a sample, and the way back from a classifier there to a graft's parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from torchgraft.features.mapping import L2, Affine, Chain, Identity, Standardise, principal_axes
from torchgraft.features.mapping import Mapping as FeatureMapping
from torchgraft.features.tfidf import TfIdf
from torchgraft.model import LinearHead, Part, assemble

WIDTH = 256
"""Directions that are kept: alignments work on covariances, which few samples tell little about."""

_TOPICS = 200
"""Directions of TF-IDF where no backbone gives others (latent semantic analysis)."""


@dataclass(frozen=True, eq=False)
class Space:
    """x = [m_1(v_1), m_2(v_2), ...] B - c: mapped sources side by side, in few directions; N x r, centred.

    `parts` are the mapped sources, `basis` B (D x r), `centre` c (r,). `words` is a source that stands beside x as it
    is: TF-IDF, N x V sparse.
    """

    parts: tuple[Part, ...]
    basis: np.ndarray
    centre: np.ndarray
    words: Part | None

    @classmethod
    def fit(cls, blocks: Mapping[str, Any], *, source: int | None = None, width: int = WIDTH, seed: int = 0) -> Space:
        """From the rows of both domains, the first `source` of which (None: all) are the source's; no label is used.

        The vocabulary is the source's: words that it lacks would only take length from those that a classifier can
        weigh. Backbones' features are brought to length 1, the user's own columns to mean 0 and variance 1. Texts
        without a backbone are the leading directions of their TF-IDF.
        """
        words = Part("text", TfIdf.fit(blocks["text"][:source], characters=None)) if "text" in blocks else None
        dense = {name: values for name, values in blocks.items() if isinstance(values, np.ndarray)}
        if not dense and words:
            basis = _topics(assemble([words], blocks), seed)
            return cls((words,), basis, np.asarray(assemble([words], blocks).mean(axis=0)).ravel() @ basis, None)
        parts = tuple(
            Part(name, Standardise.fit(values) if name == "array" else L2()) for name, values in dense.items()
        )
        z = np.asarray(assemble(parts, blocks), dtype=np.float64)
        mean = z.mean(axis=0)
        own = set(dense) == {"array"} and z.shape[1] <= width  # columns that mean something each
        basis = np.eye(z.shape[1]) if own else _axes(z - mean, width, seed)
        return cls(parts, basis, mean @ basis, words)

    def transform(self, blocks: Mapping[str, Any]) -> np.ndarray:
        """N x r float64."""
        return np.asarray(assemble(self.parts, blocks) @ self.basis, dtype=np.float64) - self.centre

    def beside(self, blocks: Mapping[str, Any]) -> sparse.csr_matrix | None:
        """N x V, or None where there are no words."""
        return assemble([self.words], blocks) if self.words else None

    def unfolded(self, mapping: FeatureMapping, head: LinearHead) -> tuple[tuple[Part, ...], LinearHead]:
        """Parts and a head that do what `head` does on `mapping(x)`: logits = ((x - m) P + o) W^T + b, in one step.

        `mapping` is affine (identity, standardise, affine, or a chain of these). Columns of the head beyond those of
        the mapping are for what is beside.
        """
        weight, bias = np.asarray(head.weight, dtype=np.float64), np.asarray(head.bias, dtype=np.float64)
        r = self.basis.shape[1]
        weight, words = weight[:, :r], weight[:, r:]
        for one in reversed(_steps(mapping)):
            weight, bias = _before(one, weight, bias)
        bias = bias - weight @ self.centre
        parts = (*self.parts, self.words) if words.size else self.parts
        return parts, LinearHead(np.hstack([weight @ self.basis.T, words]), bias)


def _before(mapping: FeatureMapping, weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A classifier on the rows that `mapping` is given, from one on those that it makes."""
    if isinstance(mapping, Affine):
        before = weight @ mapping.projection.T.astype(np.float64)
        return before, bias + weight @ mapping.offset - before @ mapping.mean
    before = weight / mapping.scale
    return before, bias - before @ mapping.mean


def _steps(mapping: FeatureMapping) -> Sequence[FeatureMapping]:
    if isinstance(mapping, Chain):
        return [step for one in mapping.mappings for step in _steps(one)]
    return [] if isinstance(mapping, Identity) else [mapping]


def _axes(z: np.ndarray, width: int, seed: int) -> np.ndarray:
    """D x r: the first principal axes of N x D centred rows, turned at random.

    Methods that bring columns to variance 1 would blow up the last axes; turned, all columns vary alike.
    """
    axes = principal_axes(z)[0][:, :width]
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(axes.shape[1], axes.shape[1])))
    return axes @ turn


def _topics(rows: sparse.csr_matrix, seed: int) -> np.ndarray:
    """V x k axes of the truncated SVD of N x V rows, turned at random (see `_axes`)."""
    from sklearn.utils.extmath import randomized_svd  # a second to import: photos shall not wait for it

    k = max(min(_TOPICS, min(rows.shape) - 1), 1)
    _, _, axes = randomized_svd(rows, k, n_iter=2, random_state=seed)
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(k, k)))
    return axes.T.astype(np.float64) @ turn
