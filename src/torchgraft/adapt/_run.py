"""Adapting a network: the same on features that are at hand and through a backbone."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from scipy import sparse
from scipy.special import log_softmax, softmax
from torch import nn

from torchgraft.adapt._domains import DomainLoader
from torchgraft.adapt.base import MEASURE, AdaptOptions, DomainNet, Net
from torchgraft.core import registry
from torchgraft.core.errors import DataError, OptionError
from torchgraft.core.options import build
from torchgraft.core.progress import SILENT, Progress
from torchgraft.model import LinearHead, MlpHead
from torchgraft.train.history import History
from torchgraft.train.loader import ArrayLoader, Subset, outputs
from torchgraft.train.loop import LoopOptions, Trained, train
from torchgraft.train.norm import choose_norm, set_norm
from torchgraft.train.optim import own_randomness
from torchgraft.train.repair import RepairOptions
from torchgraft.train.schedule import inverse
from torchgraft.train.step import Loader, Phase, Validate

Score = Callable[[np.ndarray, float], float]
"""Judges an epoch without labels of the target: its probabilities (Nt x C) and the accuracy on held-out source samples
(nan where none are held out) to a number, larger is better. One that is not finite rejects the epoch."""

Start = Net | LinearHead | MlpHead
"""What a method begins with where it does not begin afresh."""

_STEPS, _EPOCHS = 600, (5, 40)
"""Updates that are wanted where `epochs` is 0, and the least and most epochs for them."""

_NEVER = 1e9
"""Watched instead of a score for an epoch that must not be kept."""

_UNGUARDED = RepairOptions(loss_over=1e3, lost=math.inf, rose=math.inf, worse=math.inf)
"""An adversary's loss rises when all goes well: what is repaired is not finite, or a gradient out of all bounds."""


@dataclass(frozen=True, eq=False)
class Adapted:
    """A network that was adapted to a target.

    `net` is the network itself, in eval mode; `head` what stands above its `network` part, as arrays (on features: all
    of it). `target_logits` (E + 1 x Nt x C) and `source_logits` (E + 1 x M x C, of the held-out source samples
    `source_rows`) are from before training and after each of the E epochs, `kept` is the position of the one that the
    network is from, as `history.best`. In `history.legs`, `loss` is what was watched: less the score, or less the
    number of the epoch. `note` tells people what was done.
    """

    net: Net
    head: LinearHead | MlpHead
    history: History
    target_logits: np.ndarray
    source_logits: np.ndarray
    source_rows: np.ndarray
    kept: int
    note: str = ""

    @property
    def logits(self) -> np.ndarray:
        """Nt x C logits of the target, of the epoch that is kept."""
        return self.target_logits[self.kept]

    @property
    def probabilities(self) -> np.ndarray:
        """Nt x C, rows of sum 1."""
        return softmax(self.logits, axis=1)


def adapt(
    method: str,
    source_z: np.ndarray | None,
    ys: Sequence[int] | np.ndarray | None,
    target_z: np.ndarray,
    *,
    n_classes: int,
    start: Start | None = None,
    options: AdaptOptions | dict[str, Any] | None = None,
    seed: int = 0,
    validate: np.ndarray | None = None,
    score: Score | None = None,
    deadline: float = math.inf,
    progress: Progress = SILENT,
) -> Adapted:
    """Adapt on features: source Ns x D with classes in 0..C-1, unlabelled target Nt x D.

    See `adapt_network` for the rest. Raises `DataError`, with all that is wrong, for rows that are not finite numbers
    N x D of one width, and labels that don't fit.
    """
    source, target = _checked(source_z, ys, target_z, n_classes)
    labelled = None if source is None else ArrayLoader(source, np.asarray(ys), classes=n_classes)
    return adapt_network(
        method,
        nn.Identity(),
        target.shape[1],
        labelled,
        ArrayLoader(target, None, classes=n_classes),
        n_classes=n_classes,
        start=start,
        options=options,
        seed=seed,
        validate=validate,
        score=score,
        deadline=deadline,
        progress=progress,
    )


