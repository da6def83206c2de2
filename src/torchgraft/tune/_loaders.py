"""The samples of a problem as a loader of training batches, augmented as fits their number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from torchgraft.backbones import Backbone
from torchgraft.features import compose
from torchgraft.train.augment import AugmentOptions, flip_is_safe, suggest
from torchgraft.train.loader import ImageLoader, TextLoader, outputs
from torchgraft.train.mix import MixOptions
from torchgraft.train.step import Loader
from torchgraft.train.tokens import TokenOptions
from torchgraft.tune.base import Problem

if TYPE_CHECKING:
    from torchgraft.tune._recipe import TrainOptions


_MIRRORED = 200
"""Pictures whose mirror images are looked at before any is mirrored in training."""


def loader_for(problem: Problem, backbone: Backbone, options: TrainOptions) -> tuple[Loader, str]:
    """All N samples of the problem, decoded or tokenised for this backbone; how they are augmented, in words."""
    values, classes = problem.blocks[backbone.modality], len(problem.classes)
    if backbone.modality == "text":
        hidden = options.token_dropout
        tokens = TokenOptions(dropout=hidden)
        words = f"{hidden:.0%} of each text's tokens are hidden" if hidden else "texts stay as they are"
        words += "; mixup and cutmix are for pictures, not used" if options.mixup or options.cutmix else ""
        return TextLoader(values, problem.y, backbone, classes=classes, tokens=tokens), words
    loader = ImageLoader(
        values,
        problem.y,
        backbone.preprocessing,
        classes=classes,
        mixing=MixOptions(mixup=options.mixup, cutmix=options.cutmix),
        progress=problem.resources.progress,
    )
    augment, words = augmentation(problem, backbone, loader, options)
    on = [f"{name} {value:g}" for name in ("mixup", "cutmix") if (value := getattr(options, name))]
    words += f" With {' and '.join(on)}." if on else ""
    words += " Hidden tokens are for texts, not used." if options.token_dropout else ""
    return loader.augmented(augment), words


def augmentation(
    problem: Problem, backbone: Backbone, loader: ImageLoader, options: TrainOptions
) -> tuple[AugmentOptions, str]:
    """None, or what suits the number of pictures, their size, and whether a mirror image keeps its class; and why."""
    if options.augment == "none":
        return AugmentOptions(), "pictures stay as they are"
    size = _typical_size(problem.blocks["image"])
    return suggest(len(problem.y), len(problem.classes), size, asymmetric=not _mirrors(problem, backbone, loader))


def _mirrors(problem: Problem, backbone: Backbone, loader: ImageLoader) -> bool:
    """Whether mirrored pictures keep their class, by the backbone's own features of some of them."""
    rows = np.sort(np.random.default_rng(problem.seed).permutation(len(problem.y))[:_MIRRORED])
    network = compose(backbone, problem.resources.poolings[backbone.name])
    both = [
        outputs(loader, rows, compute, batch=16, device=torch.device("cpu"))
        for compute in (lambda batch: network(*batch.inputs), lambda batch: network(batch.inputs[0].flip(2)))
    ]
    return flip_is_safe(*both, problem.y[rows])


def _typical_size(paths) -> tuple[int, int]:
    """Median (height, width) of a few pictures, read from their headers."""
    from PIL import Image

    sizes = []
    for path in list(paths)[:: max(len(paths) // 20, 1)][:20]:
        with Image.open(path) as image:
            sizes.append((image.height, image.width))
    height, width = np.median(sizes, axis=0)
    return int(height), int(width)
