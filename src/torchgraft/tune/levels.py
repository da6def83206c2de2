"""Mean, maximum and spread of what a network sees at its last two strides, with a linear probe on top."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from torchgraft.backbones import Backbone
from torchgraft.core import ranks
from torchgraft.core.errors import UserError
from torchgraft.features import extract
from torchgraft.features.mapping import Standardise
from torchgraft.features.pooling import LEVELS
from torchgraft.features.speed import expected_seconds
from torchgraft.model import as_samples
from torchgraft.tune._path import Recipe, dense_source, fit_penalised
from torchgraft.tune.base import Candidate, Problem, Skip, TooLong

TRANSFER = True
LOOKS = True


@dataclass(frozen=True, kw_only=True)
class Options:
    """`source`: the backbone to look through (None: the first). `class_weight`: none, or balanced."""

    source: str | None = None
    class_weight: str = "none"


def applies(problem: Problem) -> str:
    """It needs photos, and a backbone that makes maps of them."""
    if "image" not in problem.blocks or problem.resources is None:
        return "it looks at photos through a backbone, and there are none"
    if not any(backbone.layout == "map" for backbone in problem.resources.backbones.values()):
        return "no backbone at hand makes maps: it is for convolutional networks"
    return ""


def fit(problem: Problem, options: Options) -> Candidate:
    """The probe of `linear_probe` on standardised [mean, max, std] of each channel of the maps at the last two strides.

    What a network sees on its way says more than its last layer where photos are far from those of pretraining (Evci et
    al., "Head2Toe: Utilizing Intermediate Representations for Better Transfer Learning", ICML 2022, which takes the
    means of all layers and selects among them). It takes one more pass over the photos; features stay in the store.

    Raises `Skip` for a backbone without such maps and where a photo can't be read again, `TooLong` where the time that
    is left is too short.
    """
    source = dense_source(problem, options.source)
    name = f"levels/{source}"
    z = _look(problem, problem.resources.backbones[source])
    found, _ = fit_penalised(replace(problem, blocks={name: z}), [Recipe(name, Standardise.fit)], options.class_weight)
    return replace(found, pooled={name: (source, LEVELS)})


def _look(problem: Problem, backbone: Backbone) -> np.ndarray:
    """N x D float32, from the store where they are there."""
    try:
        backbone.levels  # noqa: B018 - built here, where what it lacks can be told
    except UserError as error:
        raise Skip(str(error)) from error
    resources, samples = problem.resources, as_samples(problem.blocks["image"], "image")
    how = {"pooling": LEVELS, "engine": resources.engine}
    expected, left = resources.journal.once(
        f"levels:{backbone.name}",
        lambda: [expected_seconds(samples, backbone, **how), resources.deadline - time.monotonic()],
    )
    if expected > left:
        raise TooLong(f"it would take {expected:.0f} s, the budget has {max(left, 0):.0f} s left")
    with ranks.first_goes_first():  # the others find them in the store
        found = extract(samples, backbone, progress=resources.progress, **how)
    if len(found.kept) < len(samples):
        raise Skip(f"{len(samples) - len(found.kept)} of {len(samples)} photos can't be read any more")
    return found.z
