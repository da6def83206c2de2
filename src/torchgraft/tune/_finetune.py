"""Fine-tuning as a fair rung: a rate that is found, epochs that fit the budget, held-out logits of every epoch.

Every method that trains a backbone is a `Recipe` for the one procedure here. On each fold it trains on the fit rows
and keeps the held-out logits after every epoch; the epoch with the least log loss, pooled over the folds, is the one
that the final training on all rows stops at. So the number of epochs is chosen as a head's penalty is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from torchgraft.backbones import Backbone
from torchgraft.features.mapping import L2, Identity
from torchgraft.model import LinearHead, Part
from torchgraft.train.groups import Group, parameter_groups
from torchgraft.train.loader import Subset, outputs
from torchgraft.train.loop import SPENT, LoopOptions, Trained, train
from torchgraft.train.loss import ClassLoss, LossOptions
from torchgraft.train.norm import choose_norm
from torchgraft.train.step import Loader, Phase, Validate
from torchgraft.tune._classifier import Classifier
from torchgraft.tune._loaders import loader_for
from torchgraft.tune._path import calibrated_loss, dense_source, probe_heads, sample_weights
from torchgraft.tune.base import Candidate, Problem, Skip

RATES = (3e-4, 1e-4, 1e-3)
"""Rates that are tried where none is given, the usual one first."""

TRIAL = 800
"""Samples that a rate is tried on at most."""

_TIMED = 8
"""Steps that are timed before the budget is planned."""

MEASURE = 32
"""Samples of a batch without gradients."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What every method that trains a backbone can be told; 0 and auto are chosen by the data and the budget.

    `source`: the backbone (None: the first); `rate`: learning rate of the head and the last block (0: short trials on
    the first fold tell); `epochs` (0: as many as fit, at most 150 / sqrt(N)); `batch`: samples of one update; `decay`:
    weight decay; `layer_decay`: rate of a block over that of the next one, in (0, 1]; `norm`: BatchNorm policy frozen,
    affine, adapt, train or auto; `augment`: auto or none; `mixup`, `cutmix`: their alpha (0: off); `smoothing`: label
    smoothing; `logit_adjustment`: tau; `class_weight`: none or balanced; `ema`: decay of the average (0: none); `wise`:
    share of the trained weights in the result (1: all); `tracker`: tensorboard, mlflow or wandb.
    """

    source: str | None = None
    rate: float = 0.0
    epochs: int = 0
    batch: int = 16
    decay: float = 0.01
    layer_decay: float = 1.0
    norm: str = "auto"
    augment: str = "auto"
    mixup: float = 0.0
    cutmix: float = 0.0
    smoothing: float = 0.0
    logit_adjustment: float = 0.0
    class_weight: str = "none"
    ema: float = 0.0
    wise: float = 1.0
    tracker: str = ""


Phases = Callable[[TrainOptions, float, int, str], Sequence[Phase]]
"""(options, rate, epochs, BatchNorm policy) -> the phases; their epochs add up to `epochs`."""


def all_at_once(options: TrainOptions, rate: float, epochs: int, norm: str) -> Sequence[Phase]:
    """One phase in which everything trains."""
    return [Phase(name="all layers", epochs=epochs, rate=rate, groups=everything(options), norm=norm)]


def everything(options: TrainOptions, **more: Any) -> Callable[[Classifier], list[Group]]:
    """The groups of backbone and head as the options have them; `more` goes to `parameter_groups`."""
    return lambda step: parameter_groups(
        step.network, step.head, decay=options.decay, layer_decay=options.layer_decay, **more
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Recipe:
    """What makes one method differ from another.

    `probe`: whether it starts from the exact linear probe (else from a random head on plain features); `phases`: what
    trains when; `wrap`: called on a fresh classifier and the rows it is fitted on, to add a penalty or adapters;
    `unwrap`: called before its weights are read; `rates`: those tried where none is given.
    """

    probe: bool = True
    phases: Phases = all_at_once
    wrap: Callable[[Classifier, Problem, np.ndarray], None] = lambda step, problem, rows: None
    unwrap: Callable[[Classifier], None] = lambda step: None
    rates: tuple[float, ...] = RATES


def applies(problem: Problem) -> str:
    """Why nothing can be fine-tuned: empty where it can."""
    if problem.resources is None or not problem.resources.backbones:
        return "there is no backbone to train"
    return ""


def fine_tune(problem: Problem, options: TrainOptions, recipe: Recipe, method: str) -> Candidate:
    """The candidate of a recipe. Raises `Skip` where the budget is too short, or no epoch beats the start."""
    return _FineTuning(problem, options, recipe, method).run()


class _FineTuning:
    """One call of `fine_tune`."""

    def __init__(self, problem: Problem, options: TrainOptions, recipe: Recipe, method: str) -> None:
        self.problem, self.options, self.recipe, self.method = problem, options, recipe, method
        self.resources = problem.resources
        known = replace(problem, blocks={name: problem.blocks[name] for name in self.resources.backbones})
        self.source = dense_source(known, options.source)
        self.backbone: Backbone = self.resources.backbones[self.source]
        self.mapping = L2() if recipe.probe else Identity()
        self.classes = len(problem.classes)
        self.loader: Loader = loader_for(problem, self.backbone, options)
        self.key = f"{method}:{self.source}"

    def run(self) -> Candidate:
        everything = np.arange(len(self.problem.y))
        heads = self._heads(everything)
        decided = self.resources.journal.once(self.key, lambda: self._decide(heads))
        if "skip" in decided:
            raise Skip(decided["skip"])
        rate, epochs, folds = (decided[name] for name in ("rate", "epochs", "folds"))
        runs: list[Trained] = []
        for i in range(folds):
            fit, held = self.problem.folds[i]
            step = self._classifier(heads[i], fit)
            runs.append(self._train(step, fit, held, rate, epochs, f"fold {i + 1} of {folds}"))
            if runs[-1].history.stopped == SPENT:
                raise Skip("the budget was spent before it was done")
            if self.recipe.probe and (i or folds == 1) and not self._best_epoch(runs)[0]:
                rows = sum(len(held) for _, held in self.problem.folds[: i + 1])
                raise Skip(
                    f"on {rows} held-out samples no epoch at rate {rate:.1e} beats the linear probe it starts from"
                )
        epoch, logits = self._best_epoch(runs)
        lowered = float(np.median([_factor(run) for run in runs]))
        final = self._classifier(heads[-1], everything)
        last = self._train(final, everything, None, rate * lowered, epochs, "all samples", legs=max(epoch, 1))
        chosen = {"rate": rate * lowered, "epochs": epoch, "of": epochs, "folds": folds}
        return self._candidate(final, [*runs, last], logits, chosen)

    def _candidate(self, step: Classifier, runs: list[Trained], logits: np.ndarray, chosen: dict) -> Candidate:
        self.recipe.unwrap(step)
        tuned = step.tuned(self.backbone)
        return Candidate(
            parts=(Part(tuned.name, self.mapping),),
            head=step.fitted_head(),
            rows=np.concatenate([held for _, held in self.problem.folds[: chosen["folds"]]]),
            logits=logits.astype(np.float64),
            chosen=chosen,
            note=f"rate {chosen['rate']:.1e}, epoch {chosen['epochs']} of {chosen['of']}, {chosen['folds']} folds",
            tuned={tuned.name: tuned},
            history=tuple(run.history.to_dict() for run in runs),
        )

    def _heads(self, everything: np.ndarray) -> list[LinearHead | None]:
        """A start for every fold and, last, for all rows: the linear probe's, with one penalty for all."""
        parts = [fit for fit, _ in self.problem.folds] + [everything]
        if not self.recipe.probe:
            return [None] * len(parts)
        return probe_heads(self.problem, self.source, self.options.class_weight, parts)

    def _decide(self, heads: list[LinearHead | None]) -> dict[str, Any]:
        """Rate, epochs and folds within the time that is left, or why not."""
        fit, held = self.problem.folds[0]
        cost = self._seconds_a_sample(heads[0], fit)
        planned = plan(
            n=len(self.problem.y),
            folds=[(len(a), len(b)) for a, b in self.problem.folds],
            cost=cost,
            left=self.resources.deadline - time.monotonic(),
            epochs=self.options.epochs,
            trials=0 if self.options.rate else len(self.recipe.rates),
        )
        if "skip" not in planned:
            planned["rate"] = self.options.rate or self._find_rate(heads[0], fit, held, planned["epochs"])
        return planned

    def _seconds_a_sample(self, head: LinearHead | None, fit: np.ndarray) -> float:
        """Wall time of training on one sample, measured on this machine with the real network and batch."""
        step = self._classifier(head, fit)
        phase = self.recipe.phases(self.options, 1e-9, 1, self._norm(step))[-1]
        loader, took = Subset(self.loader, fit), []
        options = LoopOptions(batch=self.options.batch, leg=1, legs=_TIMED)
        train(step, [phase], loader, options=options, on_leg=lambda history: took.append(time.monotonic()))
        gaps = np.diff(took)
        return float(np.median(gaps)) / self.options.batch if len(gaps) else 0.0

    def _find_rate(self, head: LinearHead | None, fit: np.ndarray, held: np.ndarray, epochs: int) -> float:
        """The rate whose short training on a part of the first fold has the least held-out log loss."""
        rng = np.random.default_rng(self.problem.seed)
        part = np.sort(rng.permutation(fit)[:TRIAL])
        least, best = np.inf, self.recipe.rates[0]
        for rate in self.recipe.rates:
            step = self._classifier(head, part)
            done = self._train(step, part, held[:TRIAL], rate, min(epochs, 2), f"trying rate {rate:.0e}", keep=False)
            loss = min(leg["loss"] for leg in done.history.legs[1:])
            if loss < least:
                least, best = loss, rate
        return best

    def _classifier(self, head: LinearHead | None, rows: np.ndarray) -> Classifier:
        """A fresh one, with its loss, at the start of training on `rows`."""
        import torch  # seeded, since a random head belongs to the run

        torch.manual_seed(self.problem.seed)
        step = Classifier(self.backbone, self.resources.poolings[self.source], self.mapping, self.classes)
        if head is not None:
            step.start_from(head)
        counts = np.bincount(self.problem.y[rows], minlength=self.classes)
        options = self.options
        step.loss = ClassLoss(
            LossOptions(
                smoothing=options.smoothing,
                class_weight=options.class_weight,
                logit_adjustment=options.logit_adjustment,
            ),
            counts,
        )
        self.recipe.wrap(step, self.problem, rows)
        return step

    def _norm(self, step: Classifier) -> str:
        if self.options.norm != "auto":
            return self.options.norm
        return choose_norm(step.network, batch=self.options.batch, backbone_frozen=False)[0]

    def _train(self, step, rows, held, rate, epochs, name, *, legs: int = 0, keep: bool = True) -> Trained:
        """Train on `rows`; with `held` rows, measured on them after every epoch."""
        resources, options = self.resources, self.options
        folder = resources.folder
        file = folder / f"{_plain(self.key)}-{_plain(name)}.safetensors" if folder and keep else None
        phases = [replace(p, name=f"{self.method}, {name}: {p.name}") for p in self._phases(step, rate, epochs)]
        loop = LoopOptions(
            batch=options.batch, ema=options.ema, wise=options.wise, seed=self.problem.seed, legs=legs,
            tracker=options.tracker if keep else "",
        )  # fmt: skip
        return train(
            step,
            phases,
            Subset(self.loader, rows),
            options=loop,
            validate=None if held is None else self._measure(held),
            checkpoint=file,
            deadline=resources.deadline,
            progress=resources.progress,
            on_leg=lambda history: resources.on_leg(history.to_dict()),
        )

    def _phases(self, step: Classifier, rate: float, epochs: int) -> Sequence[Phase]:
        return self.recipe.phases(self.options, rate, epochs, self._norm(step))

    def _measure(self, held: np.ndarray) -> Validate:
        y = self.problem.y[held]
        weights = sample_weights(y, self.options.class_weight)
        shares = np.bincount(y, weights, minlength=self.classes) / weights.sum()
        base = float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())

        def measure(step: Classifier) -> tuple[dict[str, float], np.ndarray]:
            logits = outputs(self.loader, held, step.logits, batch=MEASURE, device=step.device)
            if not np.isfinite(logits).all():
                return {"loss": float("nan"), "accuracy": 0.0, "base": base}, logits
            loss = calibrated_loss(y, logits.astype(np.float64), weights)[0]
            return {"loss": loss, "accuracy": float((logits.argmax(1) == y).mean()), "base": base}, logits

        return measure

    def _best_epoch(self, runs: Sequence[Trained]) -> tuple[int, np.ndarray]:
        """The epoch with the least calibrated log loss, pooled over the folds' held-out rows, and its logits."""
        y = np.concatenate([self.problem.y[held] for _, held in self.problem.folds[: len(runs)]])
        weights = sample_weights(y, self.options.class_weight)
        first = 0 if self.recipe.probe else 1
        found = []
        for epoch in range(first, max(len(run.outputs) for run in runs)):
            logits = np.concatenate([run.outputs[min(epoch, len(run.outputs) - 1)] for run in runs])
            found.append((calibrated_loss(y, logits.astype(np.float64), weights)[0], epoch, logits))
        return min(found, key=lambda one: one[:2])[1:]


