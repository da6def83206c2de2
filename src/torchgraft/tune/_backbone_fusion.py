"""Several backbones that look at the same scenes: their levels joined, and the exact probe on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import log_softmax, softmax

from torchgraft.data import IGNORE
from torchgraft.model import Decoder, LinearHead
from torchgraft.model.joined import Weighed, joined_network
from torchgraft.model.scene_network import SceneNetwork
from torchgraft.tune._dense import Setting, arrays_of, candidate
from torchgraft.tune._dense_options import DenseOptions
from torchgraft.tune._path import PENALTIES
from torchgraft.tune._pixel_probe import _penalty, _Rows, affordable, probe, seen_at
from torchgraft.tune._pixels import draw, rarity
from torchgraft.tune._scenes import Answered
from torchgraft.tune._view_gates import fit_gates
from torchgraft.tune.base import DenseCandidate, Problem

Gate = tuple[np.ndarray, float]
"""Weights and offset of a level's score."""


@dataclass(frozen=True, eq=False)
class Joined:
    """What a head is fitted to: rows (N x P x D) of all scenes, and the gate of each level (none: concat)."""

    z: np.ndarray
    gates: tuple[Gate, ...] = ()


def join(problem: Problem, options: DenseOptions, fusions: Sequence[str]) -> DenseCandidate:
    """The fusion of least log loss on the drawn pixels that the first fold holds out, and its candidate."""
    made = Joining(problem, options)
    tried = {name: made.first(name) for name in fusions}
    best = min(tried, key=lambda name: tried[name][2])
    losses = {name: round(loss, 4) for name, (_, _, loss) in tried.items()}
    return made.candidate(best, *tried[best][:2], losses)


class Joining:
    """One call of `join`."""

    def __init__(self, problem: Problem, options: DenseOptions) -> None:
        self.problem, self.setting, self.options = problem, Setting(problem, options), options
        self.classes, self.n = self.setting.classes, len(problem.y)
        self.backbones = list(problem.resources.backbones.values())
        self.alone = [SceneNetwork.of(one, "linear", self.classes) for one in self.backbones]
        loader = self.setting.loader
        # two networks may take twice the memory of one, and draw the pixels that each one's own probe drew
        cap = min(affordable(one, loader, options.per_scene) for one in self.alone)
        cap = max(min(cap, 2 * affordable(self.network("concat"), loader, 10**9)), 8)
        self.pixels = draw(loader, rarity(problem.masks.counts.sum(0)), cap, problem.seed)
        self.each = [
            seen_at(problem, network, loader, one.revision, self.pixels)
            for network, one in zip(self.alone, self.backbones, strict=True)
        ]

    def network(self, fusion: str) -> SceneNetwork:
        """The joined network, with a decoder of random weights."""
        return joined_network(self.backbones, fusion, self.classes).requires_grad_(False)

    def first(self, fusion: str) -> tuple[Joined, float, float]:
        """A fusion on the first fold: its rows, the best C, and the held-out log loss with that."""
        fit, held = self.problem.folds[0]
        joined = self._joined(fusion, 0)
        rows = _Rows(joined.z, self.pixels, fit, self.classes)
        return joined, *_penalty(rows, joined.z, self.pixels, held, PENALTIES)

    def candidate(self, fusion: str, first: Joined, penalty: float, losses: dict[str, float]) -> DenseCandidate:
        """Fitted on each fold and on all scenes. With one fold its gates serve both; heads are always fitted anew."""
        folds, parts = self.problem.folds, []
        for i, (fit, held) in enumerate(folds):
            joined = first if i == 0 else self._joined(fusion, i)
            parts.append(self.setting.answer(self.fitted(fusion, joined, fit, penalty), held))
        last = first if len(folds) == 1 else self._joined(fusion, len(folds))
        network = self.fitted(fusion, last, np.arange(self.n), penalty)
        return candidate(
            self.setting,
            Answered.joined(parts),
            self.problem.held_out,
            Decoder(name=fusion, arrays=arrays_of(network.decoder)),
            joined=tuple(one.name for one in self.backbones[1:]),
            chosen={"fusion": fusion, "C": penalty, "pixels": self.pixels.at.shape[1], "losses": losses},
            note=f"{fusion} of {len(self.backbones)} backbones, C {penalty:.3g}",
        )

    def fitted(self, fusion: str, joined: Joined, fit: np.ndarray, penalty: float) -> SceneNetwork:
        """The network with a head fitted to some scenes, and the gates that its rows were made with."""
        head = _Rows(joined.z, self.pixels, fit, self.classes).solve(penalty)
        network = self.network(fusion)
        if fusion == "concat":
            network.decoder.from_head(head.weight, head.bias)
        else:
            _fill(network.decoder, head, joined.gates)
        return network

    def _joined(self, fusion: str, fold: int) -> Joined:
        """The rows for a fold (the number of folds: for all scenes)."""
        if fusion == "concat":
            return Joined(np.concatenate(self.each, -1))
        decoder: Weighed = self.network(fusion).decoder
        folds = self.problem.folds
        fit = folds[fold][0] if fold < len(folds) else np.arange(self.n)
        known = self.pixels.y[fit].ravel() != IGNORE
        right = self._right(fit, fold)[known]
        widths = np.cumsum(decoder.channels)[:-1]
        levels = np.split(np.concatenate(self.each, -1), widths, -1)
        gates: dict[int, Gate] = {}
        for group in decoder.groups:
            owners = [self._owner(i) for i in group]
            rows = [levels[i][fit].reshape(len(known), -1)[known] for i in group]
            weights, offsets = fit_gates(rows, right[:, owners], np.ones((len(right), len(group)), dtype=bool))
            gates |= {i: (w, float(c)) for i, w, c in zip(group, weights, offsets, strict=True)}
            share = softmax(np.stack([levels[i] @ gates[i][0] + gates[i][1] for i in group]), axis=0)
            for i, g in zip(group, share.astype(np.float32), strict=True):
                levels[i] = levels[i] * g[..., None]
        return Joined(np.concatenate(levels, -1), tuple(gates[i] for i in range(len(levels))))

    def _owner(self, level: int) -> int:
        """The backbone that a level is of."""
        ends = np.cumsum([len(one.levels.channels) for one in self.alone])
        return int(np.searchsorted(ends, level, side="right"))

    def _right(self, fit: np.ndarray, fold: int) -> np.ndarray:
        """M x V: log-probability of the truth by each backbone's own probe, at all drawn pixels of some scenes."""
        y = np.minimum(self.pixels.y[fit].ravel(), self.classes - 1).astype(np.int64)
        columns = []
        for z, network, one in zip(self.each, self.alone, self.backbones, strict=True):
            found = probe(self.problem, network, self.setting.loader, one.revision, per_scene=self.options.per_scene)
            log_p = log_softmax(found.heads[fold].logits(z[fit].reshape(len(y), -1)), axis=1)
            columns.append(log_p[np.arange(len(y)), y])
        return np.stack(columns, 1)


def _fill(decoder: Weighed, head: LinearHead, gates: Sequence[Gate]) -> None:
    parts = np.split(head.weight.astype(np.float32), np.cumsum(decoder.channels)[:-1], axis=1)
    decoder.bias.copy_(torch.from_numpy(head.bias))
    for level, score, part, (weight, offset) in zip(decoder.levels, decoder.scores, parts, gates, strict=True):
        level.weight.copy_(torch.from_numpy(part)[:, :, None, None])
        score.weight.copy_(torch.from_numpy(weight.astype(np.float32))[None, :, None, None])
        score.bias.fill_(offset)
