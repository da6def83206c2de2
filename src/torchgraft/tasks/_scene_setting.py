"""Both domains of scenes as one frozen network sees them: drawn once, for every way to the target."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from torchgraft import backbones
from torchgraft.backbones import Backbone
from torchgraft.core.errors import OptionError
from torchgraft.core.options import seconds
from torchgraft.core.progress import Progress
from torchgraft.data import IGNORE, scene_folds
from torchgraft.model.scene_network import SceneNetwork
from torchgraft.tasks._scene_domains import SceneDomains, load_scenes
from torchgraft.tasks._scene_looks import looks_of
from torchgraft.tasks._scene_pixels import Fitted, levels_at, spread
from torchgraft.tasks._scene_rehearsal import PLAIN, Levels, weights_of
from torchgraft.train.dense_loader import DenseLoader
from torchgraft.tune import draw, rarity

LONGEST = 512
"""Pixels of a scene's longer side as the network sees it, at most."""

_NUMBERS = 120_000_000
"""Numbers in all drawn levels together, at most: 480 MB."""

_PIXELS = 20_000
"""Labelled pixels drawn from all source scenes together, about: more cost time and gain little."""

_DRAWN, _ANYWHERE = 100, 30
"""Pixels of a source scene: labelled ones, rare classes drawn more, and others."""

_OF_TARGET, _TARGET_PIXELS = 200, 100_000
"""Pixels of a target scene, and of all of them, at most."""

_ANSWERS = 2_000_000
"""Probabilities that one way gives for the target's pixels, at most: 16 MB."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """Both domains as one network sees them. `c` is the probe's penalty, `fit` and `held` rows of the source in the
    rehearsal, `skipped` looks that the budget was too short for.
    """

    domains: SceneDomains
    backbone: Backbone
    loaders: tuple[DenseLoader, DenseLoader]
    source: Levels
    target: np.ndarray
    fit: np.ndarray
    held: np.ndarray
    c: float
    seed: int
    skipped: tuple[str, ...] = ()

    @cached_property
    def network(self) -> SceneNetwork:
        """The frozen network under a decoder that is of no use."""
        return network_of(self.backbone, self.source.classes)


def prepared(options: Any, progress: Progress) -> Setting:
    """Read both domains, and draw the levels of their pixels under every look that half of the budget has time for."""
    deadline = time.monotonic() + seconds(options.budget) / 2
    domains = load_scenes(options, progress)
    backbone = _backbone(options.backbone)
    source, target, seed = domains.source, domains.target, options.seed
    loaders = tuple(DenseLoader(one.x, one.masks, scale=_scale(one.x), progress=progress) for one in (source, target))
    network = network_of(backbone, len(source.classes))
    most = min(_TARGET_PIXELS, _ANSWERS // len(source.classes))
    at = spread(loaders[1], int(np.clip(most // len(target), 8, _OF_TARGET)), seed)
    z = levels_at(network, loaders[1], at, words="levels (target)", progress=progress)
    levels, skipped = _levels(network, loaders, source.masks.counts, seed, deadline, progress)
    fit, held = _halves(domains, seed)
    c, _ = Fitted(levels.drawn(PLAIN, fit), levels.y[fit], levels.classes).walk(
        levels.uniform(PLAIN, held), levels.anywhere[held]
    )
    return Setting(
        domains=domains,
        backbone=backbone,
        loaders=loaders,
        source=levels,
        target=z,
        fit=fit,
        held=held,
        c=c,
        seed=seed,
        skipped=skipped,
    )


def network_of(backbone: Backbone, classes: int) -> SceneNetwork:
    """A network with the backbone's frozen weights under a linear decoder with random ones."""
    return SceneNetwork.of(backbone, "linear", classes).requires_grad_(False)


def _levels(
    network: SceneNetwork,
    loaders: tuple[DenseLoader, DenseLoader],
    counts: np.ndarray,
    seed: int,
    deadline: float,
    progress: Progress,
) -> tuple[Levels, tuple[str, ...]]:
    """Levels of the source's drawn pixels, as they are and under looks of the target; and the looks left out."""
    source, target = loaders
    looks = looks_of(source, target, seed)
    pixels, anywhere = _drawn(source, counts, sum(network.levels.channels) * (1 + len(looks)), seed)
    at, skipped = np.concatenate([pixels.at, anywhere], axis=1), []
    begun = time.monotonic()
    z = {PLAIN: levels_at(network, source, at, words="levels (source)", progress=progress)}
    took = time.monotonic() - begun
    for i, (name, look) in enumerate(looks.items()):
        if i and time.monotonic() + 1.5 * took > deadline:
            skipped.append(name)
        else:
            z[name] = levels_at(network, source, at, look, words=f"levels (source, {name})", progress=progress)
    labels = [source.picture(row)[1].ravel() for row in range(len(source))]
    known = np.array([(one != IGNORE).sum() for one in labels])
    found = Levels(
        z=z,
        y=pixels.y,
        anywhere=np.stack([one[places] for one, places in zip(labels, anywhere, strict=True)]),
        classes=counts.shape[1],
        weights=weights_of(pixels.y, rarity(counts.sum(0)), known),
    )
    return found, tuple(skipped)


def _drawn(source: DenseLoader, counts: np.ndarray, numbers: int, seed: int) -> tuple[Any, np.ndarray]:
    """Labelled pixels, rare classes drawn more, and others; fewer where each takes many `numbers`."""
    most = min(_NUMBERS * _DRAWN // (numbers * len(source) * (_DRAWN + _ANYWHERE)), _PIXELS // len(source))
    each = int(np.clip(most, 8, _DRAWN))
    others = spread(source, max(_ANYWHERE * each // _DRAWN, 4), seed)
    return draw(source, rarity(counts.sum(0)), each, seed), others


def _halves(domains: SceneDomains, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to fit on and rows held out in the rehearsal: whole sequences, as near to a third as they allow."""
    folds, _ = scene_folds(domains.source, seed)
    return min(folds, key=lambda fold: abs(len(fold[1]) - len(domains.source) / 3))


def _backbone(asked: str) -> Backbone:
    if asked == "auto":
        ready = [offer for offer in backbones.offers("image") if offer.name.startswith("packaged/")]
        return backbones.load(min(ready, key=lambda offer: offer.parameters).name)
    names = [name.strip() for name in asked.split(",") if name.strip()]
    if len(names) != 1:
        raise OptionError(f"--backbone expects one network for scenes between two domains, got {asked!r}.")
    return backbones.load(names[0])


def _scale(paths: Sequence[Path]) -> float:
    """At which half of the pictures are at most `LONGEST` pixels long; headers alone are read."""
    sides = []
    for path in paths:
        with Image.open(path) as image:
            sides.append(max(image.size))
    return min(1.0, LONGEST / float(np.median(sides)))
