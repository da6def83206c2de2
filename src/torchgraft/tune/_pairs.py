"""Losses over the pairs inside a batch, and batches that hold several texts of each class to make pairs of.

A batch of B texts has B (B - 1) / 2 pairs, and every forward pass serves B - 1 of them; nothing ever holds more than
the B x B similarities of one batch, whatever the number of texts.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from torchgraft.core.errors import OptionError
from torchgraft.train.step import Batch, Loader


def supcon(z: Tensor, y: Tensor, temperature: float = 0.1) -> Tensor:
    """Supervised contrastive loss of B x D features with B classes: a scalar of at least 0.

    Mean over the texts i that have others of their class, P(i), in the batch, of
    -1/|P(i)| sum_{p in P(i)} log( exp(s_ip / t) / sum_{a != i} exp(s_ia / t) ), s the cosine similarity and t the
    `temperature` (above 0). Without any pair of one class it is 0.

    Khosla et al., "Supervised contrastive learning", NeurIPS 2020 (L_out).
    """
    if not temperature > 0:
        raise OptionError(f"temperature expects a number above 0, got {temperature!r}.")
    alike, itself = _relations(y)
    s = (_cosines(z) / temperature).masked_fill(itself, float("-inf"))
    log_p = s - torch.logsumexp(s, dim=1, keepdim=True)
    partners = alike.sum(1)
    each = -log_p.masked_fill(~alike, 0).sum(1) / partners.clamp(min=1)
    return each.sum() / (partners > 0).sum().clamp(min=1)


def cosine(z: Tensor, y: Tensor) -> Tensor:
    """Mean squared error of the cosine similarities of B x D features with 1 (same class) and 0 (another class).

    (mean_{same pairs} (1 - s)^2 + mean_{other pairs} s^2) / 2: both kinds weigh the same, as in SetFit, which draws as
    many of each. Where one kind is missing, it counts as 0.

    Tunstall et al., "Efficient few-shot learning without prompts", 2022, arXiv:2209.11055.
    """
    alike, itself = _relations(y)
    s, unlike = _cosines(z), ~alike & ~itself
    same = (1 - s).square().masked_fill(~alike, 0).sum() / alike.sum().clamp(min=1)
    other = s.square().masked_fill(~unlike, 0).sum() / unlike.sum().clamp(min=1)
    return (same + other) / 2


def _cosines(z: Tensor) -> Tensor:
    z = functional.normalize(z.float(), dim=1)
    return z @ z.T


def _relations(y: Tensor) -> tuple[Tensor, Tensor]:
    """(B x B: two samples of one class, B x B: a sample and itself)."""
    itself = torch.eye(len(y), dtype=torch.bool, device=y.device)
    return (y[:, None] == y) & ~itself, itself


class ClassBatches:
    """A loader whose training batches hold several samples of each of their classes; `y` has a class for every row.

    With n batches an epoch, the samples of a class are cut into at most n pieces of two or more, which are dealt evenly
    over the epoch: with many samples a class every batch has all classes, with few each batch has some of them.
    """

    def __init__(self, loader: Loader, y: np.ndarray) -> None:
        self.loader, self.y = loader, np.asarray(y)

    def __len__(self) -> int:
        return len(self.loader)

    def plan(self, batch: int, seed: int | None, among: np.ndarray | None = None) -> list[np.ndarray]:
        """See `step.Loader`. Batches are of `batch` samples on average: pieces stay whole."""
        if seed is None:
            return self.loader.plan(batch, seed, among)
        rows = np.arange(len(self)) if among is None else np.asarray(among)
        rng, n = np.random.default_rng(seed), -(-len(rows) // batch)
        pieces, places = [], []
        for c in np.unique(self.y[rows]):
            own = rng.permutation(rows[self.y[rows] == c])
            cut = np.array_split(own, max(min(n, len(own) // 2), 1))
            pieces += [cut[i] for i in rng.permutation(len(cut))]
            places.append((np.arange(len(cut)) + rng.random()) / len(cut))
        order = np.argsort(np.concatenate(places), kind="stable") if pieces else []
        return _filled([pieces[i] for i in order], n)

    def load(self, rows: np.ndarray, generator: torch.Generator | None) -> Batch:
        """See `step.Loader`."""
        return self.loader.load(rows, generator)


def _filled(pieces: list[np.ndarray], n: int) -> list[np.ndarray]:
    """Pieces in their order as n batches of like size, or fewer; a piece goes where its middle lies."""
    sizes = np.array([len(piece) for piece in pieces])
    middle = np.cumsum(sizes) - sizes / 2
    place = (middle * n / max(sizes.sum(), 1)).astype(int)
    return [np.concatenate([pieces[i] for i in np.flatnonzero(place == k)]) for k in np.unique(place)]
