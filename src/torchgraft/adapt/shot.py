"""A fitted network alone: the head stays, the features learn to suit it on the target (SHOT, Liang et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from torchgraft.adapt._entropy import entropy, entropy_of_mean
from torchgraft.adapt.base import AdaptOptions, DomainNet, Net, Passed
from torchgraft.train.groups import Group
from torchgraft.train.loss import cross_entropy

SOURCE = False


@dataclass(frozen=True, kw_only=True)
class Options(AdaptOptions):
    """What can be set; see `AdaptOptions` for the rest.

    `beta`: weight of the cross entropy with pseudo-labels (the authors take 0.3 for objects, 0.1 for digits).
    `threshold`: classes that are predicted for no more samples than this are no pseudo-label. The source model is best
    trained with label smoothing of 0.1.
    """

    epochs: int = 15
    beta: float = 0.3
    threshold: int = 0

    BOUNDS = (("beta", 0, 1e6), ("threshold", 0, 1_000_000))


def shot(logits: Tensor, pseudo: Tensor | None = None, *, beta: float = 0.3) -> Tensor:
    """mean_b H(p_b) - H(mean_b p_b) + beta CE(p, pseudo) of B x C logits and B pseudo-labels; a scalar.

    Certain for each sample, diverse over all: information maximisation, at least -log C without the last term (Liang
    et al., "Do we really need to access the source data? Source hypothesis transfer for unsupervised domain
    adaptation", ICML 2020, equations 3, 4 and 7).
    """
    loss = entropy(logits).mean() - entropy_of_mean(logits)
    return loss if pseudo is None or not beta else loss + beta * cross_entropy(logits, pseudo)


def pseudo_labels(z: np.ndarray, p: np.ndarray, *, threshold: int = 0) -> np.ndarray:
    """N classes of N x K features: the nearest class centroid by cosine, with centroids that are estimated twice.

    With f = [z; 1] / ||[z; 1]||: c_k = sum_n p_nk f_n / sum_n p_nk from N x C probabilities, each sample goes to the
    nearest, and once more with the means of these hard classes (equations 5 and 6 of the paper). Only classes that are
    the most probable one of more than `threshold` samples are given.
    """
    f = np.concatenate([z, np.ones((len(z), 1), z.dtype)], axis=1).astype(np.float64)
    f /= np.linalg.norm(f, axis=1, keepdims=True)
    counts = np.bincount(p.argmax(axis=1), minlength=p.shape[1])
    known = np.flatnonzero(counts > min(threshold, counts.max() - 1))
    weight = p[:, known].astype(np.float64)
    for _ in range(2):
        y = _nearest(f, weight.T @ f)
        weight = np.eye(len(known))[y]
    return known[y]


def _nearest(f: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """By cosine, for which sums serve as well as means; a class without a sample is nobody's nearest."""
    length = np.linalg.norm(sums, axis=1)
    near = f @ (sums / np.where(length > 0, length, 1)[:, None]).T
    return np.where(length > 0, near, -np.inf).argmax(axis=1)


class Shot(DomainNet):
    """Pseudo-labels from the whole target before each epoch; everything but the head trains."""

    def __init__(self, net: Net, options: Options) -> None:
        super().__init__(net, options)
        self.pseudo: Tensor | None = None  # by position in the target's loader

    def before_epoch(self, epoch: int) -> None:
        """Label the target by the centroids of the network as it is."""
        if not self.options.beta:
            return
        width, rows = self.net.head.in_features, self.domains.target_rows
        found = self.over_target(self._features_and_probabilities)
        y = pseudo_labels(found[:, :width], found[:, width:], threshold=self.options.threshold)
        self.pseudo = torch.zeros(int(rows.max()) + 1, dtype=torch.int64)
        self.pseudo[torch.from_numpy(rows)] = torch.from_numpy(y)

    def _features_and_probabilities(self, batch) -> Tensor:
        z = self.net.features(batch.inputs).float()
        return torch.cat([z, torch.softmax(self.net.head(z), dim=1)], dim=1)

    def transfer(self, passed: Passed, progress: float) -> Tensor:
        """`shot` with the pseudo-labels of the epoch."""
        rows = torch.from_numpy(np.asarray(passed.batch.target.rows))
        pseudo = None if self.pseudo is None else self.pseudo[rows].to(passed.logits_t.device)
        return shot(passed.logits_t, pseudo, beta=self.options.beta)

    def groups(self) -> list[Group]:
        """All but the head."""
        head = {id(p) for p in self.net.head.parameters()}
        kept = (replace(g, params=tuple(p for p in g.params if id(p) not in head)) for g in super().groups())
        return [group for group in kept if group.params]


def build(net: Net, options: Options) -> Shot:
    """Train what lies below the head of `net`."""
    return Shot(net, options)
