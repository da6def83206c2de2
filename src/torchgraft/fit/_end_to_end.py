"""A method of `adapt` through the backbone: planned to fit the time, chosen without a label of the target."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from torchgraft.adapt import Adapted, Net, adapt, adapt_network
from torchgraft.backbones import Backbone
from torchgraft.core import registry
from torchgraft.core.options import build
from torchgraft.core.progress import Progress
from torchgraft.features import compose
from torchgraft.model import LinearHead, MlpHead, Tuned
from torchgraft.train.augment import AugmentOptions, suggest
from torchgraft.train.loader import ImageLoader, TextLoader
from torchgraft.train.norm import SMALL_BATCH, choose_norm
from torchgraft.train.select import clearness
from torchgraft.train.step import Loader
from torchgraft.tune.base import Skip

_STEPS, _EPOCHS = 300, (3, 20)
"""Updates that are wanted where `epochs` is 0, and the least and most epochs for them: the network begins as what was
trained on its features."""

_MARGIN = 1.3
"""How much longer training may take than measured before it no longer fits."""

_LOST = 0.02
"""Accuracy on the held-out source under that of the start, from which an epoch is not taken."""

_MEASURED = 0.35
"""What a sample costs without gradient, over what it costs in training."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is adapted: a `backbone` with its `pooling`, the values of both domains (paths or texts), the source's
    classes `ys` (0..C-1) and features of both. `held` are positions in the source that are not trained on.
    """

    backbone: Backbone
    pooling: str
    source: Any
    target: Any
    ys: np.ndarray
    zs: np.ndarray
    zt: np.ndarray
    n_classes: int
    held: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """What came of it: changed weights of the backbone, the head above it, the target's probabilities (Nt x C), and
    which of the held-out source samples are right.
    """

    tuned: Tuned
    head: LinearHead | MlpHead
    probabilities: np.ndarray
    right: np.ndarray
    note: str


def held_out(y: np.ndarray, seed: int) -> np.ndarray:
    """Sorted positions of one in five of each class that has five."""
    order = np.random.default_rng(seed).permutation(len(y))
    return np.sort(np.concatenate([order[y[order] == c][4::5] for c in np.unique(y)]))


def train(
    task: Task, method: str, settings: dict[str, Any], *, seed: int, deadline: float, progress: Progress
) -> Trained:
    """Train bottleneck and classifier on features first, then everything, by the method's own step.

    As many epochs are planned as fit until `deadline` (`time.monotonic`) by the measured time of an update. Kept is the
    epoch, the start included, whose answers on the target are clearest and most varied (information maximisation), of
    those that hold the source and have not collapsed. BatchNorm keeps its running statistics, with which the features
    were made, unless `norm` is set. Raises `Skip` where not one epoch fits.
    """
    options = registry.get("adapt", method).Options
    epochs = settings.get("epochs", 0)
    quick = {name: value for name, value in settings.items() if name not in ("epochs", "norm", "network_rate")}
    first = adapt(
        method, task.zs, task.ys, task.zt, n_classes=task.n_classes, options=quick, validate=task.held, seed=seed,
        progress=progress,
    )  # fmt: skip
    network = _network(task)
    start = Net(network, first.net.bottleneck, first.net.head)
    source, target = (_loader(task, values, y, progress) for values, y in ((task.source, task.ys), (task.target, None)))
    strong = _strong(task, progress) if registry.constant("adapt", method, "STRONG", default=False) else None
    normed = choose_norm(network, batch=SMALL_BATCH, backbone_frozen=False)[0] != "none"
    settings = {"norm": "affine" if normed else "", **settings}
    batch = build(options, settings, where=method).batch
    loaders = (source, target, *([strong] if strong else []))
    planned, measuring = _plan(task, start, loaders, batch, epochs, deadline - time.monotonic())
    progress.say(f"{method} through {task.backbone.name}: {planned} epochs of {batch // 2} samples a domain and update")
    found = adapt_network(
        method, network, task.zs.shape[1], source, target, strong=strong, n_classes=task.n_classes, start=start,
        options={**settings, "epochs": planned}, seed=seed, validate=task.held, score=_score(first, task),
        deadline=deadline - measuring, progress=progress,
    )  # fmt: skip
    if len(found.target_logits) < 2:
        raise Skip(f"it did not train: {found.history.stopped or found.note}")
    return Trained(
        tuned=Tuned.of(task.backbone, found.net.network.module),
        head=found.head,
        probabilities=np.asarray(found.probabilities, dtype=np.float64),
        right=found.source_logits[found.kept].argmax(1) == task.ys[found.source_rows],
        note=f"through {task.backbone.name}, epoch {found.kept} of {len(found.target_logits) - 1}, the clearest",
    )


def _network(task: Task) -> nn.Module:
    """A copy of the backbone with its pooling, in the layout that convolutions like best."""
    network = copy.deepcopy(compose(task.backbone, task.pooling))
    convolves = any(isinstance(layer, nn.Conv2d) for layer in network.modules())
    return network.to(memory_format=torch.channels_last) if convolves else network


def _score(first: Adapted, task: Task) -> Callable[[np.ndarray, float], float]:
    """Information maximisation; nan for an epoch that loses the source, or whose answers collapsed."""
    held = task.ys[task.held]
    least = float((first.source_logits[first.kept].argmax(1) == held).mean()) - _LOST if len(held) else -math.inf
    prior = np.bincount(task.ys, minlength=task.n_classes) / len(task.ys)

    def score(probabilities: np.ndarray, accuracy: float) -> float:
        lost = len(held) and accuracy < least
        return math.nan if lost else clearness(probabilities, prior)

    return score


def _loader(task: Task, values: Any, y: np.ndarray | None, progress: Progress) -> Loader:
    """Photos are augmented as fits their number, without mirror images; texts stay as they are."""
    if task.backbone.modality == "text":
        return TextLoader(values, y, task.backbone, classes=task.n_classes)
    preprocessing = task.backbone.preprocessing
    plain = ImageLoader(values, y, preprocessing, classes=task.n_classes, progress=progress)
    size = (preprocessing.size, preprocessing.size)
    return plain.augmented(suggest(len(values), task.n_classes, size, asymmetric=True)[0])


def _strong(task: Task, progress: Progress) -> Loader | None:
    """The target's photos under RandAugment and a covered rectangle (Sohn et al. 2020); of texts there is none."""
    if task.backbone.modality == "text":
        return None
    plain = ImageLoader(task.target, None, task.backbone.preprocessing, classes=task.n_classes, progress=progress)
    return plain.augmented(AugmentOptions(crop="centre", shift=0.125, randaugment=9, erasing=0.5))


