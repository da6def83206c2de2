"""Both domains of scenes as one frozen network sees them: drawn once, for every way to the target."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
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
from torchgraft.tasks._scene_pixels import Fitted, Look, levels_at, spread
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
    """Both domains as one network sees them. `at`: the drawn positions in the scenes of the source, whose levels are
    `source`, and of the target. `c` is the probe's penalty, `fit` and `held` rows of the source in the rehearsal,
    `looks` what the source is seen under, `skipped` looks that the budget was too short for; it ends at `deadline`.
    """

    domains: SceneDomains
    backbone: Backbone
    loaders: tuple[DenseLoader, DenseLoader]
    source: Levels
    target: np.ndarray
    at: tuple[np.ndarray, np.ndarray]
    looks: Mapping[str, Look]
    fit: np.ndarray
    held: np.ndarray
    c: float
    seed: int
    deadline: float
    skipped: tuple[str, ...] = ()

    @cached_property
    def network(self) -> SceneNetwork:
        """The frozen network under a decoder that is of no use."""
        return network_of(self.backbone, self.source.classes)


def prepared(options: Any, progress: Progress) -> Setting:
    """Read both domains, and draw the levels of their pixels under every look that half of the budget has time for."""
    start, budget = time.monotonic(), seconds(options.budget)
    domains = load_scenes(options, progress)
    backbone = _backbone(options.backbone)
    source, target, seed = domains.source, domains.target, options.seed
    loaders = tuple(DenseLoader(one.x, one.masks, scale=_scale(one.x), progress=progress) for one in (source, target))
    network = network_of(backbone, len(source.classes))
    most = min(_TARGET_PIXELS, _ANSWERS // len(source.classes))
    places = spread(loaders[1], int(np.clip(most // len(target), 8, _OF_TARGET)), seed)
    z = levels_at(network, loaders[1], places, words="levels (target)", progress=progress)
    looks = looks_of(*loaders, seed)
    drawn = _drawn(loaders[0], source.masks.counts, sum(network.levels.channels) * (1 + len(looks)), seed)
    levels, skipped = _levels(network, loaders[0], drawn, looks, start + budget / 2, progress)
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
        at=(drawn.at, places),
        looks={name: look for name, look in looks.items() if name not in skipped},
        fit=fit,
        held=held,
        c=c,
        seed=seed,
        deadline=start + 0.95 * budget - 2,  # what follows (the report, a test part) takes a little too
        skipped=skipped,
    )


def network_of(backbone: Backbone, classes: int) -> SceneNetwork:
    """A network with the backbone's frozen weights under a linear decoder with random ones."""
    return SceneNetwork.of(backbone, "linear", classes).requires_grad_(False)


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Positions in the source's scenes, N x (P + U): P labelled ones, rare classes drawn more, of classes `y` (N x P);
    then U others. `counts`: pixels of each class in each scene.
    """

    at: np.ndarray
    y: np.ndarray
    counts: np.ndarray


def _levels(
    network: SceneNetwork,
    source: DenseLoader,
    drawn: _Drawn,
    looks: Mapping[str, Look],
    deadline: float,
    progress: Progress,
) -> tuple[Levels, tuple[str, ...]]:
    """Levels of the source's drawn pixels, as they are and under looks of the target; and the looks left out."""
    at, skipped = drawn.at, []
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
    anywhere = at[:, drawn.y.shape[1] :]
    found = Levels(
        z=z,
        y=drawn.y,
        anywhere=np.stack([one[places] for one, places in zip(labels, anywhere, strict=True)]),
        classes=drawn.counts.shape[1],
        weights=weights_of(drawn.y, rarity(drawn.counts.sum(0)), known),
    )
    return found, tuple(skipped)


def _drawn(source: DenseLoader, counts: np.ndarray, numbers: int, seed: int) -> _Drawn:
    """Labelled pixels, rare classes drawn more, and others; fewer where each takes many `numbers`."""
    most = min(_NUMBERS * _DRAWN // (numbers * len(source) * (_DRAWN + _ANYWHERE)), _PIXELS // len(source))
    each = int(np.clip(most, 8, _DRAWN))
    others = spread(source, max(_ANYWHERE * each // _DRAWN, 4), seed)
    pixels = draw(source, rarity(counts.sum(0)), each, seed)
    return _Drawn(np.concatenate([pixels.at, others], axis=1), pixels.y, counts)


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
