"""Small pictures for the report: JPEG files as data addresses, so that the page stays one file."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps


def thumbnail(path: Path, side: int = 128) -> str:
    """A JPEG of at most `side` pixels as a data URI; empty where the picture can't be read any more."""
    try:
        with Image.open(path) as image:
            image.draft("RGB", (2 * side, 2 * side))
            small = ImageOps.exif_transpose(image).convert("RGB")
            small.thumbnail((side, side))
    except (OSError, ValueError, Image.DecompressionBombError):
        return ""
    return _uri(small)


def embedded(pixels: np.ndarray, side: int = 256) -> str:
    """H x W x 3 uint8 as a JPEG of at most `side` pixels, as a data URI."""
    small = Image.fromarray(pixels)
    small.thumbnail((side, side))
    return _uri(small)


def _uri(image: Image.Image) -> str:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
