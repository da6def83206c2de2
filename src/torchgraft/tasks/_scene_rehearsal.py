"""Ways to carry a pixel classifier to the target, and a rehearsal of each on labelled scenes that look like it.

A part of the source is held out and seen under every look of the target (see `_scene_looks`). A way is asked about the
looks that it was not fitted under, so none is told its own answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from torchgraft.data import IGNORE
from torchgraft.model import LinearHead
from torchgraft.tasks._scene_pixels import Fitted, probabilities, weighed_counts

SOURCE_ONLY, STANDARDISE, PLAIN = "source_only", "standardise", "plain"


@dataclass(frozen=True, kw_only=True)
class Way:
    """One candidate: the `looks` beside the scenes as they are that it is fitted under, and what is done on top.

    `standardised`: each channel gets the source's mean and spread. `taught`: the rounds in which it learns certain
    answers of its own on the target.
    """

    name: str
    looks: tuple[str, ...] = ()
    standardised: bool = False
    taught: int = 0


@dataclass(frozen=True, eq=False)
class Levels:
    """What was drawn from a domain: for each look `z[look]` N x (P + U) x D, of which the first P pixels are labelled
    ones, rare classes drawn more (`y` N x P), the last U any of the scene (`anywhere` N x U, their classes).
    """

    z: dict[str, np.ndarray]
    y: np.ndarray
    anywhere: np.ndarray
    classes: int
    weights: np.ndarray = field(default_factory=lambda: np.ones((1, 1)))
    """N x P: how many pixels of its scene each drawn one stands for, whole numbers."""

    @property
    def looks(self) -> tuple[str, ...]:
        """The looks, without the scenes as they are."""
        return tuple(name for name in self.z if name != PLAIN)

    def drawn(self, look: str, rows: np.ndarray) -> np.ndarray:
        """N x P x D."""
        return self.z[look][rows, : self.y.shape[1]]

    def uniform(self, look: str, rows: np.ndarray) -> np.ndarray:
        """N x U x D."""
        return self.z[look][rows, self.y.shape[1] :]


def fitted(
    source: Levels,
    rows: np.ndarray,
    looks: Sequence[str],
    c: float,
    pseudo: tuple[np.ndarray, np.ndarray] | None = None,
    *,
    tolerance: float = 1e-5,
) -> LinearHead:
    """The exact classifier of the drawn pixels of some scenes, as they are and under `looks`, all weighing alike.

    `pseudo`: rows (n x D) and answers (n,) of the target that are learnt beside.
    """
    views = (PLAIN, *looks)
    step = -(-len(views) // 2)  # at most twice as many rows as there are pixels, however many looks
    parts = [
        (source.drawn(look, rows)[:, i % step :: step], source.y[rows, i % step :: step])
        for i, look in enumerate(views)
    ]
    z, y = (np.concatenate(some, axis=1) for some in zip(*parts, strict=True))
    z, y = z.reshape(-1, z.shape[-1]), y.ravel()
    if pseudo is not None:
        z, y = np.concatenate([z, pseudo[0]]), np.concatenate([y, pseudo[1].astype(y.dtype)])
    return Fitted(z, y, source.classes).solve(c, tolerance=tolerance)


def standardised(head: LinearHead, of_source: np.ndarray, of_target: np.ndarray) -> LinearHead:
    """The head of (z - m_t) s_s / s_t + m_s, with the mean m and the spread s of each domain's pixels (... x D).

    It is linear, so a linear decoder takes it in (Sun, Feng and Saenko's CORAL without its rotation).
    """
    of_source, of_target = (z.reshape(-1, z.shape[-1]).astype(np.float64) for z in (of_source, of_target))
    spread = of_target.std(0)
    scale = np.where(spread > 0, of_source.std(0) / np.where(spread > 0, spread, 1.0), 1.0)
    return LinearHead(head.weight * scale, head.bias + head.weight @ (of_source.mean(0) - scale * of_target.mean(0)))


def certain(p: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions and classes of the surest `share` (0..1) of the pixels that each class was answered for; p is n x C.

    The same share of every class: else what is learnt is road and sky (CBST; Zou et al., ECCV 2018).
    """
    called, sure = p.argmax(1), p.max(1)
    kept = []
    for c in np.unique(called):
        rows = np.flatnonzero(called == c)
        kept.append(rows[np.argsort(-sure[rows], kind="stable")[: max(int(share * len(rows)), 1)]])
    at = np.sort(np.concatenate(kept))
    return at, called[at]


@dataclass(frozen=True, eq=False)
class Rehearsal:
    """Ways fitted on the scenes `fit` of the source and asked of the scenes `held` under looks they don't know."""

    source: Levels
    fit: np.ndarray
    held: np.ndarray
    c: float
    share: float

    def counts(self, way: Way, look: str) -> np.ndarray:
        """N x C x C pixels of the held-out scenes under `look`."""
        head = self.carried(way, look)
        said = head.logits(_flat(self.source.drawn(look, self.held))).argmax(1).reshape(len(self.held), -1)
        return weighed_counts(self.source.y[self.held], said, self.source.weights[self.held], self.source.classes)

    def carried(self, way: Way, look: str) -> LinearHead:
        """The way's head for held-out scenes under `look`, fitted without that look and without their labels."""
        known = tuple(one for one in way.looks if one != look)
        head = self._base(known)
        there = self.source.uniform(look, self.held)
        if way.standardised:
            head = standardised(head, self.source.uniform(PLAIN, self.fit), there)
        return taught(self.source, self.fit, known, self.c, head, there, way.taught, self.share)

    def _base(self, looks: tuple[str, ...]) -> LinearHead:
        if looks not in self._kept:
            self._kept[looks] = fitted(self.source, self.fit, looks, self.c, tolerance=1e-4)
        return self._kept[looks]

    @cached_property
    def _kept(self) -> dict[tuple[str, ...], LinearHead]:
        return {}


def taught(
    source: Levels,
    rows: np.ndarray,
    looks: tuple[str, ...],
    c: float,
    head: LinearHead,
    there: np.ndarray,
    rounds: int,
    share: float,
) -> LinearHead:
    """The head after `rounds` of self-training: fitted anew beside its surest answers for the target's pixels."""
    z = _flat(there)
    for _ in range(rounds):
        at, called = certain(probabilities(head, z), share)
        head = fitted(source, rows, looks, c, (z[at], called))
    return head


def _flat(z: np.ndarray) -> np.ndarray:
    return z.reshape(-1, z.shape[-1])


def weights_of(y: np.ndarray, chances: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """N x P whole numbers: the pixels that a drawn one stands for, drawn in proportion to `chances` (C,) of its class.

    `sizes` N labelled pixels of each scene; 0 where y is `IGNORE`.
    """
    table = np.zeros(IGNORE + 1)
    table[: len(chances)] = np.where(chances > 0, 1 / np.where(chances > 0, chances, 1.0), 0.0)
    own = table[y]
    return np.rint(own / np.maximum(own.sum(1, keepdims=True), 1e-12) * sizes[:, None]).astype(np.int64)