def _plan(task: Task, net: Net, loaders: tuple[Loader, ...], batch: int, epochs: int, left: float) -> tuple[int, float]:
    """Epochs: those asked for, or as many as make `_STEPS` updates; fewer where the time is short. And the seconds that
    an update and the measuring after it take, which are left when training is stopped.
    """
    half = max(batch // 2, 1)
    updates = math.ceil(max(len(task.ys) - len(task.held), len(task.target)) / half)
    each = _seconds_an_update(net, loaders, half)
    measured = _MEASURED * each / (2 * half) * (len(task.target) + len(task.held))
    last = each + measured
    fits = int((left - measured - last) / (_MARGIN * (updates * each + measured)))
    if fits < 1:
        once = _MARGIN * (updates * each + measured) + measured + last
        raise Skip(f"an epoch through the backbone would take {once:.0f} s, the budget has {max(left, 0):.0f} s left")
    return min(epochs or int(np.clip(math.ceil(_STEPS / updates), *_EPOCHS)), fits), last


def _seconds_an_update(net: Net, loaders: tuple[Loader, ...], half: int) -> float:
    """Wall time of loading all parts of a batch and of a pass up and down.

    The worse of two after a first: others may use the machine.
    """
    took = []
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        begin = time.monotonic()
        for loader in loaders:
            rows = np.arange(min(half, len(loader)))
            net.logits(loader.load(rows, generator).inputs).sum().backward()
        took.append(time.monotonic() - begin)
    net.zero_grad(set_to_none=True)
    return max(took[1:])
