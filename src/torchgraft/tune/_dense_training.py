"""Training of networks for labels of each pixel: from the probe's answers on, measured after every epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.special import log_softmax
from torch import Tensor

from torchgraft.core import ranks
from torchgraft.core.types import ImagePreprocessing
from torchgraft.model import Decoder, LinearHead, Tuned
from torchgraft.model.scene_network import SceneNetwork
from torchgraft.train.dense_augment import DenseAugment, DenseAugmentOptions
from torchgraft.train.dense_loader import DenseLoader
from torchgraft.train.dense_loss import DenseLoss, DenseLossOptions
from torchgraft.train.groups import Group, parameter_groups
from torchgraft.train.loader import Subset
from torchgraft.train.loop import LoopOptions, Trained, train
from torchgraft.train.norm import set_norm
from torchgraft.train.step import Batch, Phase, Step, Validate
from torchgraft.tune import _runs
from torchgraft.tune._budget import MARGIN, Timed, another_fits, refusal
from torchgraft.tune._dense import Setting, arrays_of, candidate
from torchgraft.tune._dense_options import DenseTrainOptions
from torchgraft.tune._pixels import BATCH, Pixels, draw, logits_at, rarity
from torchgraft.tune._scenes import Answered
from torchgraft.tune.base import DenseCandidate, Problem

RATE = 1e-3
"""Rate of the head where none is given."""

_WANTED = 4000
"""Scenes seen in training, where there is time: epochs are so many over their number, 4 to 40."""

_TIMED = 5
"""Steps that are timed before the budget is planned."""

_CHECKED = 128
"""Pixels of each held-out scene that the loss after an epoch is taken from; rare classes are drawn more."""


class PixelClassifier(Step):
    """A scene network and the loss of its logits at every labelled pixel."""

    def __init__(self, network: SceneNetwork, loss: DenseLoss) -> None:
        super().__init__()
        self.network, self.loss = network, loss

    def forward(self, batch: Batch, progress: float) -> Tensor:
        """The mean loss of a batch."""
        return self.loss(self.network(*batch.inputs), batch.y)

    def train(self, mode: bool = True) -> PixelClassifier:
        """An encoder of which nothing trains stays in eval mode."""
        super().train(mode)
        if mode and not any(p.requires_grad for p in self.network.levels.parameters()):
            self.network.levels.eval()
        return self


@dataclass(frozen=True, kw_only=True)
class DenseRecipe:
    """What makes one method differ: the decoder that begins at the probe, and whether the encoder trains with it."""

    decoder: str
    encoder: bool


def fine_tune_scenes(problem: Problem, options: DenseTrainOptions, recipe: DenseRecipe, method: str) -> DenseCandidate:
    """The candidate of a recipe. Raises `TooLong` where the budget is too short."""
    return _Training(problem, options, recipe, method).run()


class _Training:
    """One call of `fine_tune_scenes`."""

    def __init__(self, problem: Problem, options: DenseTrainOptions, recipe: DenseRecipe, method: str) -> None:
        self.problem, self.options, self.recipe, self.method = problem, options, recipe, method
        self.setting = Setting(problem, options)
        self.resources, self.plain = problem.resources, self.setting.loader
        self.loader = self.plain.augmented(_augment(options, self.plain, self.setting.backbone.preprocessing))
        self.key = f"{method}:{self.setting.backbone.name}"
        self.check = draw(self.plain, rarity(problem.masks.counts.sum(0)), _CHECKED, problem.seed + 1)

    def run(self) -> DenseCandidate:
        heads = self.setting.probe.heads
        decided = self.resources.journal.once(self.key, lambda: self._decide(heads[0]))
        if "skip" in decided:
            raise refusal(decided)
        epochs, folds = decided["epochs"], decided["folds"]
        self._say(epochs, folds)
        runs, parts, rows = [], [], []
        for i, (fit, held) in enumerate(self.problem.folds[:folds]):
            if i and not another_fits(self.problem, self.key, i, runs):
                break
            step = self._step(heads[i], fit)
            runs.append(self._train(step, fit, held, epochs, f"fold {i + 1} of {folds}"))
            parts.append(self.setting.answer(step.network, held))
            rows.append(held)
        best = max(int(np.median([run.history.best for run in runs])), 1)
        everything = np.arange(len(self.problem.y))
        final = self._step(heads[-1], everything)
        last = self._train(final, everything, None, epochs, "all scenes", legs=best)
        return self._candidate(final.network, [*runs, last], Answered.joined(parts), np.concatenate(rows), best, epochs)

    def _candidate(
        self, network: SceneNetwork, runs: list[Trained], answered: Answered, rows: np.ndarray, best: int, epochs: int
    ) -> DenseCandidate:
        rate, folds = self.options.rate or RATE, len(runs) - 1
        made = candidate(
            self.setting,
            answered,
            rows,
            Decoder(name=self.recipe.decoder, arrays=arrays_of(network.decoder)),
            chosen={"rate": rate, "epochs": best, "of": epochs, "folds": folds, "loss": self.options.loss},
            note=f"rate {rate:.1e}, epoch {best} of {epochs}, {folds} folds",
            history=tuple(run.history.to_dict() for run in runs),
        )
        if not self.recipe.encoder:
            return made
        tuned = Tuned.of(self.setting.backbone, network.levels.module)
        return replace(made, source=tuned.name, tuned={tuned.name: tuned})

    def _step(self, head: LinearHead, rows: np.ndarray) -> PixelClassifier:
        """A fresh one, that answers as the probe does."""
        torch.manual_seed(self.problem.seed)  # parts of a decoder that begin at random belong to the run
        setting = self.setting
        network = SceneNetwork.of(setting.backbone, self.recipe.decoder, setting.classes)
        network.decoder.from_head(head.weight, head.bias)
        weighs_alike = self.options.loss in ("dice", "lovasz")  # as they are: no weight goes with them
        weight = "none" if weighs_alike else self.options.class_weight
        loss = DenseLossOptions(name=self.options.loss, class_weight=weight)
        return PixelClassifier(network, DenseLoss(loss, self.problem.masks.counts[rows].sum(0)))

    def _groups(self, step: PixelClassifier) -> Sequence[Group]:
        """Everything, or the decoder alone. The encoder's BatchNorm keeps the statistics that the probe was fitted on;
        the decoder's own follow its batches.
        """
        levels, decoder = step.network.levels, step.network.decoder
        set_norm(levels, "affine" if self.recipe.encoder else "frozen")
        last = None if self.recipe.encoder else 0
        return parameter_groups(
            levels, decoder, decay=self.options.decay, layer_decay=self.options.layer_decay, last=last
        )

    def _phase(self, epochs: int) -> Phase:
        return Phase(
            name="all layers" if self.recipe.encoder else "decoder",
            epochs=epochs,
            rate=self.options.rate or RATE,
            groups=self._groups,
            norm="none",
        )

    def _train(
        self, step: PixelClassifier, rows: np.ndarray, held: np.ndarray | None, epochs: int, name: str, *, legs: int = 0
    ) -> Trained:
        phase = self._phase(epochs)
        return _runs.run(
            step,
            [replace(phase, name=f"{self.method}, {name}: {phase.name}")],
            self.loader,
            rows,
            self.resources,
            options=LoopOptions(
                batch=self.options.batch,
                ema=self.options.ema,
                seed=self.problem.seed,
                legs=legs,
                tracker=self.options.tracker,
            ),
            validate=None if held is None else self._validate(held),
            name=f"{self.key}-{name}",
        )

    def _validate(self, held: np.ndarray) -> Validate:
        pixels: Pixels = self.check.take(held)
        known = pixels.y < self.setting.classes
        y = pixels.y[known].astype(np.int64)
        share = np.bincount(y) / len(y)
        base = -float((share[share > 0] * np.log(share[share > 0])).sum())

        def validate(step: PixelClassifier) -> tuple[dict[str, float], np.ndarray]:
            logits = _logits_at(step.network, self.plain, held, pixels, self.setting.classes)
            losses = -log_softmax(logits[known].astype(np.float64), axis=1)[np.arange(len(y)), y]
            right = float((logits[known].argmax(1) == y).mean())
            return {"loss": float(losses.mean()), "accuracy": right, "base": base}, logits

        return validate

    def _decide(self, head: LinearHead) -> dict[str, Any]:
        """Epochs and folds within the time that is left, or why not."""
        fit, n = self.problem.folds[0][0], len(self.problem.y)
        loader = Timed(Subset(self.loader, fit))
        options = LoopOptions(batch=self.options.batch, leg=_TIMED, legs=1)
        step, phase = self._step(head, fit), replace(self._phase(_TIMED), rate=1e-9)
        train(step, [phase], loader, options=options, deadline=self.resources.deadline)
        cost, left = loader.seconds_a_sample(), self.resources.deadline - time.monotonic()
        wanted = self.options.epochs or int(np.clip(round(_WANTED / n), 4, 40))
        return ranks.agree(_plan(self.problem, cost, left, wanted, least=self.options.epochs or max(wanted // 4, 2)))

    def _say(self, epochs: int, folds: int) -> None:
        said = f"{epochs} epochs on {folds} of {len(self.problem.folds)} folds, then on all scenes"
        self.resources.progress.say(f"{self.method}: from the probe on, rate {self.options.rate or RATE:.0e}, {said}")


def _plan(problem: Problem, cost: float, left: float, wanted: int, *, least: int) -> dict[str, Any]:
    """All folds where they fit, else one; then fewer epochs, down to `least`. Measuring costs a third of training."""
    n, need = len(problem.y), 0.0
    for folds, epochs in [(len(problem.folds), wanted), *((1, tried) for tried in range(wanted, least - 1, -1))]:
        seen = n * epochs + sum(len(fit) * epochs + len(held) * (epochs + 2) / 3 for fit, held in problem.folds[:folds])
        need = MARGIN * cost * seen
        if need <= left:
            return {"epochs": epochs, "folds": folds}
    return {"skip": f"it would take up to {need:.0f} s, the budget has {max(left, 0):.0f} s left", "spent": left <= 0}


def _logits_at(
    network: SceneNetwork | Callable, loader: DenseLoader, rows: np.ndarray, pixels: Pixels, classes: int
) -> np.ndarray:
    """M x P x C float32 logits of the scenes at `rows` at their pixels."""
    place = {row: i for i, row in enumerate(rows.tolist())}
    found = np.zeros((*pixels.y.shape, classes), dtype=np.float32)
    with torch.no_grad():
        for some in loader.plan(BATCH, None, rows):
            at = [place[row] for row in some.tolist()]
            found[at] = logits_at(network(loader.load(some, None).inputs[0]), pixels.at[at])
    return found


def _augment(options: DenseTrainOptions, loader: DenseLoader, preprocessing: ImagePreprocessing) -> DenseAugment:
    mean = tuple(255 * level for level in preprocessing.mean)
    zoom = (1 / options.zoom, options.zoom)
    drawn = DenseAugmentOptions(flip=options.flip, scale=zoom, colour=options.colour)
    return DenseAugment(drawn, loader.largest, mean)
