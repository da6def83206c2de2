"""FDA: against the formula written out with the whole transform, and by hand where only the mean moves."""

from __future__ import annotations

import numpy as np
import pytest

from torchgraft.core.errors import DataError, OptionError
from torchgraft.train.fourier import bytes_of, fda


def _picture(seed: int, height: int = 24, width: int = 30) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(60, 200, (height, width, 3), dtype=np.uint8)


def _written_out(image: np.ndarray, other: np.ndarray, beta: float) -> np.ndarray:
    """As in the paper's code: the whole transform, its middle square swapped."""
    a, b = (np.fft.fftshift(np.fft.fft2(x.astype(float), axes=(0, 1)), axes=(0, 1)) for x in (image, other))
    height, width = image.shape[:2]
    reach, row, column = int(np.floor(min(height, width) * beta)), height // 2, width // 2
    square = (slice(row - reach, row + reach + 1), slice(column - reach, column + reach + 1))
    amplitude = np.abs(a)
    amplitude[square] = np.abs(b)[square]
    whole = np.fft.ifftshift(amplitude * np.exp(1j * np.angle(a)), axes=(0, 1))
    return bytes_of(np.fft.ifft2(whole, axes=(0, 1)).real)


@pytest.mark.parametrize("beta", [0.0, 0.05, 0.1, 0.3])
def test_it_is_the_paper_s_formula(beta: float) -> None:
    image, other = _picture(0), _picture(1)
    np.testing.assert_array_equal(fda(image, other, beta=beta), _written_out(image, other, beta))


def test_its_own_light_changes_nothing() -> None:
    image = _picture(0, 31, 17)
    np.testing.assert_array_equal(fda(image, image, beta=0.2), image)


def test_with_beta_zero_only_the_mean_of_each_channel_moves() -> None:
    image, other = _picture(0), _picture(1) // 2
    found = fda(image, other, beta=0.0).astype(float) - image
    expected = other.mean((0, 1)) - image.mean((0, 1))
    assert np.abs(np.clip(image + expected, 0, 255) - image - found).max() <= 0.5


def test_another_size_is_scaled_first() -> None:
    flat = np.full((7, 90, 3), 50, dtype=np.uint8)
    found = fda(_picture(0), flat, beta=0.0)
    assert found.shape == (24, 30, 3)
    assert abs(found.mean() - 50) < 4  # what falls under 0 is cut


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_no_picture_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(DataError, match="H x W x 3 uint8"):
        fda(_picture(0), wrong)


@pytest.mark.parametrize("beta", [-0.1, 0.6, float("nan")])
def test_beta_has_its_range(beta: float) -> None:
    with pytest.raises(OptionError, match="beta"):
        fda(_picture(0), _picture(1), beta=beta)
