"""Fusion of several views: experts for each, gates between them, and the exact probe on what is joined."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.special import log_softmax

from torchgraft.core.files import digest
from torchgraft.data import IGNORE
from torchgraft.model import Decoder, LinearHead
from torchgraft.model.views import Attention, Concat, Gated, ViewNetwork
from torchgraft.train.view_loader import Redrawn, ViewLoader
from torchgraft.tune._dense import Setting, arrays_of, candidate
from torchgraft.tune._dense_options import DenseOptions
from torchgraft.tune._path import PENALTIES
from torchgraft.tune._pixel_probe import _NUMBERS, _Rows
from torchgraft.tune._pixels import BATCH, Pixels, draw, rarity, values
from torchgraft.tune._scenes import Answered, answer
from torchgraft.tune._view_gates import fit_gates, looks
from torchgraft.tune.base import DenseCandidate, Problem

_EXPERT = 3.0
"""C of the experts: they say which view is right, and answer where theirs alone is there."""

_SEEN = 100
"""Scenes from which the looks of a view are taken."""


@dataclass(frozen=True, eq=False)
class Joined:
    """What a head is fitted to: rows (N x P x D) of all scenes, and the network that a head makes of them."""

    z: np.ndarray
    network: Callable[[LinearHead], ViewNetwork]


def fuse(problem: Problem, options: DenseOptions, fusions: Sequence[str]) -> DenseCandidate:
    """The fusion of least log loss on the drawn pixels that the first fold holds out, and its candidate."""
    made = _Fusing(problem, options)
    tried = {name: made.first(name) for name in fusions}
    best = min(tried, key=lambda name: tried[name][2])
    losses = {name: round(loss, 4) for name, (_, _, loss) in tried.items()}
    return made.candidate(best, tried[best][0], tried[best][1], losses)


class _Fusing:
    """One call of `fuse`."""

    def __init__(self, problem: Problem, options: DenseOptions) -> None:
        self.problem, self.setting = problem, Setting(problem, options)
        self.classes, self.n = self.setting.classes, len(problem.y)
        self.names = tuple(problem.views)
        self.loader = ViewLoader(self.setting.loader, problem.views)
        self.views = 1 + len(self.names)
        scene = self._network("gated").scene
        cap = _NUMBERS * min(self.views, 3) // (self.views * sum(scene.levels.channels) * self.n)
        self.per_scene = int(np.clip(cap, 8, options.per_scene))
        self.pixels: Pixels = draw(self.loader, rarity(problem.masks.counts.sum(0)), self.per_scene, problem.seed)
        self.each = [self._levels(one) for one in self.loader.each]
        self.experts: dict[tuple[int, ...], list[LinearHead]] = {}

    def first(self, fusion: str) -> tuple[Joined, float, float]:
        """A fusion on the first fold: its rows, the best C, and the held-out log loss with that."""
        fit, held = self.problem.folds[0]
        joined = self._joined(fusion, fit)
        rows = _Rows(joined.z, self.pixels, fit, self.classes)
        best, least = PENALTIES[0], np.inf
        for c in PENALTIES:
            loss = self._loss(rows.solve(c, tolerance=1e-5), joined.z, held)
            if loss >= least:
                break
            best, least = c, loss
        return joined, best, least

    def candidate(self, fusion: str, first: Joined, penalty: float, losses: dict[str, float]) -> DenseCandidate:
        """Fitted on each fold and on all scenes. With one fold its gates serve both; heads are always fitted anew."""
        folds, parts = self.problem.folds, []
        for i, (fit, held) in enumerate(folds):
            joined = first if i == 0 else self._joined(fusion, fit)
            head = _Rows(joined.z, self.pixels, fit, self.classes).solve(penalty)
            network = joined.network(head)
            parts.append(answer(network, self.loader, held, self.setting.pixels, self.classes))
        everything = np.arange(self.n)
        last = first if len(folds) == 1 else self._joined(fusion, everything)
        network = last.network(_Rows(last.z, self.pixels, everything, self.classes).solve(penalty))
        made = candidate(
            self.setting,
            Answered.joined(parts),
            self.problem.held_out,
            Decoder(name=fusion, arrays=arrays_of(network.decoder)),
            chosen={"fusion": fusion, "C": penalty, "pixels": self.per_scene, "losses": losses},
            note=f"{fusion} of {self.views} views, C {penalty:.3g}, {self.per_scene} pixels a scene",
        )
        return replace(made, views=self.names)

    def _joined(self, fusion: str, fit: np.ndarray) -> Joined:
        return {"concat": self._concat, "gated": self._gated, "attention": self._attention}[fusion](fit)

    def _concat(self, fit: np.ndarray) -> Joined:
        there, z = self.loader.there, []
        for v, one in enumerate(self.each):
            mean = one[fit[there[fit, v]]].mean((0, 1))
            z.append(np.where(there[:, v, None, None], one, mean))
        rows = np.concatenate(z, -1)
        mean = rows[fit].mean((0, 1))

        def network(head: LinearHead) -> ViewNetwork:
            made = self._network("concat")
            decoder: Concat = made.decoder
            decoder.from_head(head.weight, head.bias, mean)
            return made

        return Joined(rows, network)

    def _gated(self, fit: np.ndarray) -> Joined:
        gates = self._network("gated")
        decoder: Gated = gates.decoder
        width = sum(gates.scene.levels.channels[: decoder.count])
        weights, offsets = self._gates(fit, slice(0, width))
        for gate, weight, offset in zip(decoder.gates, weights, offsets, strict=True):
            gate.from_head(weight[None], np.array([offset]))
        some = fit[np.sort(np.random.default_rng(self.problem.seed).permutation(len(fit))[:_SEEN])]
        for alone, head in zip(decoder.alone, self._experts(fit), strict=True):
            alone.from_head(head.weight, head.bias)
        decoder.curves.copy_(torch.from_numpy(looks(self._histograms(gates, some))))
        blended = Redrawn(self.setting.loader, lambda row: self._blend(gates, row))

        def network(head: LinearHead) -> ViewNetwork:
            made = self._network("gated")
            made.decoder.load_state_dict(decoder.state_dict())
            made.decoder.head.from_head(head.weight, head.bias)
            return made

        return Joined(self._levels(blended), network)

    def _attention(self, fit: np.ndarray) -> Joined:
        made = self._network("attention")
        decoder: Attention = made.decoder
        start = 0
        for level, width in enumerate(decoder.channels):
            weights, offsets = self._gates(fit, slice(start, start + width))
            for v, (weight, offset) in enumerate(zip(weights, offsets, strict=True)):
                rows = self.each[v][fit[self.loader.there[fit, v]], :, start : start + width]
                mean, spread = rows.mean((0, 1)), rows.std((0, 1))
                spread = np.where(spread > 0, spread, 1.0)
                decoder.mean[v, start : start + width] = torch.from_numpy(mean)
                decoder.spread[v, start : start + width] = torch.from_numpy(spread)
                decoder.score[v].data[start : start + width] = torch.from_numpy(weight * spread)
                decoder.offset.data[v, level] = float(offset + weight @ mean)
            start += width
        with torch.no_grad():
            z = torch.stack([self._summed(decoder, row) for row in range(self.n)]).numpy()

        def network(head: LinearHead) -> ViewNetwork:
            own = self._network("attention")
            own.decoder.load_state_dict(decoder.state_dict())
            own.decoder.head.weight.copy_(torch.from_numpy(head.weight)[:, :, None, None])
            own.decoder.head.bias.copy_(torch.from_numpy(head.bias))
            return own

        return Joined(z, network)

    def _summed(self, decoder: Attention, row: int) -> torch.Tensor:
        there = torch.from_numpy(self.loader.there[row]).expand(self.per_scene, -1)
        return decoder.joined([torch.from_numpy(one[row]) for one in self.each], there)

    def _gates(self, fit: np.ndarray, columns: slice) -> tuple[list[np.ndarray], np.ndarray]:
        """Scores of some columns of the levels, fitted on the drawn pixels of some scenes."""
        known = self.pixels.y[fit].ravel() != IGNORE
        there = np.repeat(self.loader.there[fit], self.per_scene, 0)[known]
        z = [one[fit][..., columns].reshape(len(known), -1)[known] for one in self.each]
        return fit_gates(z, self._right(fit)[known], there)

    def _right(self, fit: np.ndarray) -> np.ndarray:
        """M x V: log-probability of the truth by each view's own probe, at all drawn pixels of some scenes."""
        y = np.minimum(self.pixels.y[fit].ravel(), self.classes - 1).astype(np.int64)
        columns = []
        for z, head in zip(self.each, self._experts(fit), strict=True):
            log_p = log_softmax(head.logits(z[fit].reshape(len(y), -1)), axis=1)
            columns.append(log_p[np.arange(len(y)), y])
        return np.stack(columns, 1)

    def _experts(self, fit: np.ndarray) -> list[LinearHead]:
        """A probe of each view alone, on the scenes that have it."""
        key = tuple(fit.tolist())
        if key not in self.experts:
            self.experts[key] = [
                _Rows(z, self.pixels, fit[self.loader.there[fit, v]], self.classes).solve(_EXPERT, tolerance=1e-5)
                for v, z in enumerate(self.each)
            ]
        return self.experts[key]

    def _histograms(self, gates: ViewNetwork, rows: np.ndarray) -> np.ndarray:
        """V x 3 x 256: levels of each view, where its gate is open."""
        total = np.zeros((self.views, 3, 256))
        for some in self.loader.plan(BATCH, None, rows):
            *x, present = self.loader.load(some, None).inputs
            with torch.inference_mode():
                maps = [gates.scene.features(one, gates.decoder.count) for one in x]
                height, width = x[0].shape[2:]
                g = gates.decoder.weights(maps, present, gates.scene.full_size(height, width))[..., :height, :width]
            for v, one in enumerate(x):
                weight = g[v].double().numpy().ravel()
                for c in range(3):
                    total[v, c] += np.bincount(one[:, c].numpy().ravel(), weights=weight, minlength=256)
        return total

    def _blend(self, gates: ViewNetwork, row: int) -> np.ndarray:
        with torch.inference_mode():
            return gates.blend(*self.loader.load(np.array([row]), None).inputs)[0].permute(1, 2, 0).numpy()

    def _levels(self, loader: Redrawn) -> np.ndarray:
        """N x P x D of one picture of each scene."""
        scene, revision = self._network("gated").scene, self.setting.backbone.revision
        key = digest(["views", revision, repr(self.setting.loader.scale)])
        return values(scene, loader, self.pixels, key=key, store=None, progress=self.problem.resources.progress)

    def _loss(self, head: LinearHead, z: np.ndarray, held: np.ndarray) -> float:
        y = self.pixels.y[held].ravel()
        known = y != IGNORE
        log_p = log_softmax(head.logits(z[held].reshape(len(y), -1)[known]), axis=1)
        return -float(log_p[np.arange(len(log_p)), y[known].astype(np.int64)].mean())

    def _network(self, fusion: str) -> ViewNetwork:
        return ViewNetwork.of(self.setting.backbone, fusion, self.classes, views=self.views).requires_grad_(False)
