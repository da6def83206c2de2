"""Whole maps of every way to the target, and how right they are where there are masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from torchgraft.data import Samples
from torchgraft.features.decode import resized
from torchgraft.tasks._scene_pixels import answers
from torchgraft.train.dense_counts import confusions
from torchgraft.train.dense_loader import DenseLoader


def maps(
    setting: Any, ladder: Sequence[Any], loader: DenseLoader, rows: np.ndarray | None = None
) -> Iterator[tuple[int, list[np.ndarray]]]:
    """(scene, K maps of classes): in one pass for all ways on the frozen network, one for each other."""
    alike = [one for one in ladder if not one.own]
    passes = [answers(setting.network, [one.head for one in alike], loader, rows)] if alike else []
    passes += [answers(one.own.network, [one.head], loader, rows) for one in ladder if one.own]
    order = [id(one) for one in alike] + [id(one) for one in ladder if one.own]
    for seen in zip(*passes, strict=True):
        found = dict(zip(order, [called for _, some in seen for called in some], strict=True))
        yield seen[0][0], [found[id(one)] for one in ladder]


def counted(setting: Any, ladder: Sequence[Any], scenes: Samples) -> np.ndarray:
    """K x M x C x C: whole maps of every way for M scenes of the target's domain, against their masks."""
    classes, loader = setting.source.classes, DenseLoader(scenes.x, scenes.masks, scale=setting.loaders[1].scale)
    found = np.zeros((len(ladder), len(scenes), classes, classes), dtype=np.int64)
    for row, called in maps(setting, ladder, loader):
        truth = scenes.masks.read(row)
        for k, one in enumerate(called):
            found[k, row] = confusions(truth, resized(one, truth.shape, smooth=False), classes)
    return found
