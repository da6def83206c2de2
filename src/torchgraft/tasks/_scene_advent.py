"""Scenes by AdvEnt: from the probe's answers on, network and decoder train against a discriminator of their maps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from torchgraft.adapt import DomainLoader
from torchgraft.adapt.advent import AdventMaps, Options
from torchgraft.core.progress import SILENT, Progress
from torchgraft.data import IGNORE
from torchgraft.model import LinearHead
from torchgraft.tasks._scene_own import Own, Rehearsed, filled, fresh, measured
from torchgraft.tasks._scene_pixels import Look
from torchgraft.tasks._scene_rehearsal import Rehearsal, Way
from torchgraft.tasks._scene_setting import Setting
from torchgraft.train.dense_augment import DenseAugment, DenseAugmentOptions
from torchgraft.train.dense_loader import DenseLoader
from torchgraft.train.dense_loss import DenseLoss, DenseLossOptions
from torchgraft.train.loader import Subset
from torchgraft.train.loop import SPENT, LoopOptions, train
from torchgraft.train.repair import RepairOptions
from torchgraft.train.step import Batch, Loader, Phase

DEFAULTS: dict[str, Any] = {
    "rate": 1e-3, "batch": 8, "decay": 0.01, "optimizer": "adamw", "clip": 1.0, "network_rate": 1.0, "hidden": 16,
}  # fmt: skip
"""What of `Options` is otherwise for scenes than for whole samples: as `scene_lp_ft` trains."""

_STEPS = 80
"""Updates where `epochs` is not set; at least a quarter of them, where the time is short."""

_TIMED = 3
"""Updates that are timed before the budget is planned."""

_MARGIN = 1.2

_UNGUARDED = RepairOptions(loss_over=1e3, lost=float("inf"), rose=float("inf"), worse=float("inf"))
"""An adversary's loss rises when all goes well: what is repaired is not finite, or a gradient out of all bounds."""


Probe = Callable[[np.ndarray, Sequence[str]], LinearHead]
"""The exact probe fitted on some scenes of the source, as they are and under looks of these names."""


@dataclass(frozen=True, eq=False)
class Augmented:
    """A loader's scenes as they are and under `looks`, each as often, augmented one by one; a `train.step.Loader`.

    Both domains are augmented alike: else a discriminator learns to tell the augmentation. Without masks `y` is None.
    """

    loader: DenseLoader
    looks: Sequence[Look]
    augment: DenseAugment

    def __len__(self) -> int:
        return len(self.loader)

    def plan(self, batch: int, seed: int | None, among: np.ndarray | None = None) -> list[np.ndarray]:
        """See `train.step.Loader`."""
        return self.loader.plan(batch, seed, among)

    def load(self, rows: np.ndarray, generator: torch.Generator | None) -> Batch:
        """See `train.step.Loader`; plain scenes are neither under a look nor augmented."""
        if generator is None:
            return self.loader.load(rows, None)
        drawn = torch.randint(0, 1 + len(self.looks), (len(rows),), generator=generator).tolist()
        found = list(self.loader.pool.map(self._seen, rows.tolist(), drawn))
        x, y = zip(*(self.augment(image[None], labels[None], generator) for image, labels in found), strict=True)
        labels = torch.cat(y).long() if self.loader.masks is not None else None
        return Batch((torch.cat(x).permute(0, 3, 1, 2),), labels, rows)

    def _seen(self, row: int, drawn: int) -> tuple[torch.Tensor, torch.Tensor]:
        image, labels = self.loader.picture(row)
        image = self.looks[drawn - 1](image, row) if drawn else image
        labels = np.full(image.shape[:2], IGNORE, dtype=np.uint8) if labels is None else labels
        return torch.from_numpy(np.array(image)), torch.from_numpy(np.array(labels))


