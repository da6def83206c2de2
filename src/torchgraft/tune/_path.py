"""What the methods share: sample weights, the choice of a setting on held-out rows, and the penalised linear fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from torchgraft.core.errors import OptionError, did_you_mean
from torchgraft.features import mapping
from torchgraft.model import LinearHead, Part
from torchgraft.model.graft import assemble
from torchgraft.model.softmax import Block, Softmax
from torchgraft.tune.base import Candidate, Problem, take

S = TypeVar("S")

PENALTIES = tuple(float(f"{10 ** (k / 2):.3g}") for k in range(-2, 9))
"""C from 0.1 to 10 000 in half decades, for blocks whose total variance is 1."""


def sample_weights(y: np.ndarray, class_weight: str) -> np.ndarray:
    """1 for each of N samples, or (`balanced`) N / (K n_c), so that each of the K present classes counts the same."""
    if class_weight not in ("none", "balanced"):
        raise OptionError(f"class_weight expects none or balanced, got {class_weight!r}.")
    if class_weight == "none":
        return np.ones(len(y))
    _, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
    return len(y) / (len(counts) * counts[codes])


def dense_source(problem: Problem, asked: str | None) -> str:
    """The one block a method runs on: `asked`, or the first dense one. Raises `OptionError` for an unknown name."""
    if asked is None and problem.dense:
        return problem.dense[0]
    if asked not in problem.dense:
        raise OptionError(
            f"source expects one of {', '.join(problem.dense) or 'no dense block at all'}, got {asked!r}."
            f"{did_you_mean(asked or '', problem.dense)}"
        )
    return asked


def mapping_for(source: str) -> Callable[[Any, Any], mapping.Mapping]:
    """How features are made comparable: length 1 for those of a backbone, standardised columns for the user's own.

    A backbone's columns share one scale, and its lengths say little about the class; columns of an `array` may be
    years and dollars.
    """
    return mapping.Standardise.fit if source == "array" else mapping.L2.fit


def needs_dense(problem: Problem) -> str:
    """Why a method on features can't run: empty where it can."""
    return "" if problem.dense else "there are no features: no backbone is at hand"


