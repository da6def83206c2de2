"""The self-check of a graft for scenes: a few real images are saved with their answers, and must give them again."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from torchgraft.core.errors import ArtifactError, DataError
from torchgraft.features.decode import pixels

if TYPE_CHECKING:
    from torchgraft.model.scene import SceneGraft

AGREE = 0.98
"""Share of the pixels that must get the stored answer: at edges two engines may differ."""

TOLERANCE = 5
"""Largest difference in confidence (of 255) that still counts as the same, as for grafts of one label."""

_LARGEST = 512
"""Pixels of the longer side of what is kept of an image: its middle."""


def saved_scenes(graft: SceneGraft, paths: Sequence[Path]) -> dict[str, np.ndarray]:
    """The middle of each image that can be read as a PNG file, the classes of its pixels and their confidence."""
    stored: dict[str, np.ndarray] = {}
    for path in paths:
        try:
            image = _middle(pixels(Path(path).read_bytes()))
        except (OSError, DataError):
            continue
        i = len(stored) // 3
        out = io.BytesIO()
        Image.fromarray(image).save(out, "PNG")
        stored[f"input.{i}"] = np.frombuffer(out.getvalue(), dtype=np.uint8)
        stored[f"classes.{i}"], stored[f"confidence.{i}"] = map(np.ascontiguousarray, graft.answer(image))
    return stored


def verify_scenes(graft: SceneGraft, check: Mapping[str, np.ndarray]) -> None:
    """Answer the stored images again; raise `ArtifactError` where too many pixels get another answer."""
    for i in range(sum(name.startswith("input.") for name in check)):
        try:
            found = graft.answer(pixels(check[f"input.{i}"].tobytes()))
            expected = check[f"classes.{i}"], check.get(f"confidence.{i}", found[1])  # the first folders had none
        except (KeyError, DataError) as error:
            message = f"check.safetensors is damaged: {error}. Copy the folder again, or fit again."
            raise ArtifactError(message) from error
        for what, one, other, apart in zip(("class", "confidence"), found, expected, (0, TOLERANCE), strict=True):
            same = _same(one, other, apart)
            if same < AGREE:
                raise ArtifactError(
                    f"the self-check failed: of a stored scene only {same:.1%} of the pixels get the stored {what} "
                    f"(at least {AGREE:.0%} is normal). The files, the backbone or an installed library differ from "
                    "when it was saved. Fit again, or torchgraft.load(path, verify=False) if you know why."
                )


def _same(a: np.ndarray, b: np.ndarray, apart: int) -> float:
    """Share of the pixels that are at most `apart` away from each other; 0 for maps of different sizes."""
    if a.shape != b.shape:
        return 0.0
    return float((np.abs(a.astype(np.int16) - b) <= apart).mean())


def _middle(image: np.ndarray) -> np.ndarray:
    top, left = (max(side - _LARGEST, 0) // 2 for side in image.shape[:2])
    return image[top : top + _LARGEST, left : left + _LARGEST]
