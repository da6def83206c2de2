"""Scenes for the report: the image, the truth, the answer, and where the two differ."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from torchgraft.data import IGNORE, Samples
from torchgraft.evaluate.overlap import miou
from torchgraft.evaluate.pictures import embedded
from torchgraft.features.decode import pixels
from torchgraft.model import SceneGraft

_EACH = 2
"""Scenes shown of the best, of those in the middle, and of the worst."""

_WRONG, _VOID = (213, 94, 0), (255, 255, 255)


def gallery(samples: Samples, answers: Sequence[np.ndarray], counts: np.ndarray, graft: SceneGraft) -> list[dict]:
    """The worst, the middle and the best of N scenes by their own mIoU, each as four pictures.

    `answers` are N maps H x W of classes, `counts` N x C x C; `samples` their images and masks.
    """
    own = np.array([miou(one) for one in counts])
    order = np.argsort(np.nan_to_num(own, nan=2.0), kind="stable")
    order = order[: int((~np.isnan(own)).sum())]
    middle = max((len(order) - _EACH) // 2, 0)
    places = {"worst": order[:_EACH], "median": order[middle : middle + _EACH], "best": order[::-1][:_EACH]}
    shown: dict[int, str] = {}
    for name, rows in places.items():
        for row in rows.tolist():
            shown.setdefault(row, name)
    return [
        {
            "id": samples.ids[row],
            "note": f"{name}: mIoU {100 * own[row]:.1f} %",
            "pictures": _four(samples, row, answers[row], graft),
        }
        for row, name in shown.items()
    ]


def _four(samples: Samples, row: int, answer: np.ndarray, graft: SceneGraft) -> list[dict[str, Any]]:
    image, truth = pixels(samples.x[row].read_bytes()), samples.masks.read(row)
    named = (
        ("image", image),
        ("truth", graft.coloured(truth)),
        ("answer", graft.coloured(answer)),
        ("wrong", errors(image, truth, answer)),
    )
    return [{"title": title, "thumbnail": embedded(picture)} for title, picture in named]


def decoded(answer: bytes) -> np.ndarray:
    """A map that was packed as PNG: H x W uint8."""
    with Image.open(io.BytesIO(answer)) as image:
        return np.asarray(image)


def errors(image: np.ndarray, truth: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """The image in grey, wrong pixels painted orange, those without a label white: H x W x 3 uint8."""
    grey = 64 + image.mean(axis=2, keepdims=True) / 2
    out = np.repeat(grey, 3, axis=2).astype(np.uint8)
    out[(truth != IGNORE) & (truth != answer)] = _WRONG
    out[truth == IGNORE] = _VOID
    return out
