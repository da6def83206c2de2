"""Linear discriminant analysis with a shrunk covariance, from Ledoit and Wolf's up to the nearest mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from torchgraft.features.mapping import Mapping, ledoit_wolf, principal_axes
from torchgraft.model import LinearHead, Part
from torchgraft.model.softmax import spread
from torchgraft.tune._path import candidate, choose, dense_source, mapping_for, needs_dense, sample_weights
from torchgraft.tune.base import Candidate, Problem

TRANSFER = True
applies = needs_dense


@dataclass(frozen=True, kw_only=True)
class Options:
    """`source`: the block to run on (None: the first dense one). `class_weight`: none, or balanced (equal priors).

    `shrinkages`: the numbers a in (0, 1] that are tried beside Ledoit and Wolf's.
    """

    source: str | None = None
    class_weight: str = "none"
    shrinkages: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)


def fit(problem: Problem, options: Options) -> Candidate:
    """logits_c = z^T S_a^-1 m_c - 1/2 m_c^T S_a^-1 m_c + log p_c with S_a = (1 - a) S + a tr(S) / D I.

    z are l2-normalised features (`array`: standardised), S is the pooled covariance within classes, m_c the mean and
    p_c the share of class c (Fisher 1936; shrinkage by Ledoit and Wolf 2004; a = 1 is the nearest mean). One
    eigendecomposition of S serves all a; the one with the least held-out log loss is taken. A class of one sample
    adds its mean, and nothing to S. Where D is near N or above, S is far too small along most axes and the logits far
    too large; they are divided by the temperature that the held-out rows ask for.
    """
    source = dense_source(problem, options.source)
    z = problem.blocks[source]
    n_classes = len(problem.classes)
    folds = []
    for rows, held in problem.folds:
        mapping, scatter = _fitted(problem, source, rows, options)
        folds.append((scatter, mapping.transform(z[held])))

    def logits_of(shrinkage: float | None, temperature: float = 1.0) -> np.ndarray:
        return np.concatenate([s.head(shrinkage, n_classes, temperature).logits(held) for s, held in folds])

    choice = choose(problem, (None, *options.shrinkages), logits_of, options.class_weight)
    mapping, scatter = _fitted(problem, source, np.arange(len(z)), options)
    shrinkage = scatter.ledoit_wolf if choice.setting is None else choice.setting
    head = scatter.head(shrinkage, n_classes, choice.temperature)
    logits = logits_of(choice.setting, choice.temperature)
    return candidate(problem, (Part(source, mapping),), head, logits, {"shrinkage": float(shrinkage)})


def _fitted(problem: Problem, source: str, rows: np.ndarray, options: Options) -> tuple[Mapping, Scatter]:
    values, y = problem.blocks[source][rows], problem.y[rows]
    mapping = mapping_for(source)(values, y)
    return mapping, Scatter(mapping.transform(values), y, options.class_weight)


class Scatter:
    """Means of the classes and the eigenvectors of the covariance within them, for heads of any shrinkage."""

    def __init__(self, z: np.ndarray, y: np.ndarray, class_weight: str) -> None:
        z = z.astype(np.float64)
        self.n = len(y)
        self.present, codes = np.unique(y, return_inverse=True)
        self.centre = z.mean(axis=0)
        self.means = np.stack([z[codes == c].mean(axis=0) for c in range(len(self.present))]) - self.centre  # K x D
        within = z - self.centre - self.means[codes]
        self.axes, self.variances = principal_axes(within)
        self.ledoit_wolf = max(ledoit_wolf(within, self.variances), 1e-6)
        self.level = self.variances.sum() / z.shape[1]
        self.log_prior = np.log(np.bincount(codes, weights=sample_weights(y, class_weight)) / len(y))

    def head(self, shrinkage: float | None, n_classes: int, temperature: float = 1.0) -> LinearHead:
        """The head with shrinkage a (None: Ledoit and Wolf's); classes without a sample as in `spread`."""
        shrinkage = self.ledoit_wolf if shrinkage is None else shrinkage
        floor = shrinkage * self.level
        if floor <= 0:  # no class varies at all: any covariance is as good as another, and the nearest mean decides
            floor, variances = 1.0, np.zeros_like(self.variances)
        else:
            variances = (1 - shrinkage) * self.variances
        gain = 1 / (variances + floor) - 1 / floor
        weight = self.means / floor + ((self.means @ self.axes) * gain) @ self.axes.T
        bias = self.log_prior - 0.5 * (weight * self.means).sum(axis=1) - weight @ self.centre
        return spread(weight / temperature, bias / temperature, self.present, n_classes, self.n)
