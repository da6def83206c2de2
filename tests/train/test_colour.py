from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from torchgraft.train import _colour


def photo(size: int = 64, seed: int = 0) -> np.ndarray:
    """A smooth picture with some noise, not using all grey levels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    planes = np.stack([0.5 + 0.4 * np.sin(5 * x + 2 * y), 0.2 + 0.6 * y, 0.7 - 0.4 * x * y], axis=-1)
    return np.clip(planes * 200 + 20 + rng.normal(0, 8, planes.shape), 0, 255).astype(np.uint8)


def changed(change, image: np.ndarray, *strength: float) -> np.ndarray:
    p = torch.from_numpy(image).float()
    change(p, *strength)
    return p.numpy()


PILLOW = {
    "brightness": ImageEnhance.Brightness,
    "contrast": ImageEnhance.Contrast,
    "saturation": ImageEnhance.Color,
    "sharpness": ImageEnhance.Sharpness,
}


@pytest.mark.parametrize("factor", [0.1, 0.55, 1.0, 1.4, 1.9])
@pytest.mark.parametrize("name", PILLOW)
def test_enhancements_are_those_of_pillow(name: str, factor: float) -> None:
    image = photo()
    expected = np.asarray(PILLOW[name](Image.fromarray(image)).enhance(factor)).astype(float)
    found = changed(getattr(_colour, name), image, factor)
    assert found.min() >= 0 and found.max() <= 255
    # Pillow rounds what it blends with, then cuts the fraction off: at most two grey levels, half of one on average
    assert np.abs(found - expected).max() < 2
    assert np.abs(found - expected).mean() < 0.6


@pytest.mark.parametrize("name", PILLOW)
def test_factor_one_changes_nothing(name: str) -> None:
    image = photo()
    assert np.allclose(changed(getattr(_colour, name), image, 1.0), image, atol=1e-4)


@pytest.mark.parametrize("threshold", [0, 1, 100, 128, 256])
def test_solarize_is_that_of_pillow(threshold: int) -> None:
    image = photo()
    expected = np.asarray(ImageOps.solarize(Image.fromarray(image), threshold))
    assert np.array_equal(changed(_colour.solarize, image, threshold), expected)


@pytest.mark.parametrize("bits", range(1, 9))
def test_posterize_is_that_of_pillow(bits: int) -> None:
    image = photo()
    expected = np.asarray(ImageOps.posterize(Image.fromarray(image), bits))
    assert np.array_equal(changed(_colour.posterize, image, bits), expected)


def test_autocontrast_is_that_of_pillow() -> None:
    image = photo()
    image[..., 2] = 77  # a channel of one value
    expected = np.asarray(ImageOps.autocontrast(Image.fromarray(image))).astype(float)
    found = changed(_colour.autocontrast, image)
    assert np.abs(found - expected).max() < 1  # Pillow cuts the fraction off
    assert (found[..., 2] == 77).all()


def test_autocontrast_does_not_blow_up_rounding_errors() -> None:
    p = torch.full((4, 4, 3), 100.0)
    p[0, 0] += 1e-5
    before = p.clone()
    _colour.autocontrast(p)
    assert torch.equal(p, before)


@pytest.mark.parametrize("image", [photo(), photo(8), np.full((8, 8, 3), 9, np.uint8)], ids=["photo", "tiny", "flat"])
def test_equalize_is_that_of_pillow(image: np.ndarray) -> None:
    expected = np.asarray(ImageOps.equalize(Image.fromarray(image)))
    assert np.array_equal(changed(_colour.equalize, image), expected)


def test_sharpness_zero_is_pillows_smoothing() -> None:
    image = photo()
    expected = np.asarray(Image.fromarray(image).filter(ImageFilter.SMOOTH)).astype(float)
    assert np.abs(changed(_colour.sharpness, image, 0.0) - expected).max() <= 0.51


def test_a_picture_of_two_pixels_is_not_sharpened() -> None:
    image = photo(2)
    assert np.array_equal(changed(_colour.sharpness, image, 1.9), image)


def test_contrast_by_hand() -> None:
    # two grey pixels, 100 and 200: mean 150, so that doubling gives 50 and 250
    p = torch.tensor([100.0, 200.0]).view(1, 2, 1).repeat(1, 1, 3)
    _colour.contrast(p, 2.0)
    assert torch.allclose(p[0, :, 0], torch.tensor([50.0, 250.0]), atol=1e-3)
