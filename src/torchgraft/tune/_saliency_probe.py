"""The exact pixel probe on a network's levels and on maps made of the pixels themselves."""

from __future__ import annotations

import numpy as np
from torch import nn

from torchgraft.core.files import digest
from torchgraft.model import Decoder, LinearHead
from torchgraft.model.joined import JoinedLevels, joined_network
from torchgraft.model.saliency import saliency
from torchgraft.model.scene_network import SceneNetwork
from torchgraft.tune._dense import Setting, arrays_of, candidate
from torchgraft.tune._dense_options import DenseOptions
from torchgraft.tune._pixel_probe import affordable, fitted, seen_at
from torchgraft.tune._pixels import draw, rarity, values
from torchgraft.tune._scenes import Answered
from torchgraft.tune.base import DenseCandidate, Problem, Skip

MAPS = ("edges",)


def salient_probe(problem: Problem, options: DenseOptions, least: float) -> DenseCandidate:
    """The candidate of `saliency_probe`; `Skip` where the maps save less than the share `least` of the log loss."""
    setting = Setting(problem, options)
    plain = setting.probe
    network = setting.network
    pixels = draw(
        setting.loader,
        rarity(problem.masks.counts.sum(0)),
        affordable(network, setting.loader, options.per_scene),
        problem.seed,
    )
    z = seen_at(problem, network, setting.loader, setting.backbone.revision, pixels)
    maps = _maps_alone(setting, network.multiple)
    key = digest(["saliency", *MAPS, str(setting.backbone.preprocessing), repr(setting.loader.scale)])
    more = values(maps, setting.loader, pixels, key=key, store=None, progress=problem.resources.progress)
    below = (1 - least) * plain.loss if least else np.inf
    found = fitted(problem, np.concatenate([z, more], -1), pixels, (plain.penalty,), begin=plain, below=below)
    if found is None:
        raise Skip(f"{', '.join(MAPS)} save less than {least:.1%} of the probe's log loss on held-out scenes")
    parts = [
        setting.answer(_network(setting, head), held)
        for head, (_, held) in zip(found.heads, problem.folds, strict=False)
    ]
    return candidate(
        setting,
        Answered.joined(parts),
        problem.held_out,
        Decoder(name="linear", arrays=arrays_of(_network(setting, found.heads[-1]).decoder)),
        saliency=MAPS,
        chosen={"C": found.penalty, "pixels": found.per_scene, "maps": list(MAPS), "loss": round(found.loss, 4)},
        note=f"{', '.join(MAPS)}; C {found.penalty:.3g}, log loss on drawn pixels {plain.loss:.3f} to {found.loss:.3f}",
    )


def _network(setting: Setting, head: LinearHead) -> SceneNetwork:
    network = joined_network([setting.backbone], "linear", setting.classes, saliency=MAPS)
    network.decoder.from_head(head.weight, head.bias)
    return network.requires_grad_(False)


def _maps_alone(setting: Setting, multiple: int) -> SceneNetwork:
    """The maps without the network, of pictures that are filled up as they are beside it."""
    look = setting.backbone.preprocessing
    levels = JoinedLevels([saliency(name, look) for name in MAPS], [look] * len(MAPS))
    levels.multiple = multiple
    return SceneNetwork(levels, nn.Identity(), look)
