"""The samples of a problem as a loader of training batches, augmented as fits their number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from torchgraft.backbones import Backbone
from torchgraft.train.augment import AugmentOptions, suggest
from torchgraft.train.loader import ImageLoader, TextLoader
from torchgraft.train.mix import MixOptions
from torchgraft.train.step import Loader
from torchgraft.tune.base import Problem

if TYPE_CHECKING:
    from torchgraft.tune._recipe import TrainOptions


def loader_for(problem: Problem, backbone: Backbone, options: TrainOptions) -> Loader:
    """All N samples of the problem, decoded or tokenised for this backbone."""
    values, classes = problem.blocks[backbone.modality], len(problem.classes)
    if backbone.modality == "text":
        return TextLoader(values, problem.y, backbone, classes=classes)
    return ImageLoader(
        values,
        problem.y,
        backbone.preprocessing,
        classes=classes,
        augment=augmentation(problem, options),
        mixing=MixOptions(mixup=options.mixup, cutmix=options.cutmix),
        progress=problem.resources.progress,
    )


def augmentation(problem: Problem, options: TrainOptions) -> AugmentOptions:
    """None, or what suits the number of pictures and their size."""
    if options.augment == "none":
        return AugmentOptions()
    return suggest(len(problem.y), len(problem.classes), _typical_size(problem.blocks["image"]))[0]


def _typical_size(paths) -> tuple[int, int]:
    """Median (height, width) of a few pictures, read from their headers."""
    from PIL import Image

    sizes = []
    for path in list(paths)[:: max(len(paths) // 20, 1)][:20]:
        with Image.open(path) as image:
            sizes.append((image.height, image.width))
    height, width = np.median(sizes, axis=0)
    return int(height), int(width)
