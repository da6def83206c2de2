"""The procedure of `contrastive`: encoders trained on pairs, fold by fold, and the probe on what they give."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from torchgraft.core.errors import OptionError, did_you_mean
from torchgraft.features.mapping import L2
from torchgraft.model import LinearHead, Part
from torchgraft.model.softmax import Block, Softmax
from torchgraft.train.groups import Group, parameter_groups
from torchgraft.train.loader import TextLoader, outputs
from torchgraft.train.loop import LoopOptions, Trained, train
from torchgraft.train.repair import RepairOptions
from torchgraft.train.step import Batch, Phase, Step, Validate
from torchgraft.tune import _pairs, _runs
from torchgraft.tune._budget import Timed, plan, refusal
from torchgraft.tune._classifier import Classifier
from torchgraft.tune._path import Recipe, calibrated_loss, dense_source, fit_penalised, sample_weights
from torchgraft.tune.base import Candidate, Fold, Problem, Skip

if TYPE_CHECKING:
    from torchgraft.tune.contrastive import Options

RATES = (3e-4, 5e-5)
"""Rates where none is given: the second one is tried where the first gains nothing."""

_STEPS = 12
"""Updates that are wanted on all samples: every one sees some hundred pairs."""

_TIMED = 4
"""Steps that are timed before the budget is planned."""


Loss = Callable[[Tensor, Tensor], Tensor]
"""B x D features and B classes -> the loss over their pairs."""


class Contrast(Step):
    """The loss over the pairs of a batch; the classifier's head plays no part in it."""

    def __init__(self, model: Classifier, loss: Loss) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Batch, progress: float) -> Tensor:
        """Mean loss over the batch's pairs."""
        return self.loss(self.features(batch), batch.y)

    def features(self, batch: Batch) -> Tensor:
        """B x D pooled features."""
        return self.model.network(*batch.inputs)


@dataclass(frozen=True)
class _Choice:
    """A rate and an epoch, their pooled held-out loss, and the probe (its penalty, held-out logits) that gave it."""

    loss: float
    rate: float
    epoch: int
    probe: Candidate