def plan(
    *, n: int, folds: Sequence[tuple[int, int]], cost: float, left: float, epochs: int, trials: int
) -> dict[str, Any]:
    """Epochs and folds that fit into `left` seconds, `cost` being the seconds of training on one sample.

    Without `epochs` given, 150 / sqrt(n) of them are wanted, 1 to 12. First folds are given up, then epochs down to a
    third. Trials of a rate are two epochs on at most `TRIAL` samples; measuring costs a third of training.
    """
    wanted = epochs or int(np.clip(round(150 / np.sqrt(n)), 1, 12))
    for tried in range(wanted, (wanted if epochs else max(wanted // 3, 1)) - 1, -1):
        for k in range(len(folds), 0, -1):
            samples = n * tried + sum(fit * tried + held * (tried + 1) / 3 for fit, held in folds[:k])
            samples += trials * (min(folds[0][0], TRIAL) * min(tried, 2) + min(folds[0][1], TRIAL))
            if cost * samples <= left:
                return {"epochs": tried, "folds": k, "seconds": cost * samples}
    return {"skip": f"it would take {cost * samples:.0f} s, the budget has {max(left, 0):.0f} s left"}


def _factor(run: Trained) -> float:
    """What repairs made of the rate."""
    return run.history.repairs[-1]["factor"] if run.history.repairs else 1.0


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)