def adapt_network(
    method: str,
    network: nn.Module,
    width: int,
    source: Loader | None,
    target: Loader,
    *,
    n_classes: int,
    strong: Loader | None = None,
    start: Start | None = None,
    options: AdaptOptions | dict[str, Any] | None = None,
    seed: int = 0,
    validate: np.ndarray | None = None,
    score: Score | None = None,
    deadline: float = math.inf,
    progress: Progress = SILENT,
) -> Adapted:
    """Adapt a copy of `network` (inputs to B x `width` features) by the method of that name.

    `start` is a fitted network or head to begin with (its `network` is taken instead of the one given, where it has
    one), needed by methods without source data. `strong` is the target with stronger augmentation, for methods that
    use two views. `validate`: positions of source samples that are measured and not trained on (None: one in ten of
    each class; empty: none). The last epoch is kept, or with `score` the one it judges best, the state before training
    included where there was a `start`. Training stops at `deadline` (`time.monotonic`). The same call gives the same
    bits on the same machine and thread count.

    Raises `UnknownName` for a method, `OptionError` for an option, `DataError` for data that can't be used.
    """
    entry = registry.get("adapt", method)
    chosen = _options(entry, method, options)
    held, y_held = _held_out(source, validate, seed)
    domains = DomainLoader(_without(source, held) if entry.SOURCE else None, target, strong=strong)
    with own_randomness(torch.device("cpu")):
        torch.manual_seed(seed)
        net = _net(entry, method, (network, width, n_classes), start, chosen)
        step = entry.build(net, chosen)
    step.begin(domains)
    measure = _measure(source, held, y_held, score, fresh=start is None)
    phases = _phases(method, step, domains)
    loop = LoopOptions(
        batch=chosen.batch, optimizer=chosen.optimizer, clip=chosen.clip, seed=seed, repair=_UNGUARDED, precision="fp32"
    )
    done = train(step, phases, domains, options=loop, validate=measure, deadline=deadline, progress=progress)
    return _adapted(step.net.cpu().eval(), done, held, _note(method, done, score))


def _options(entry: ModuleType, method: str, options: AdaptOptions | dict[str, Any] | None) -> AdaptOptions:
    if isinstance(options, AdaptOptions) and not isinstance(options, entry.Options):
        raise OptionError(f"{method} expects its own Options or a dict, got those of {type(options).__module__}.")
    return options if isinstance(options, AdaptOptions) else build(entry.Options, options or {}, where=method)


def _net(
    entry: ModuleType, method: str, made: tuple[nn.Module, int, int], start: Start | None, options: AdaptOptions
) -> Net:
    """What the method begins with, the network's BatchNorm under its policy."""
    network, width, n_classes = made
    if start is None and not entry.SOURCE:
        raise DataError(f"{method} has no source data to learn from: give a fitted network or head as `start`.")
    if start is None:
        net = Net.fresh(copy.deepcopy(network), width, n_classes, bottleneck=options.width)
    elif isinstance(start, Net):
        net = copy.deepcopy(start)
    else:
        net = Net.of_head(start, copy.deepcopy(network))
    first = next(layer for layer in net.bottleneck.modules() if isinstance(layer, nn.Linear))
    wanted, got = (width, n_classes), (first.in_features, net.head.out_features)
    if wanted != got:
        raise DataError(f"`start` expects {got[0]} features and {got[1]} classes, got data of {width} and {n_classes}.")
    policy, _ = choose_norm(net.network, batch=options.batch, backbone_frozen=not options.network_rate)
    set_norm(net.network, "none" if policy == "none" else options.norm or policy)
    set_norm(net.bottleneck, "train")
    return net


def _phases(method: str, step: DomainNet, domains: DomainLoader) -> list[Phase]:
    """One phase; none where nothing trains."""
    if not step.groups():
        return []
    options = step.options
    per_epoch = len(domains.plan(options.batch, 0))
    epochs = options.epochs or int(np.clip(math.ceil(_STEPS / per_epoch), *_EPOCHS))
    # The policy of BatchNorm is set: `none` leaves it, the loop would have one for all layers.
    return [
        Phase(
            name=f"adapt: {method}",
            epochs=epochs,
            rate=options.rate,
            groups=lambda step: step.groups(),
            norm="none",
            schedule=inverse(10, 0.75),
        )
    ]


def _measure(
    source: Loader | None, held: np.ndarray, y_held: np.ndarray, score: Score | None, *, fresh: bool
) -> Validate:
    """Logits of the held-out source samples above those of the target; what is watched says which epoch is kept."""
    measured = 0

    def watched(target: np.ndarray, accuracy: float) -> float:
        if not np.isfinite(target).all():
            return math.nan  # the loop repairs it
        if score is None:
            return float(-measured)
        if fresh and not measured:
            return 2 * _NEVER
        value = score(softmax(target, axis=1), accuracy)
        return -float(value) if math.isfinite(value) else _NEVER

    def measure(step: DomainNet) -> tuple[dict[str, float], np.ndarray]:
        nonlocal measured
        target = step.over_target(lambda batch: step.logits(batch.inputs))
        scores, own = {}, target[:0]
        if len(held):
            own = outputs(source, held, lambda batch: step.logits(batch.inputs), batch=MEASURE, device=step.device)
            losses = -log_softmax(own.astype(np.float64), axis=1)[np.arange(len(held)), y_held]
            accuracy = float((own.argmax(axis=1) == y_held).mean())
            scores = {"source_loss": float(losses.mean()), "source_accuracy": accuracy}
        loss = watched(target, scores.get("source_accuracy", math.nan))
        measured += 1
        return {"loss": loss, **scores}, np.concatenate([own, target])

    return measure