class Contrasting:
    """One call of `contrastive.fit`."""

    def __init__(self, problem: Problem, options: Options, sources: Sequence[str]) -> None:
        self.problem, self.options, self.resources = problem, options, problem.resources
        known = replace(problem, blocks={name: problem.blocks[name] for name in sources})
        self.source = dense_source(known, options.source)
        self.backbone = self.resources.backbones[self.source]
        self.loss = _loss(options)
        self.rates = (options.rate,) if options.rate else RATES
        texts = TextLoader(problem.blocks["text"], problem.y, self.backbone)
        self.loader = _pairs.ClassBatches(texts, problem.y)
        self.key = f"contrastive:{self.source}"

    def run(self) -> Candidate:
        decided = self.resources.journal.once(self.key, self._decide)
        if "skip" in decided:
            raise refusal(decided)
        folds, epochs = self.problem.folds[: decided["folds"]], decided["epochs"]
        runs, best = self._first_that_gains(folds, epochs)
        rate = best.rate * _runs.lowered(runs)
        step = self._step()
        last = self._train(step, np.arange(len(self.problem.y)), None, rate, epochs, "all samples", legs=best.epoch)
        chosen = {"rate": rate, "epochs": best.epoch, "of": epochs, "folds": len(folds), **best.probe.chosen}
        return self._candidate(step, best, folds, chosen, [*runs, last])

    def _first_that_gains(self, folds: Sequence[Fold], epochs: int) -> tuple[list[Trained], _Choice]:
        """The runs on the folds at the first rate of which an epoch beats the probe, and what was chosen of them."""
        for rate in self.rates:
            runs = list(self._on_folds(folds, rate, epochs))
            best = self._best_epoch(rate, runs, folds)
            if best.epoch:
                return runs, best
        tried = " or ".join(f"{rate:.1e}" for rate in self.rates)
        rows = sum(len(held) for _, held in folds)
        raise Skip(f"on {rows} held-out samples no epoch at rate {tried} beats the linear probe it starts from")

    def _on_folds(self, folds: Sequence[Fold], rate: float, epochs: int) -> Iterator[Trained]:
        for i, (fit, held) in enumerate(folds):
            name = f"rate {rate:.0e}, fold {i + 1} of {len(folds)}"
            yield self._train(self._step(), fit, self._measure(fit, held), rate, epochs, name)

    def _candidate(self, step: Contrast, best: _Choice, folds: Sequence[Fold], chosen: dict, runs: list) -> Candidate:
        tuned = step.model.tuned(self.backbone)
        z = self._features(step, np.arange(len(self.problem.y)))
        return Candidate(
            parts=(Part(tuned.name, L2()),),
            head=self._head(z, chosen["C"]),
            rows=np.concatenate([held for _, held in folds]),
            logits=best.probe.logits,
            chosen=chosen,
            note=f"rate {chosen['rate']:.1e}, epoch {chosen['epochs']} of {chosen['of']}, {chosen['folds']} folds",
            tuned={tuned.name: tuned},
            history=tuple(run.history.to_dict() for run in runs),
        )

    def _head(self, z: np.ndarray, c: float) -> LinearHead:
        """The probe on N x D features of all samples, its penalty known."""
        block = Block(L2().transform(z))
        weights = sample_weights(self.problem.y, self.options.class_weight)
        scale = 1 / math.sqrt(max(block.variances.sum(), 1e-12))
        return Softmax([block], [scale], self.problem.y, weights, len(self.problem.classes)).solve(c)

    def _decide(self) -> dict[str, Any]:
        """Epochs and folds within the time that is left, or why not: folds go first, then epochs."""
        n, given = len(self.problem.y), self.options.epochs
        folds = [(len(fit), len(fit) + len(held)) for fit, held in self.problem.folds]  # all N rows are measured
        wanted = given or int(np.clip(math.ceil(_STEPS / math.ceil(n / self.options.batch)), 2, _STEPS))
        cost = self._seconds_a_sample() if math.isfinite(self.resources.deadline) else 0.0
        left = self.resources.deadline - time.monotonic()
        for epochs in range(wanted, (wanted if given else max(wanted // 3, 1)) - 1, -1):
            planned = plan(n=n, folds=folds, cost=cost, left=left, epochs=epochs, trials=0)
            if "skip" not in planned:
                break
        return planned

    def _seconds_a_sample(self) -> float:
        """Wall time of training on one sample, measured on this machine with the real network and batch."""
        loader = Timed(self.loader)
        options = LoopOptions(batch=self.options.batch, leg=_TIMED, legs=1)
        phases = self._phases("timing", 1e-9, _TIMED)
        train(self._step(), phases, loader, options=options, deadline=self.resources.deadline)
        return loader.seconds_a_sample()

    def _step(self) -> Contrast:
        pooling = self.resources.poolings[self.source]
        return Contrast(Classifier(self.backbone, pooling, L2(), len(self.problem.classes)), self.loss)

    def _phases(self, name: str, rate: float, epochs: int) -> list[Phase]:
        return [Phase(name=f"contrastive, {name}", epochs=epochs, rate=rate, groups=self._groups, norm="none")]

    def _groups(self, step: Contrast) -> list[Group]:
        options = self.options
        return parameter_groups(step.model.network, nn.Identity(), decay=options.decay, layer_decay=options.layer_decay)

    def _train(self, step, rows, validate, rate, epochs, name, *, legs: int = 0) -> Trained:
        options = self.options
        loop = LoopOptions(
            batch=options.batch, ema=options.ema, wise=options.wise, seed=self.problem.seed, legs=legs,
            tracker=options.tracker,
            repair=RepairOptions(lost=1.0),  # on ten held-out texts any loss under that of guessing may be chance
        )  # fmt: skip
        return _runs.run(
            step,
            self._phases(name, rate, epochs),
            self.loader,
            rows,
            self.resources,
            options=loop,
            validate=validate,
            name=f"{self.key} {name}",
        )

    def _features(self, step: Contrast, rows: np.ndarray) -> np.ndarray:
        device = step.model.device
        return outputs(self.loader, rows, step.features, batch=_runs.MEASURE, device=device)

    def _measure(self, fit: np.ndarray, held: np.ndarray) -> Validate:
        """The held-out loss of the probe on the features as they are now; its outputs are those of `fit` + `held`."""
        rows, score = np.concatenate([fit, held]), _runs.scores(self.problem, held, self.options.class_weight)

        def measure(step: Contrast) -> tuple[dict[str, float], np.ndarray]:
            z = self._features(step, rows)
            return score(self._probe([z], [(fit, held)]).logits if np.isfinite(z).all() else None), z

        return measure

    def _probe(self, features: Sequence[np.ndarray], folds: Sequence[Fold]) -> Candidate:
        """The linear probe whose k-th fold has features of its own: `features[k]` are of its fit and held-out rows.

        The blocks are stacked, so that one penalty is chosen for all of them.
        """
        starts = np.cumsum([0, *(len(z) for z in features)])
        stacked = tuple(
            (start + np.arange(len(fit)), start + len(fit) + np.arange(len(held)))
            for start, (fit, held) in zip(starts, folds, strict=False)
        )
        y = np.concatenate([self.problem.y[np.concatenate(fold)] for fold in folds])
        problem = replace(self.problem, blocks={self.source: np.concatenate(features)}, y=y, folds=stacked)
        return fit_penalised(problem, [Recipe(self.source, L2.fit)], self.options.class_weight)[0]

    def _best_epoch(self, rate: float, runs: Sequence[Trained], folds: Sequence[Fold]) -> _Choice:
        """The epoch with the least calibrated log loss of the probe, pooled over the folds' held-out rows."""
        y = np.concatenate([self.problem.y[held] for _, held in folds])
        weights = sample_weights(y, self.options.class_weight)
        found = []
        for epoch in range(max(len(run.outputs) for run in runs)):
            features = [run.outputs[min(epoch, len(run.outputs) - 1)] for run in runs]
            if not all(np.isfinite(z).all() for z in features):
                continue  # the last leg of a run that was given up
            probe = self._probe(features, folds)
            found.append(_Choice(calibrated_loss(y, probe.logits, weights)[0], rate, epoch, probe))
        return min(found, key=lambda one: one.loss)


def _loss(options: Options) -> Loss:
    if options.loss == "supcon":
        return lambda z, y: _pairs.supcon(z, y, options.temperature)
    if options.loss == "cosine":
        return _pairs.cosine
    known = ("supcon", "cosine")
    raise OptionError(f"loss expects supcon or cosine, got {options.loss!r}.{did_you_mean(options.loss, known)}")