def calibrated_loss(y: np.ndarray, logits: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Least over T of the weighted mean of -log softmax(logits / T)[y], and that T, in 0.05..1000.

    What is left of the log loss once a temperature is fitted, as it is anyhow: a setting is not chosen for being
    timid. (ln T)^2 / 8, worth about one sample, keeps T from running to 0 where every sample is right.
    """
    rows, total = np.arange(len(y)), float(weights.sum())

    def loss(log_t: float) -> float:
        return -float(weights @ log_softmax(logits / np.exp(log_t), axis=1)[rows, y]) / total

    bounds, prior = (np.log(0.05), np.log(1000.0)), 1 / (8 * total)
    found = minimize_scalar(
        lambda log_t: loss(log_t) + prior * log_t**2, bounds=bounds, method="bounded", options={"xatol": 0.01}
    )
    return loss(found.x), float(np.exp(found.x))


@dataclass(frozen=True)
class Choice:
    """A setting, its pooled log loss on the held-out rows at the best `temperature`, and its logits there (M x C)."""

    setting: Any
    loss: float
    temperature: float
    logits: np.ndarray


def measured(problem: Problem, class_weight: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What choices are made on: positions among the held-out rows, their classes, their weights.

    Rows whose class was absent from their fold's fit rows are left out: no setting can be right about them.
    """
    y = problem.y[problem.held_out]
    learnt = np.concatenate([np.isin(problem.y[held], problem.y[fit]) for fit, held in problem.folds])
    rows = np.flatnonzero(learnt) if learnt.any() else np.arange(len(y))
    return rows, y[rows], sample_weights(y[rows], class_weight)


def choose(
    problem: Problem,
    settings: Iterable[S],
    logits_of: Callable[[S], np.ndarray],
    class_weight: str,
    *,
    patience: int = 99,
) -> Choice:
    """The setting with the least calibrated log loss, pooled over the held-out rows of all folds; the first of equals.

    Stops after `patience` settings in a row that don't improve.
    """
    rows, y, weights = measured(problem, class_weight)
    best, worse = None, 0
    for setting in settings:
        logits = logits_of(setting)
        loss, temperature = calibrated_loss(y, logits[rows], weights)
        if best is None or loss < best.loss - 1e-9:
            best, worse = Choice(setting, loss, temperature, logits), 0
        else:
            worse += 1
        if worse >= patience:
            break
    return best


@dataclass(frozen=True)
class Recipe:
    """A source and how a mapping is fitted on its values: `fit(values, y)`."""

    source: str
    fit: Callable[[Any, np.ndarray], mapping.Mapping]


class _Fitted:
    """Mappings fitted on some rows, the blocks they give, and the scale at which each block has total variance 1."""

    def __init__(self, problem: Problem, recipes: Sequence[Recipe], rows: np.ndarray, class_weight: str) -> None:
        self.problem, self.y = problem, problem.y[rows]
        values = {recipe.source: take(problem.blocks[recipe.source], rows) for recipe in recipes}
        self.parts = tuple(Part(r.source, r.fit(values[r.source], self.y)) for r in recipes)
        self.blocks = [Block(part.mapping.transform(values[part.source])) for part in self.parts]
        self.scales = [1 / np.sqrt(max(block.variances.sum(), 1e-12)) for block in self.blocks]
        self.weights = sample_weights(self.y, class_weight)

    def solver(self, relative: Sequence[float]) -> Softmax:
        scales = [own * given for own, given in zip(self.scales, relative, strict=True)]
        return Softmax(self.blocks, scales, self.y, self.weights, len(self.problem.classes))

    def assembled(self, rows: np.ndarray) -> mapping.Values:
        return assemble(self.parts, {p.source: take(self.problem.blocks[p.source], rows) for p in self.parts})


def fit_penalised(
    problem: Problem, recipes: Sequence[Recipe], class_weight: str, *, scalings: Sequence[Sequence[float]] = ()
) -> tuple[Candidate, Sequence[float]]:
    """The multinomial linear probe on one or several sources, and the relative scales of the blocks that were chosen.

    Every block is brought to total variance 1, then multiplied by its entry of one of `scalings` (default: all 1).
    C is walked up `PENALTIES` with the first scaling; each other scaling is tried at the best C and its neighbours.
    What has the least held-out log loss is refitted on all rows.
    """
    scalings = scalings or (tuple(1.0 for _ in recipes),)
    folds = []
    for rows, held in problem.folds:
        fitted = _Fitted(problem, recipes, rows, class_weight)
        folds.append((fitted, fitted.assembled(held)))
    best, scaling, penalties = None, scalings[0], PENALTIES
    for tried in scalings:
        choice = choose(problem, penalties, _PathLogits(folds, tried), class_weight, patience=2)
        if best is None or choice.loss < best.loss:
            best, scaling = choice, tried
        near = PENALTIES.index(best.setting)
        penalties = PENALTIES[max(near - 1, 0) : near + 2]
    everything = _Fitted(problem, recipes, np.arange(len(problem.y)), class_weight)
    head = everything.solver(scaling).solve(best.setting)
    return candidate(problem, everything.parts, head, best.logits, {"C": best.setting}), scaling


class _PathLogits:
    """C -> logits of the held-out rows of all folds, each fold's solver going on from its last minimum."""

    def __init__(self, folds: Sequence[tuple[_Fitted, mapping.Values]], scaling: Sequence[float]) -> None:
        self.pairs = [(fitted.solver(scaling), held) for fitted, held in folds]

    def __call__(self, c: float) -> np.ndarray:
        return np.concatenate([solver.solve(c, tolerance=1e-6).logits(held) for solver, held in self.pairs])


def candidate(
    problem: Problem, parts: tuple[Part, ...], head: LinearHead, logits: np.ndarray, chosen: Mapping[str, Any]
) -> Candidate:
    """A `Candidate` whose note lists what was chosen."""
    note = ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in chosen.items()
    )
    return Candidate(parts=parts, head=head, rows=problem.held_out, logits=logits, chosen=chosen, note=note)


def probe_heads(problem: Problem, source: str, class_weight: str, parts: Sequence[np.ndarray]) -> list[LinearHead]:
    """The linear probe's head on l2-normalised features of `source`, fitted on each of `parts` (rows), one penalty."""
    recipe = Recipe(source, mapping.L2.fit)
    found, _ = fit_penalised(problem, [recipe], class_weight)
    fitted = (_Fitted(problem, [recipe], rows, class_weight) for rows in parts)
    return [one.solver((1.0,)).solve(found.chosen["C"]) for one in fitted]
