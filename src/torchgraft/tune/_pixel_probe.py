"""The exact linear classifier of single pixels on a frozen network, fitted to some of them, rare classes more often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax

from torchgraft.core.files import digest
from torchgraft.data import IGNORE
from torchgraft.model import LinearHead
from torchgraft.model.scene_network import SceneNetwork
from torchgraft.model.softmax import Block, Softmax
from torchgraft.train.dense_loader import DenseLoader
from torchgraft.tune._path import PENALTIES
from torchgraft.tune._pixels import Pixels, draw, rarity, values
from torchgraft.tune.base import Problem

_NUMBERS = 60_000_000
"""Numbers in all rows of pixels together, at most: 240 MB."""


@dataclass(frozen=True, eq=False)
class Probe:
    """Heads fitted on each fold's rows and, last, on all rows (weight C x D, bias C), and what was chosen."""

    heads: tuple[LinearHead, ...]
    penalty: float
    per_scene: int


def probe(
    problem: Problem, network: SceneNetwork, loader: DenseLoader, revision: str, *, per_scene: int = 200
) -> Probe:
    """Fit it to `per_scene` pixels of each scene, on the levels of `network`, whose weights `revision` names.

    Minimises C sum_i loss_i + 1/2 ||W||^2 on columns of variance 1 / D. A pixel of class c is drawn in proportion to
    1 / sqrt(share of c). C is walked up in half decades until the log loss on the drawn pixels of held-out scenes
    rises. One run fits it once, whichever method asks.
    """
    shared, name = problem.resources.shared, f"pixel probe, {revision}, {loader.scale}, {per_scene}"
    if name not in shared:
        shared[name] = _fit(problem, network, loader, revision, per_scene)
    return shared[name]


def _fit(problem: Problem, network: SceneNetwork, loader: DenseLoader, revision: str, per_scene: int) -> Probe:
    width, n = sum(network.levels.channels), len(loader)
    per_scene = int(np.clip(_NUMBERS // (width * n), 8, per_scene))
    pixels = draw(loader, rarity(problem.masks.counts.sum(0)), per_scene, problem.seed)
    key = digest(["pixels", revision, repr(loader.scale), str(network.levels.strides)])
    z = values(network, loader, pixels, key=key, store=None, progress=problem.resources.progress)
    folds = [(_Rows(z, pixels, fit, len(problem.classes)), held) for fit, held in problem.folds]
    best = _penalty(folds, z, pixels)
    heads = [rows.solve(best) for rows, _ in folds]
    heads.append(_Rows(z, pixels, np.arange(n), len(problem.classes)).solve(best))
    return Probe(tuple(heads), best, per_scene)


def _penalty(folds: Sequence[tuple[_Rows, np.ndarray]], z: np.ndarray, pixels: Pixels) -> float:
    """The C before the held-out log loss of the first fold rises."""
    rows, held = folds[0]
    z, y = _flat(z, pixels, held)
    best, least = PENALTIES[0], np.inf
    for c in PENALTIES:
        log_p = log_softmax(rows.solve(c, tolerance=1e-5).logits(z), axis=1)
        loss = -float(log_p[np.arange(len(y)), y].mean())
        if loss >= least:
            break
        best, least = c, loss
    return best


class _Rows:
    """The drawn pixels of some scenes, in the coordinates of the solver."""

    def __init__(self, z: np.ndarray, pixels: Pixels, rows: np.ndarray, classes: int) -> None:
        z, y = _flat(z, pixels, rows)
        self.mean, spread = z.mean(0), z.std(0)
        self.scale = 1 / (np.where(spread > 0, spread, 1.0) * np.sqrt(z.shape[1]))
        self.solver = Softmax([Block((z - self.mean) * self.scale)], [1.0], y, np.ones(len(y)), classes)

    def solve(self, c: float, *, tolerance: float = 1e-6) -> LinearHead:
        """The minimum, from the last one found, for columns as they came."""
        head = self.solver.solve(c, tolerance=tolerance)
        weight = head.weight * self.scale
        return LinearHead(weight, head.bias - weight @ self.mean)


def _flat(z: np.ndarray, pixels: Pixels, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y = pixels.y[rows].ravel()
    known = y != IGNORE
    return z[rows].reshape(len(y), -1)[known], y[known].astype(np.int64)
