"""Fine-tuning as a fair rung: a rate that is found, epochs that fit the budget, held-out logits of every epoch.

Every method that trains a backbone is a `Recipe` for the one procedure here. On each fold it trains on the fit rows
and keeps the held-out logits after every epoch. The final training on all rows goes to the last epoch where that beats
the start, pooled over the folds, and else stops at the best one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from torchgraft.backbones import Backbone
from torchgraft.core import ranks
from torchgraft.features.mapping import L2, Identity
from torchgraft.model import LinearHead, Part
from torchgraft.train.loader import Subset, outputs
from torchgraft.train.loop import LoopOptions, Trained, train
from torchgraft.train.loss import ClassLoss, LossOptions, log_prior
from torchgraft.train.norm import choose_norm, set_norm
from torchgraft.train.optim import accelerator
from torchgraft.train.range_test import RangeTest, range_test
from torchgraft.train.repair import RepairOptions
from torchgraft.train.step import Phase, Validate
from torchgraft.tune import _runs
from torchgraft.tune._budget import TRIAL, Timed, another_fits, plan, refusal, trial_epochs, wanted_epochs
from torchgraft.tune._classifier import Classifier
from torchgraft.tune._loaders import loader_for
from torchgraft.tune._path import calibrated_loss, dense_source, probe_heads, sample_weights
from torchgraft.tune._recipe import Recipe, TrainOptions, applies
from torchgraft.tune.base import Candidate, Problem, Skip

__all__ = ["Recipe", "TrainOptions", "applies", "fine_tune"]

_TIMED = 8
"""Steps that are timed before the budget is planned."""

_CLIMB = 30
"""Steps of the learning-rate range test."""

_TRIED = RepairOptions(lost=math.inf, rose=math.inf, worse=math.inf)
"""For the trial of a rate: what its loss comes to is what is asked."""


def fine_tune(problem: Problem, options: TrainOptions, recipe: Recipe, method: str) -> Candidate:
    """The candidate of a recipe. Raises `TooLong`, or `Skip` where no epoch beats the start."""
    return _FineTuning(problem, options, recipe, method).run()


class _FineTuning:
    """One call of `fine_tune`."""

    def __init__(self, problem: Problem, options: TrainOptions, recipe: Recipe, method: str) -> None:
        self.problem, self.recipe, self.method = problem, recipe, method
        self.resources = problem.resources
        known = replace(problem, blocks={name: problem.blocks[name] for name in self.resources.backbones})
        self.source = dense_source(known, options.source)
        self.backbone: Backbone = self.resources.backbones[self.source]
        self.mapping = L2() if recipe.probe else Identity()
        self.classes = len(problem.classes)
        epochs = options.epochs or wanted_epochs(len(problem.y), self.backbone.modality, recipe.least)
        self.loader, self.options, self.said = loader_for(problem, self.backbone, options, epochs=epochs)
        self.key = f"{method}:{self.source}"
        self.dips = recipe.probe and self.backbone.modality == "image"  # see `trial_epochs`

    def run(self) -> Candidate:
        everything = np.arange(len(self.problem.y))
        heads = self._heads(everything)
        decided = self.resources.journal.once(self.key, lambda: self._decide(heads))
        if "skip" in decided:
            raise refusal(decided)
        rate, epochs, folds = (decided[name] for name in ("rate", "epochs", "folds"))
        runs: list[Trained] = []
        said: dict[str, str] = {}
        for i, (fit, held) in enumerate(self.problem.folds):  # beyond the plan too: few held-out rows prove little
            if i and not another_fits(self.problem, self.key, i, runs):
                break
            step = self._classifier(heads[i], fit)
            said = said or self._say(decided, step)
            runs.append(self._train(step, fit, held, rate, epochs, f"fold {i + 1} of {len(self.problem.folds)}"))
            if not self.recipe.probe and len(runs[-1].outputs) < 2:  # every attempt exploded
                raise Skip(f"it did not train at rate {rate:.1e}: {runs[-1].history.stopped}")
            if self.recipe.probe and (i or folds == 1) and not self._best_epoch(runs)[0]:
                rows = sum(len(held) for _, held in self.problem.folds[: i + 1])
                raise Skip(
                    f"on {rows} held-out samples no epoch at rate {rate:.1e} beats the linear probe it starts from"
                )
        epoch, logits = self._best_epoch(runs)
        rate *= _runs.lowered(runs)
        final = self._classifier(heads[-1], everything)
        last = self._train(final, everything, None, rate, epochs, "all samples", legs=max(epoch, 1))
        chosen = {"rate": rate, "epochs": epoch, "of": epochs, "folds": len(runs)}
        return self._candidate(final, [*runs, last], logits, chosen | said)

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
        rates = (self.options.rate,) if self.options.rate else self.recipe.rates
        cost = self._seconds_a_sample(heads[0], fit)
        untried, seen = self._plan(cost, 0), {}
        if not self._trial(len(fit), untried.get("epochs", 0)):
            rates = rates[:1]
        tested = 0 if len(rates) == 1 else _CLIMB * self.options.batch
        if tested and _as_much(self._plan(cost, 0, tested), untried):
            found = self._test_range(rates, heads[0], fit)
            rates, seen = tuple(ranks.agree(found.bounded(rates))), {"range_test": str(found)}
            self.resources.progress.say(f"{self.method}, range test of the rate: {found}. {_to_try(rates)}")
        planned = self._plan(cost, len(rates))
        if len(rates) == 1 or not _as_much(planned, untried):
            return self._plan(cost, 0) | {"rate": rates[0]} | seen
        try:
            rate, cost = self._find_rate(rates, heads[0], fit, held, planned["epochs"])
        except Skip as skip:  # the clock's word, which a run that goes on must hear again
            return {"skip": str(skip), "spent": True}
        return self._plan(cost, 0) | {"rate": rate} | seen  # anew: trials are longer than the first measurement

    def _plan(self, cost: float, trials: int, tested: int = 0) -> dict[str, Any]:
        planned = plan(
            n=len(self.problem.y),
            folds=[(len(a), len(b)) for a, b in self.problem.folds],
            cost=cost,
            left=self.resources.deadline - time.monotonic(),
            epochs=self.options.epochs,
            trials=trials,
            least=self.recipe.least,
            tested=tested,
            modality=self.backbone.modality,
            dips=self.dips,
            cheapest=self.source == next(iter(self.resources.backbones)),
        )
        return ranks.agree(planned)  # each process has a clock of its own, and all have to train together

    def _trial(self, n: int, epochs: int) -> int:
        return trial_epochs(n, epochs, self.recipe.least, dips=self.dips)

    def _seconds_a_sample(self, head: LinearHead | None, fit: np.ndarray) -> float:
        """Wall time of training on one sample, measured on this machine with the real network and batch."""
        step = self._classifier(head, fit)
        phase = replace(self._phases(step, 1e-9, self.recipe.least)[-1], epochs=_TIMED)  # an epoch may be one step
        loader = Timed(Subset(self.loader, fit))
        options = LoopOptions(batch=self.options.batch, leg=_TIMED, legs=1)
        train(step, [phase], loader, options=options, deadline=self.resources.deadline)
        return loader.seconds_a_sample()

    def _test_range(self, rates: Sequence[float], head: LinearHead | None, fit: np.ndarray) -> RangeTest:
        """What the first phase's loss does on a part of the first fold, while the rate climbs past all of `rates`."""
        part = self._part(fit)
        step = self._classifier(head, part).to(accelerator().device)
        phase = self._phases(step, 1.0, self.recipe.least)[0]
        set_norm(step, phase.norm)
        return range_test(
            step, phase.groups, Subset(self.loader, part), batch=self.options.batch, low=min(rates) / 10,
            high=10 * max(rates), steps=_CLIMB, seed=self.problem.seed, deadline=self.resources.deadline,
        )  # fmt: skip

    def _part(self, fit: np.ndarray) -> np.ndarray:
        """The rows of the first fold that rates are tried on."""
        return np.sort(np.random.default_rng(self.problem.seed).permutation(fit)[:TRIAL])

    def _find_rate(self, rates, head, fit: np.ndarray, held: np.ndarray, epochs: int) -> tuple[float, float]:
        """The rate whose short training on a part of the first fold has the least held-out log loss; its cost.

        The usual one where none beats the linear probe it starts from. Where features must change much, training first
        gets worse and that takes longer than a trial; the slowest would win, which is as good as none.
        """
        part, each = self._part(fit), 0.0
        found, start, epochs = [], time.monotonic(), self._trial(len(fit), epochs)
        for rate in rates:
            if found and "skip" in self._plan(each, 1):  # another trial would leave no time to train
                break
            step = self._classifier(head, part)
            done = self._train(step, part, held[:TRIAL], rate, epochs, f"trying rate {rate:.0e}", keep=False)
            losses = [leg["loss"] for leg in done.history.legs[1:] if np.isfinite(leg["loss"])]
            found.append((min(losses, default=np.inf), rate * _runs.lowered([done])))  # that of an attempt that held
            samples = len(found) * (epochs * len(part) + (epochs + 1) * len(held[:TRIAL]) / 3)
            each = (time.monotonic() - start) / samples
        least, rate = min(found, key=lambda one: one[0])
        usual = self.recipe.probe and least >= done.history.legs[0]["loss"]
        return (rates[0] if usual else rate), each

    def _classifier(self, head: LinearHead | None, rows: np.ndarray) -> Classifier:
        """A fresh one, with its loss, at the start of training on `rows`."""
        import torch  # seeded, since a random head belongs to the run

        torch.manual_seed(self.problem.seed)
        options, recipe = self.options, self.recipe
        pooling = self.resources.poolings[self.source]
        step = Classifier(
            self.backbone, pooling, self.mapping, self.classes, hidden=recipe.hidden, dropout=recipe.dropout
        )
        counts = np.bincount(self.problem.y[rows], minlength=self.classes)
        if head is None:
            step.start_at(_log_odds(options, counts))
        else:
            step.start_from(head)
        step.loss = ClassLoss(
            LossOptions(
                smoothing=options.smoothing,
                class_weight=options.class_weight,
                logit_adjustment=options.logit_adjustment,
            ),
            counts,
        )
        recipe.wrap(step, self.problem, rows)
        return step

    def _norm(self, step: Classifier) -> tuple[str, str]:
        """The BatchNorm policy, and why."""
        if self.options.norm != "auto":
            return self.options.norm, "as asked"
        chosen, why = choose_norm(step.network, batch=self.options.batch, backbone_frozen=False)
        if chosen != "none" and self.recipe.norm:
            return self.recipe.norm, f"as {self.method} has it"
        if chosen == "train" and self.recipe.probe:
            return "affine", "the probe it starts from was fitted on features of the running statistics"
        return chosen, why

    def _say(self, decided: dict[str, Any], step: Classifier) -> dict[str, str]:
        """Tell what was decided for the data; the same as values for the report."""
        policy, why = self._norm(step)
        said = {"norm": f"{policy} ({why})", "augmentation": self.said}
        said |= {name: decided[name] for name in ("range_test",) if name in decided}
        of = len(self.problem.folds)
        more = ", more if there is time" if decided["folds"] < of else ""
        self.resources.progress.say(
            f"{self.method}: rate {decided['rate']:.1e}, up to {decided['epochs']} epochs on {decided['folds']} of "
            f"{of} folds{more}. BatchNorm {said['norm']}. {self.said[:1].upper()}{self.said[1:]}"
        )
        return said

    def _train(self, step, rows, held, rate, epochs, name, *, legs: int = 0, keep: bool = True) -> Trained:
        """Train on `rows`; with `held` rows, measured on them after every epoch."""
        options = self.options
        phases = [replace(p, name=f"{self.method}, {name}: {p.name}") for p in self._phases(step, rate, epochs)]
        loop = LoopOptions(
            batch=options.batch, ema=options.ema, wise=options.wise, seed=self.problem.seed, legs=legs,
            tracker=options.tracker if keep else "", repair=RepairOptions() if keep else _TRIED,
        )  # fmt: skip
        return _runs.run(
            step,
            phases,
            self.loader,
            rows,
            self.resources,
            options=loop,
            validate=None if held is None else self._measure(held),
            name=f"{self.key}-{name}" if keep else "",
        )

    def _phases(self, step: Classifier, rate: float, epochs: int) -> Sequence[Phase]:
        return self.recipe.phases(step, self.options, rate, epochs, self._norm(step)[0])

    def _measure(self, held: np.ndarray) -> Validate:
        score = _runs.scores(self.problem, held, self.options.class_weight)

        def measure(step: Classifier) -> tuple[dict[str, float], np.ndarray]:
            logits = outputs(self.loader, held, step.logits, batch=_runs.MEASURE, device=step.device)
            return score(logits), logits

        return measure

    def _best_epoch(self, runs: Sequence[Trained]) -> tuple[int, np.ndarray]:
        """The epoch to stop at and its logits, by the calibrated log loss pooled over the folds' held-out rows.

        The last one where it beats the start: there the rate has come down, and nothing is picked out of noise. Else
        the best one, the start included where that is a probe.
        """
        y = np.concatenate([self.problem.y[held] for _, held in self.problem.folds[: len(runs)]])
        weights = sample_weights(y, self.options.class_weight)
        found = []
        for epoch in range(max(len(run.outputs) for run in runs)):
            logits = np.concatenate([run.outputs[min(epoch, len(run.outputs) - 1)] for run in runs])
            found.append((calibrated_loss(y, logits.astype(np.float64), weights)[0], epoch, logits))
        if found[-1][0] < found[0][0]:
            return found[-1][1:]
        return min(found[0 if self.recipe.probe else 1 :], key=lambda one: one[:2])[1:]


def _as_much(planned: dict[str, Any], untried: dict[str, Any]) -> bool:
    """Whether a plan that finds a rate first has the epochs of one without, and its second fold: one proves little."""
    return planned.get("epochs", 0) >= untried.get("epochs", 1) and planned["folds"] >= min(untried["folds"], 2)


def _to_try(rates: Sequence[float]) -> str:
    tried = ", ".join(f"{rate:.0e}" for rate in rates)
    return f"Rates to try: {tried}" if len(rates) > 1 else f"The rate is {tried}"


def _log_odds(options: TrainOptions, counts: np.ndarray) -> np.ndarray:
    """Biases (C,) at which a head that knows nothing gives the class frequencies, as the loss sees them."""
    known = 0.0 if options.class_weight == "balanced" else 1.0
    return (known - options.logit_adjustment) * log_prior(counts).numpy()
