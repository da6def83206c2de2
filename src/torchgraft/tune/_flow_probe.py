"""The exact pixel probe on a network's levels and on motion from the frame before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from torchgraft.data import FRAME_BEFORE, view_beside
from torchgraft.model import Decoder, LinearHead
from torchgraft.model.decoders import pixel_features
from torchgraft.model.flow import AT, at_four
from torchgraft.model.views import ViewNetwork
from torchgraft.train.view_loader import ViewLoader
from torchgraft.tune._dense import Setting, arrays_of, candidate
from torchgraft.tune._dense_options import DenseOptions
from torchgraft.tune._pixel_probe import affordable, fitted, seen_at
from torchgraft.tune._pixels import Pixels, draw, rarity
from torchgraft.tune._scenes import Answered, answer
from torchgraft.tune.base import DenseCandidate, Problem, Skip


def moving_probe(problem: Problem, options: DenseOptions) -> DenseCandidate:
    """The candidate of `flow_probe`."""
    files = tuple(view_beside(Path(image), FRAME_BEFORE) for image in problem.blocks["image"])
    there = min(sum(files[row] is not None for row in fit) for fit, _ in problem.folds)
    if there < 2:
        raise Skip(f"{there} of the scenes to fit on have a frame before them (names that end in a number)")
    setting = Setting(problem, options)
    plain, network = setting.probe, setting.network
    scenes = ViewLoader(setting.loader, {FRAME_BEFORE: files})
    per_scene = affordable(network, setting.loader, options.per_scene)
    pixels = draw(setting.loader, rarity(problem.masks.counts.sum(0)), per_scene, problem.seed)
    z = seen_at(problem, network, setting.loader, setting.backbone.revision, pixels)
    z = np.concatenate([z, _motion_at(setting, scenes, pixels)], -1)
    found = fitted(problem, z, pixels, (plain.penalty,), begin=plain)
    parts = [
        answer(_network(setting, head), scenes, held, setting.pixels, setting.classes)
        for head, (_, held) in zip(found.heads, problem.folds, strict=False)
    ]
    made = candidate(
        setting,
        Answered.joined(parts),
        problem.held_out,
        Decoder(name="flow", arrays=arrays_of(_network(setting, found.heads[-1]).decoder)),
        chosen={"C": found.penalty, "pixels": found.per_scene, "loss": round(found.loss, 4)},
        note=f"flow; C {found.penalty:.3g}, log loss on drawn pixels {plain.loss:.3f} to {found.loss:.3f}",
    )
    return replace(made, views=(FRAME_BEFORE,))


def _motion_at(setting: Setting, scenes: ViewLoader, pixels: Pixels) -> np.ndarray:
    """N x P x 4."""
    network, found = _network(setting), []
    for row in range(len(scenes)):
        *x, present = scenes.load(np.array([row]), None).inputs
        height, width = x[0].shape[2:]
        full, at = network.scene.full_size(height, width), pixels.at[row : row + 1]
        places = torch.from_numpy(at // width * full[1] + at % width)
        moved = at_four(network.decoder.seen(*x, present), full)
        found.append(pixel_features([moved], (AT,), full, places)[0].numpy())
    return np.stack(found)


def _network(setting: Setting, head: LinearHead | None = None) -> ViewNetwork:
    network = ViewNetwork.of(setting.backbone, "flow", setting.classes, views=2).requires_grad_(False)
    if head is not None:
        network.decoder.head.from_head(head.weight, head.bias)
    return network