class SceneAdvent:
    """AdvEnt for one setting: the exact probe under the looks of `way`, then everything trained.

    It trains twice: without the held-out scenes, which it is then asked about under the looks that it was not trained
    with (of all looks, the last is left out there); and on the whole source, which is what ships.
    """

    def __init__(self, setting: Setting, way: Way, options: Options, progress: Progress = SILENT) -> None:
        self.setting, self.way, self.options, self.progress = setting, way, options, progress

    def run(self, rehearsal: Rehearsal, head: Probe) -> Own | str:
        """What ships, or why there is nothing."""
        everything, looks = np.arange(len(self.setting.loaders[0])), self.way.looks
        known = looks if set(looks) != set(self.setting.looks) else looks[:-1]
        epochs = self._planned(head(self.setting.fit, known))
        if isinstance(epochs, str):
            return epochs
        networks = []
        for name, rows, seen in (("without the held-out scenes", self.setting.fit, known), ("all", everything, looks)):
            step, spent = self._trained(head(rows, seen), rows, seen, epochs, name)
            if spent:
                return "the budget was spent before it was done"
            networks.append(step.network)
        rehearsed, final = networks

        def asked() -> Iterator[Rehearsed]:
            for look in self.setting.looks:
                if look not in known:
                    yield look, rehearsed, LinearHead(*rehearsed.decoder.head())

        note = f"network and decoder trained from it on: {epochs} epochs, rate {self.options.rate:.1e}"
        shipped = final, LinearHead(*final.decoder.head())
        return measured(self.setting, rehearsal, shipped, asked(), note, self.progress)

    def _trained(
        self, head: LinearHead, rows: np.ndarray, looks: Sequence[str], epochs: int, name: str
    ) -> tuple[AdventMaps, bool]:
        """The step at its end, and whether time was over before."""
        step = self._step(head, rows)
        done = train(
            step,
            [self._phase(f"advent, {name}", epochs, self.options.rate)],
            self._loader(rows, looks),
            options=self._loop(),
            deadline=self.setting.deadline,
            progress=self.progress,
        )
        step.network.cpu().eval().requires_grad_(False)
        return step, done.history.stopped == SPENT

    def _step(self, head: LinearHead, rows: np.ndarray) -> AdventMaps:
        torch.manual_seed(self.setting.seed)  # the discriminator begins at random
        network = filled(fresh(self.setting), head).requires_grad_(True)
        loss = DenseLossOptions(name="ce", class_weight="balanced")
        counts = self.setting.domains.source.masks.counts[rows].sum(0)
        return AdventMaps(network, DenseLoss(loss, counts), self.setting.source.classes, self.options)

    def _phase(self, name: str, epochs: int, rate: float) -> Phase:
        return Phase(name=name, epochs=epochs, rate=rate, groups=lambda step: step.groups(), norm="none")

    def _loop(self, **more: int) -> LoopOptions:
        options = self.options
        return LoopOptions(
            batch=options.batch, optimizer=options.optimizer, clip=options.clip, seed=self.setting.seed,
            repair=_UNGUARDED, precision="fp32", **more,
        )  # fmt: skip

    def _loader(self, rows: np.ndarray, looks: Sequence[str] = ()) -> Loader:
        source, target = self.setting.loaders
        mean = tuple(255 * level for level in self.setting.backbone.preprocessing.mean)
        drawn = DenseAugmentOptions(flip=0.5, scale=(1 / 1.5, 1.5), colour=0.2)
        of_source, of_target = (DenseAugment(drawn, one.largest, mean) for one in (source, target))
        labelled = Subset(Augmented(source, [self.setting.looks[name] for name in looks], of_source), rows)
        return DomainLoader(labelled, Augmented(target, (), of_target))

    def _planned(self, head: LinearHead) -> int | str:
        """Epochs within the time that is left, or why it is too short."""
        fit, everything = self.setting.fit, np.arange(len(self.setting.loaders[0]))
        steps = sum(len(self._loader(rows).plan(self.options.batch, 0)) for rows in (fit, everything))
        wanted = self.options.epochs or max(round(2 * _STEPS / steps), 1)
        least = wanted if self.options.epochs else max(wanted // 4, 1)
        start = time.monotonic()
        train(self._step(head, fit), [self._phase("advent, timed", 1, 1e-9)], self._loader(fit),
              options=self._loop(leg=_TIMED, legs=1), deadline=self.setting.deadline)  # fmt: skip
        each = _MARGIN * (time.monotonic() - start) / _TIMED * steps
        left = self.setting.deadline - time.monotonic()
        fits = int(left / each)
        if fits < least:
            return f"it would take up to {each * least:.0f} s, the budget has {max(left, 0):.0f} s left"
        return min(fits, wanted)