def _adapted(net: Net, done: Trained, held: np.ndarray, note: str) -> Adapted:
    logits, m = np.stack(done.outputs), len(held)
    return Adapted(
        net=net,
        head=net.fitted_head(),
        history=done.history,
        target_logits=logits[:, m:],
        source_logits=logits[:, :m],
        source_rows=held,
        kept=done.history.best,
        note=note,
    )


def _note(method: str, done: Trained, score: Score | None) -> str:
    history, epochs = done.history, len(done.outputs) - 1
    if not epochs:
        return f"{method}: nothing was trained{': ' + history.stopped if history.stopped else ''}"
    which = "best by its score" if score else "the last"
    stopped = f"; {history.stopped}" if history.stopped else ""
    return f"{method}: epoch {history.best} of {epochs}, {which}; {history.steps} updates{stopped}"


def _held_out(source: Loader | None, rows: np.ndarray | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of source samples to measure, sorted, and their classes."""
    if source is None:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    every = source.rows if isinstance(source, Subset) else np.arange(len(source))
    if rows is None:
        y = _classes(source, every)
        order = np.random.default_rng(seed).permutation(len(every))
        held = np.sort(np.concatenate([order[y[order] == c][9::10] for c in np.unique(y)]))
        return np.asarray(every)[held], y[held]
    held = np.unique(np.asarray(rows, dtype=np.int64))
    foreign = np.setdiff1d(held, every)
    if len(foreign):
        raise DataError(f"validate expects positions of the source's {len(every)} samples, got {foreign[0]}.")
    return held, _classes(source, held)


def _classes(source: Loader, rows: np.ndarray) -> np.ndarray:
    """Their classes, asked for a few hundred at a time."""
    found = [source.load(rows[i : i + MEASURE], None).y for i in range(0, len(rows), MEASURE)]
    if any(y is None for y in found):
        raise DataError("the source expects a class for every sample, got none.")
    return torch.cat(found).numpy() if found else np.empty(0, dtype=np.int64)


def _without(source: Loader | None, held: np.ndarray) -> Loader:
    """The source but for the rows held out."""
    if source is None:
        raise DataError("this method learns from labelled source data, got none.")
    every = source.rows if isinstance(source, Subset) else np.arange(len(source))
    return Subset(source, np.setdiff1d(every, held))


def _checked(
    source_z: np.ndarray | None, ys: Sequence[int] | np.ndarray | None, target_z: np.ndarray, n_classes: int
) -> tuple[np.ndarray | None, np.ndarray]:
    """Both domains as float32."""
    given = [("target_z", target_z)] if source_z is None else [("source_z", source_z), ("target_z", target_z)]
    problems = [_fault(name, z) for name, z in given]
    if not any(problems) and source_z is not None:
        if np.shape(source_z)[1] != np.shape(target_z)[1]:
            widths = f"D = {np.shape(source_z)[1]} and D = {np.shape(target_z)[1]}"
            problems.append(f"source and target need the same features, got {widths}")
        problems.append(_fault_of_labels(ys, len(source_z), n_classes))
    if any(problems):
        raise DataError("; ".join(filter(None, problems)) + ".")
    target = np.ascontiguousarray(target_z, dtype=np.float32)
    return None if source_z is None else np.ascontiguousarray(source_z, dtype=np.float32), target


def _fault(name: str, z: Any) -> str:
    if sparse.issparse(z):
        return f"{name} is sparse; adaptation works on dense features N x D (reduce it first)"
    z = np.asarray(z)
    if z.ndim != 2 or z.dtype.kind not in "fiub" or not z.shape[1]:
        return f"{name} expects numbers N x D, got {z.dtype} of shape {' x '.join(map(str, z.shape)) or '()'}"
    if len(z) < 2:
        return f"{name} expects at least 2 samples, got {len(z)}"
    bad = len(z) - int(np.isfinite(z.astype(np.float32, copy=False)).all(axis=1).sum())
    return f"{name} has NaN or infinite values in {bad} of {len(z)} samples" if bad else ""


def _fault_of_labels(ys: Any, n: int, n_classes: int) -> str:
    y = np.asarray(ys)
    if y.shape != (n,) or y.dtype.kind not in "iu":
        return f"ys expects {n} class indices, one for each source sample, got {y.dtype} of shape {y.shape}"
    if y.min() < 0 or y.max() >= n_classes:
        return f"ys expects class indices from 0 to {n_classes - 1}, got {y.min()} to {y.max()}"
    return ""
