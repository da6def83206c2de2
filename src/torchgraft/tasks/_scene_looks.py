"""Labelled scenes as they would look in the target: three ways to carry over light, haze and blur.

Each stands on other numbers of the target, so what was fitted under one look can be tried out under the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from torchgraft.tasks._scene_pixels import Look
from torchgraft.train.dense_loader import DenseLoader
from torchgraft.train.fourier import bytes_of, fda

_SOME = 64
"""Scenes of a domain that its numbers are taken from."""

_BINS = 24  # rings of equal frequency
_SLOW = 0.2  # share of the highest frequency under which differences are of things and light, not of the lens
_TILE = 96  # pixels of the squares that spectra are taken from


def looks_of(source: DenseLoader, target: DenseLoader, seed: int, *, beta: float = 0.01) -> dict[str, Look]:
    """The looks by name: `fda` (see `train.fourier.fda`), `moments`, `camera`."""
    partner = np.random.default_rng([seed, 1]).integers(0, len(target), len(source))

    def of_target(row: int) -> np.ndarray:
        return target.picture(int(partner[row]))[0]

    return {
        "fda": lambda image, row: fda(image, of_target(row), beta=beta),
        "moments": lambda image, row: moments(image, of_target(row)),
        "camera": Camera(_some(source), _some(target)),
    }


def moments(image: np.ndarray, other: np.ndarray) -> np.ndarray:
    """`image` with the mean and the spread of `other` in each channel: (x - m) s' / s + m' (Reinhard et al. 2001).

    H x W x 3 uint8; in RGB, not in the paper's decorrelated colours.
    """
    x, t = image.astype(np.float64), other.astype(np.float64)
    scale = t.std((0, 1)) / np.maximum(x.std((0, 1)), 1.0)
    return bytes_of((x - x.mean((0, 1))) * scale + t.mean((0, 1)))


class Camera:
    """A tone curve and a blur that make one set of pictures like another.

    The curve of each channel carries the grey levels of all `source` pixels to those of `target` (histogram matching).
    Then frequencies above a fifth of the highest are weakened where the target has less power in their ring:
    |F'| = |F| sqrt(min(1, P_t / P_s)). (Noise where it has more was tried: worse on
    night scenes.)
    """

    def __init__(self, source: Sequence[np.ndarray], target: Sequence[np.ndarray]) -> None:
        self.curve = np.stack([_matched(_levels(source, c), _levels(target, c)) for c in range(3)])
        own, new = spectrum([self._toned(x) for x in source]), spectrum(target)
        self.gain = np.sqrt(np.minimum(new / np.maximum(own, 1e-9), 1.0))

    def __call__(self, image: np.ndarray, row: int) -> np.ndarray:
        """H x W x 3 uint8; all rows alike."""
        height, width = image.shape[:2]
        radius = _radius(height, width)
        gain = np.stack([np.interp(radius * _BINS - 0.5, np.arange(_BINS), one) for one in self.gain], axis=-1)
        waves = np.fft.rfft2(self._toned(image), axes=(0, 1))
        waves *= np.where(radius[..., None] < _SLOW, 1.0, gain)
        return bytes_of(np.fft.irfft2(waves, s=(height, width), axes=(0, 1)))

    def _toned(self, image: np.ndarray) -> np.ndarray:
        return np.stack([self.curve[c][image[..., c]] for c in range(3)], axis=-1)


def spectrum(images: Sequence[np.ndarray]) -> np.ndarray:
    """3 x rings: mean power of one frequency for each pixel, of squares in the middle of pictures (white noise of
    variance v: v in every ring).
    """
    total = np.zeros((3, _BINS))
    for image in images:
        side = min(_TILE, *image.shape[:2])
        top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
        part = image[top : top + side, left : left + side].astype(np.float64)
        window = np.outer(np.hanning(side), np.hanning(side))[..., None]
        waves = np.fft.rfft2((part - part.mean((0, 1))) * window, axes=(0, 1))
        ring = np.minimum((_radius(side, side) * _BINS).astype(int), _BINS - 1).ravel()
        count = np.maximum(np.bincount(ring, minlength=_BINS), 1)
        power = np.abs(waves) ** 2 / (window**2).sum()
        total += [np.bincount(ring, weights=power[..., c].ravel(), minlength=_BINS) / count for c in range(3)]
    return total / len(images)


def _radius(height: int, width: int) -> np.ndarray:
    """H x (W // 2 + 1): frequency over half the sampling rate; over 1 in the corners."""
    return 2 * np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])


def _levels(images: Sequence[np.ndarray], channel: int) -> np.ndarray:
    """The share of each of 256 grey levels in all pictures, each picture weighing the same."""
    shares = [np.bincount(x[..., channel].ravel(), minlength=256) / x[..., channel].size for x in images]
    return np.mean(shares, axis=0)


def _matched(own: np.ndarray, new: np.ndarray) -> np.ndarray:
    """256 levels (float): where the middle of each of `own`'s levels comes to lie among those of `new`."""
    middles = [np.cumsum(shares) - shares / 2 for shares in (own, new)]
    there = new > 0
    return np.interp(middles[0], middles[1][there], np.arange(256)[there])


def _some(loader: DenseLoader) -> list[np.ndarray]:
    rows = np.unique(np.linspace(0, len(loader) - 1, min(len(loader), _SOME)).astype(int))
    return [loader.picture(int(row))[0] for row in rows]
