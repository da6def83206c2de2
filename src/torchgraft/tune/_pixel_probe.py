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
    """Heads fitted on each fold's rows and, last, on all rows (weight C x D, bias C), and what was chosen.

    `loss` is the log loss on the drawn pixels that the first fold holds out.
    """

    heads: tuple[LinearHead, ...]
    penalty: float
    per_scene: int
    loss: float = float("nan")


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
    per_scene = affordable(network, loader, per_scene)
    pixels = draw(loader, rarity(problem.masks.counts.sum(0)), per_scene, problem.seed)
    z = seen_at(problem, network, loader, revision, pixels)
    return fitted(problem, z, pixels)


def affordable(network: SceneNetwork, loader: DenseLoader, per_scene: int) -> int:
    """Pixels of each scene, `per_scene` at most, whose rows take no more memory than they should."""
    return int(np.clip(_NUMBERS // (sum(network.levels.channels) * len(loader)), 8, per_scene))


def seen_at(problem: Problem, network: SceneNetwork, loader: DenseLoader, revision: str, pixels: Pixels) -> np.ndarray:
    """N x P x D: what `network`, whose weights `revision` names, says at some pixels; computed once on one machine."""
    key = digest(["pixels", revision, repr(loader.scale), str(network.levels.strides)])
    return values(network, loader, pixels, key=key, store=None, progress=problem.resources.progress)


def fitted(
    problem: Problem,
    z: np.ndarray,
    pixels: Pixels,
    penalties: Sequence[float] = (),
    *,
    begin: Probe | None = None,
    below: float = np.inf,
) -> Probe | None:
    """The heads of rows N x P x D; C is the one of `penalties` before the held-out log loss of the first fold rises.

    None, after the first fold alone, where that loss is not under `below`. `begin`: a probe on the first columns alone,
    from whose heads the search for these begins.
    """
    starts = begin.heads if begin else (None,) * (len(problem.folds) + 1)

    def rows_of(rows: np.ndarray, start: LinearHead | None) -> _Rows:
        return _Rows(z, pixels, rows, len(problem.classes), start)

    fit, held = problem.folds[0]
    first = rows_of(fit, starts[0])
    best, least = _penalty(first, z, pixels, held, penalties or PENALTIES)
    if least >= below:
        return None
    parts = (*(fit for fit, _ in problem.folds[1:]), np.arange(len(z)))
    others = [rows_of(rows, start).solve(best) for rows, start in zip(parts, starts[1:], strict=True)]
    return Probe((first.solve(best), *others), best, z.shape[1], least)


def _penalty(
    rows: _Rows, z: np.ndarray, pixels: Pixels, held: np.ndarray, penalties: Sequence[float]
) -> tuple[float, float]:
    """The C before the log loss on the pixels of held-out scenes rises, and that loss."""
    z, y = _flat(z, pixels, held)
    best, least = penalties[0], np.inf
    for c in penalties:
        log_p = log_softmax(rows.solve(c, tolerance=1e-5).logits(z), axis=1)
        loss = -float(log_p[np.arange(len(y)), y].mean())
        if loss >= least:
            break
        best, least = c, loss
    return best, least


class _Rows:
    """The drawn pixels of some scenes, in the coordinates of the solver; `start`: a head of their first columns."""

    def __init__(
        self, z: np.ndarray, pixels: Pixels, rows: np.ndarray, classes: int, start: LinearHead | None = None
    ) -> None:
        z, y = _flat(z, pixels, rows)
        self.mean, spread = z.mean(0), z.std(0)
        self.scale = 1 / (np.where(spread > 0, spread, 1.0) * np.sqrt(z.shape[1]))
        block = Block((z - self.mean) * self.scale)
        self.solver = Softmax([block], [1.0], y, np.ones(len(y)), classes)
        if start is not None:
            width, present = start.weight.shape[1], self.solver.present
            weight = start.weight[present].astype(np.float64)
            bias = start.bias[present] + weight @ self.mean[:width]
            self.solver.theta = np.vstack([block.axes[:width].T @ (weight / self.scale[:width]).T, bias - bias.mean()])

    def solve(self, c: float, *, tolerance: float = 1e-6) -> LinearHead:
        """The minimum, from the last one found, for columns as they came."""
        head = self.solver.solve(c, tolerance=tolerance)
        weight = head.weight * self.scale
        return LinearHead(weight, head.bias - weight @ self.mean)


def _flat(z: np.ndarray, pixels: Pixels, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y = pixels.y[rows].ravel()
    known = y != IGNORE
    return z[rows].reshape(len(y), -1)[known], y[known].astype(np.int64)
