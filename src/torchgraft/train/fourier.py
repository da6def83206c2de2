"""A picture in the light of another: its slowest waves get the other's strength (FDA, Yang and Soatto, CVPR 2020)."""

from __future__ import annotations

import numpy as np
from PIL import Image

from torchgraft.core.errors import DataError, OptionError


def fda(image: np.ndarray, other: np.ndarray, *, beta: float = 0.01) -> np.ndarray:
    """`image` with the low-frequency amplitudes of `other`, H x W x 3 uint8, as both are.

    F^-1([M A(other) + (1 - M) A(image)] e^(i P(image))), A and P being amplitude and phase of each channel's Fourier
    transform; M is 1 where both frequencies are at most b = floor(beta min(H, W)) waves a picture. So things stay where
    they are, and light, tint and haze become those of the other. `beta` 0..0.5: 0 is the mean of each channel alone,
    0.01 to 0.09 in the paper. `other` of another size is scaled first.

    Raises `DataError` where one is no H x W x 3 uint8, `OptionError` for another `beta`.
    """
    for name, one in (("image", image), ("other", other)):
        if one.ndim != 3 or one.shape[2] != 3 or one.dtype != np.uint8 or not one.size:
            raise DataError(f"fda: {name} expects H x W x 3 uint8, got {one.shape} {one.dtype}.")
    if not 0 <= beta <= 0.5:
        raise OptionError(f"beta expects a number in 0..0.5, got {beta!r}.")
    height, width = image.shape[:2]
    if other.shape != image.shape:
        other = np.asarray(Image.fromarray(other).resize((width, height), Image.Resampling.BILINEAR))
    b = int(beta * min(height, width))
    own, new = _transformed(image), _transformed(other)
    rows, columns = np.arange(-b, b + 1) % height, np.arange(min(b, width // 2) + 1)
    place = np.ix_(rows, columns)
    own[place] *= np.abs(new[place]) / np.maximum(np.abs(own[place]), 1e-6)
    return bytes_of(np.fft.irfft2(own, s=(height, width), axes=(0, 1)))


def bytes_of(values: np.ndarray) -> np.ndarray:
    """Numbers as uint8: rounded, cut to 0..255."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _transformed(image: np.ndarray) -> np.ndarray:
    """H x (W // 2 + 1) x 3; the other half mirrors it, as the picture is real."""
    return np.fft.rfft2(image.astype(np.float64), axes=(0, 1))
