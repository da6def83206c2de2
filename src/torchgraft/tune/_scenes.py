"""The labelled scenes of a problem as methods see them, and what a network answers for those held out."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from torchgraft.features.decode import resized
from torchgraft.model.scene_network import SceneNetwork
from torchgraft.train.dense_counts import confusions
from torchgraft.train.dense_loader import DenseLoader
from torchgraft.tune._pixels import BATCH, Pixels, draw, logits_at
from torchgraft.tune.base import Problem

CHECKED = 128
"""Pixels of each held-out scene whose logits are kept, drawn evenly: for the temperature."""


def scenes(problem: Problem, longest: int) -> DenseLoader:
    """The problem's images and masks, decoded, at a scale at which half of them are at most `longest` pixels long."""
    sizes = [max(problem.masks.size(i)) for i in range(len(problem.y))]
    return DenseLoader(
        problem.blocks["image"],
        problem.masks,
        scale=min(1.0, longest / float(np.median(sizes))),
        progress=problem.resources.progress,
    )


@dataclass(frozen=True, eq=False)
class Answered:
    """Of M scenes: `counts` M x C x C, `logits` (P x C) and `labels` (P,) of some pixels, `maps` as PNG files."""

    counts: np.ndarray
    logits: np.ndarray
    labels: np.ndarray
    maps: tuple[bytes, ...]

    @classmethod
    def joined(cls, parts: Sequence[Answered]) -> Answered:
        """Those of several folds, one after the other."""
        return cls(
            np.concatenate([one.counts for one in parts]),
            np.concatenate([one.logits for one in parts]),
            np.concatenate([one.labels for one in parts]),
            tuple(packed for one in parts for packed in one.maps),
        )


def even(loader: DenseLoader, classes: int, seed: int) -> Pixels:
    """`CHECKED` labelled pixels of each scene, every one as likely as every other."""
    return draw(loader, np.ones(classes), CHECKED, seed)


def answer(
    network: SceneNetwork | Callable[..., Tensor],
    loader: DenseLoader,
    rows: np.ndarray,
    pixels: Pixels,
    classes: int,
) -> Answered:
    """What the network says of the scenes at `rows`, counted at the size that their masks have.

    `pixels` are those (of all scenes) whose logits are kept. Without gradients, in the mode that it is in.
    """
    found: dict[int, tuple] = {}
    with torch.no_grad():  # not inference mode: what a network keeps from here must serve in training too
        for some in loader.plan(BATCH, None, rows):
            logits = network(*loader.load(some, None).inputs)
            seen = logits_at(logits, pixels.at[some])
            called = logits.argmax(1).to(torch.uint8).cpu().numpy()
            for i, row in enumerate(some.tolist()):
                truth = loader.masks.read(row)
                said = resized(called[i], truth.shape, smooth=False)
                found[row] = (confusions(truth, said, classes), seen[i], pixels.y[row], packed(said))
    counts, logits, labels, maps = zip(*(found[row] for row in rows.tolist()), strict=True)
    labels, logits = np.concatenate(labels), np.concatenate(logits).astype(np.float64)
    known = labels < classes
    return Answered(np.stack(counts), logits[known], labels[known].astype(np.int64), maps)


def packed(labels: np.ndarray) -> bytes:
    """A map of classes as a PNG file."""
    out = io.BytesIO()
    Image.fromarray(labels).save(out, "PNG")
    return out.getvalue()
