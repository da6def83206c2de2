"""Looks: what they carry over from one set of pictures to another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from torchgraft.data import Samples
from torchgraft.tasks._scene_looks import Camera, looks_of, moments, spectrum
from torchgraft.train.dense_loader import DenseLoader


def _pictures(count: int, seed: int, side: int = 64) -> list[np.ndarray]:
    """Smooth shapes under fine texture."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 200, (count, 8, 8, 3), dtype=np.uint8)
    smooth = [np.asarray(Image.fromarray(x).resize((side, side), Image.Resampling.BICUBIC)) for x in coarse]
    return [np.clip(x + rng.normal(0, 12, x.shape), 0, 255).astype(np.uint8) for x in smooth]


def test_moments_are_those_of_the_other() -> None:
    image, other = _pictures(2, 0)
    other = other // 3 + 20
    found = moments(image, other).astype(float)
    np.testing.assert_allclose(found.mean((0, 1)), other.mean((0, 1)), atol=0.5)
    np.testing.assert_allclose(found.std((0, 1)), other.std((0, 1)), atol=0.5)
    np.testing.assert_array_equal(moments(image, image), image)


def test_a_flat_picture_gets_the_mean_alone() -> None:
    flat, other = np.full((8, 8, 3), 90, dtype=np.uint8), _pictures(1, 0, 8)[0]
    assert moments(flat, other).std() <= np.ptp(other.mean((0, 1)))


def test_the_camera_of_the_same_pictures_changes_next_to_nothing() -> None:
    pictures = _pictures(6, 0)
    same = Camera(pictures, pictures)
    assert np.abs(same(pictures[0], 0).astype(int) - pictures[0]).max() <= 1


def test_the_camera_finds_a_tone_curve() -> None:
    pictures = _pictures(12, 0)
    dark = [np.rint(255 * (x / 255) ** 2).astype(np.uint8) for x in pictures]
    found = Camera(pictures, dark)(pictures[3], 3).astype(int)
    assert np.abs(found - dark[3]).mean() < 2


def test_the_camera_finds_a_blur() -> None:
    pictures = _pictures(12, 0)
    soft = [np.asarray(Image.fromarray(x).filter(ImageFilter.GaussianBlur(1.5))) for x in pictures]
    found = Camera(pictures, soft)(pictures[3], 3).astype(float)
    assert np.abs(found - soft[3]).mean() < np.abs(pictures[3].astype(float) - soft[3]).mean() / 2


def test_the_spectrum_of_white_noise_is_its_variance() -> None:
    rng = np.random.default_rng(0)
    noise = [rng.normal(128, 9, (96, 96, 3)) for _ in range(20)]
    np.testing.assert_allclose(spectrum(noise)[:, 2:], 81, rtol=0.15)


def test_looks_are_made_for_any_size_and_are_the_same_again(streets: Callable[..., Samples]) -> None:
    source, target = streets(8), streets(6)
    loaders = DenseLoader(source.x, source.masks, scale=3.0), DenseLoader(target.x, None, scale=4.0)
    for name, look in looks_of(*loaders, 0).items():
        image = loaders[0].picture(1)[0]
        found = look(image, 1)
        assert (found.shape, found.dtype) == (image.shape, np.uint8), name
        np.testing.assert_array_equal(found, looks_of(*loaders, 0)[name](image, 1))
