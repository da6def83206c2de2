"""The samples of a problem as a loader of training batches, augmented as fits their number."""

from __future__ import annotations

import numpy as np
import torch

from torchgraft.backbones import Backbone
from torchgraft.features import compose
from torchgraft.train.augment import AugmentOptions, flip_is_safe, suggest
from torchgraft.train.loader import ImageLoader, TextLoader, outputs
from torchgraft.train.mix import MixOptions
from torchgraft.train.step import Loader
from torchgraft.train.tokens import TokenOptions
from torchgraft.tune._augmenting import Size, Told, adjust, settle, words
from torchgraft.tune._options import TrainOptions
from torchgraft.tune.base import Problem

_MIRRORED = 200
"""Pictures whose mirror images are looked at before any is mirrored in training."""


def loader_for(problem: Problem, backbone: Backbone, options: Told, *, epochs: int) -> tuple[Loader, Told, str]:
    """All N samples of the problem, decoded or tokenised for this backbone; the options with all that was left to the
    data; how it was augmented and regularised, in words. Samples are seen `epochs` times at most.
    """
    values, classes = problem.blocks[backbone.modality], len(problem.classes)
    size = Size(modality=backbone.modality, samples=len(problem.y), classes=classes, epochs=epochs)
    options, on, off = settle(options, size)
    if backbone.modality == "text":
        tokens = TokenOptions(dropout=options.token_dropout)
        loader = TextLoader(values, problem.y, backbone, classes=classes, tokens=tokens)
        return loader, options, f"texts stay as they are. {words(on, off)}" if tokens.off else words(on, off)
    plain = ImageLoader(
        values,
        problem.y,
        backbone.preprocessing,
        classes=classes,
        mixing=MixOptions(mixup=options.mixup, cutmix=options.cutmix),
        progress=problem.resources.progress,
    )
    suggested, why = augmentation(problem, backbone, plain, options)
    augment, more, still = adjust(suggested, options, len(problem.y) / classes)
    off = {reason: [*still.get(reason, ()), *off.get(reason, ())] for reason in (*still, *off)}
    return plain.augmented(augment), options, f"{why} {words([*more, *on], off)}"


def augmentation(
    problem: Problem, backbone: Backbone, loader: ImageLoader, options: TrainOptions
) -> tuple[AugmentOptions, str]:
    """None, or what suits the number of pictures, their size, and whether a mirror image keeps its class; and why.

    Mirror images are not looked at where the options say how many there are to be.
    """
    if options.augment == "none":
        return AugmentOptions(), "pictures stay as they are, but for what is asked."
    size = _typical_size(problem.blocks["image"])
    asymmetric = options.flip is None and not _mirrors(problem, backbone, loader)
    return suggest(len(problem.y), len(problem.classes), size, asymmetric=asymmetric)


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
