from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from torchgraft.train import _geometry
from torchgraft.train._geometry import STILL, Placement, Sampler, then


def photo(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width].astype(float)
    planes = np.stack([128 + 100 * np.sin(x / 7 + y / 9), y * 250 / height, 250 - x * 250 / width], axis=-1)
    return planes.astype(np.uint8)


def placed(image: np.ndarray, placement: Placement, size: int, dtype: torch.dtype = torch.float32) -> np.ndarray:
    out = torch.full((size, size, 3), 255, dtype=dtype)
    Sampler(size)(torch.from_numpy(image), placement, out)
    return out.numpy()


def inside(values: np.ndarray, share: float = 0.25) -> np.ndarray:
    edge = int(len(values) * share)
    return values[edge:-edge, edge:-edge].astype(float)


@pytest.mark.parametrize("degrees", [-30, 7.5, 90, 170])
def test_rotation_is_that_of_pillow(degrees: float) -> None:
    image = photo(64, 64)
    expected = Image.fromarray(image).rotate(degrees, Image.Resampling.BILINEAR)
    found = placed(image, Placement(0, 0, 64, 64, matrix=_geometry.rotate(degrees)), 64)
    assert np.abs(inside(found) - inside(np.asarray(expected))).max() < 1.01  # Pillow cuts fractions off


@pytest.mark.parametrize(
    ("matrix", "coefficients"),
    [
        (_geometry.shear_x(0.3), (1, 0.3, -0.3 * 32, 0, 1, 0)),
        (_geometry.shear_y(-0.2), (1, 0, 0, -0.2, 1, 0.2 * 32)),
        (_geometry.translate(5, -3), (1, 0, 5, 0, 1, -3)),
    ],
)
def test_shears_and_shifts_are_those_of_pillow(matrix: _geometry.Matrix, coefficients: tuple[float, ...]) -> None:
    image = photo(64, 64)  # Pillow counts from the corner
    method = Image.Transform.AFFINE
    expected = Image.fromarray(image).transform((64, 64), method, coefficients, Image.Resampling.BILINEAR)
    found = placed(image, Placement(0, 0, 64, 64, matrix=matrix), 64)
    assert np.abs(inside(found) - inside(np.asarray(expected))).max() < 1.01


def test_a_resized_box_is_that_of_pillow() -> None:
    image = photo(50, 60)
    expected = Image.fromarray(image).crop((7, 5, 7 + 45, 5 + 40)).resize((32, 32), Image.Resampling.BILINEAR)
    found = placed(image, Placement(5, 7, 40, 45), 32, torch.uint8)
    assert np.abs(found.astype(int) - np.asarray(expected).astype(int)).max() <= 1


def test_slices_and_flips_are_exact() -> None:
    image = photo(20, 24)
    window = image[3:19, 6:22]
    assert np.array_equal(placed(image, Placement(3, 6, 16, 16), 16, torch.uint8), window)
    assert np.array_equal(placed(image, Placement(3, 6, 16, 16, mirrored=True), 16, torch.uint8), window[:, ::-1])
    assert np.array_equal(placed(image, Placement(3, 6, 16, 16, upside_down=True), 16), window[::-1])
    assert np.array_equal(placed(image, Placement(3, 6, 16, 16, True, True), 16), window[::-1, ::-1])


@given(st.integers(-10, 16), st.integers(-10, 14))
def test_outside_of_the_picture_is_its_mirror_image(top: int, left: int) -> None:
    image = photo(20, 18)
    wide = np.pad(image, ((20, 20), (20, 20), (0, 0)), mode="symmetric")
    found = placed(image, Placement(top, left, 14, 14), 14, torch.uint8)
    assert np.array_equal(found, wide[top + 20 : top + 34, left + 20 : left + 34])


@given(st.integers(-8, 12), st.integers(-8, 12), st.booleans(), st.booleans())
def test_sampling_and_slicing_agree(top: int, left: int, mirrored: bool, upside_down: bool) -> None:
    image = photo(20, 22)
    exact = placed(image, Placement(top, left, 12, 12, mirrored, upside_down), 12)
    almost_still = (1.0, 1e-9, 0.0, 0.0, 1.0, 0.0)
    sampled = placed(image, Placement(top, left, 12, 12, mirrored, upside_down, almost_still), 12)
    assert np.abs(exact - sampled).max() < 0.01


def test_matrix_comes_after_the_flip() -> None:
    image = photo(32, 32)
    turned = _geometry.rotate(20)
    at_once = placed(image, Placement(0, 0, 32, 32, True, matrix=turned), 32)
    one_by_one = placed(np.ascontiguousarray(image[:, ::-1]), Placement(0, 0, 32, 32, matrix=turned), 32)
    assert np.abs(at_once - one_by_one).max() < 0.01


def test_then_composes() -> None:
    assert then(STILL, STILL) == STILL
    assert np.allclose(then(_geometry.rotate(20), _geometry.rotate(-20)), STILL)
    assert np.allclose(then(_geometry.rotate(30), _geometry.rotate(60)), _geometry.rotate(90))
    # moved by 5, then turned by 90 degrees counter-clockwise: what was on the right is now above
    assert np.allclose(then(_geometry.translate(5, 0), _geometry.rotate(90)), (0, -1, 5, 1, 0, 0))


draw = st.floats(0, 1, exclude_max=True)


@given(st.integers(1, 60), st.integers(1, 60), draw, draw, draw, draw)
def test_resized_boxes_lie_in_the_picture(
    height: int, width: int, area: float, shape: float, down: float, right: float
) -> None:
    top, left, tall, wide = _geometry.resized_box(height, width, (0.1, 1.0), area, shape, down, right)
    assert top >= 0 and tall >= 1 and top + tall <= height
    assert left >= 0 and wide >= 1 and left + wide <= width


def test_resized_box_by_hand() -> None:
    # a quarter of 80 x 80 at ratio 1 is 40 x 40; half the room of 41 places is place 20
    assert _geometry.resized_box(80, 80, (0.25, 0.25), 0.7, 0.5, 0.5, 0.0) == (20, 0, 40, 40)


def test_one_sampler_takes_pictures_of_any_size() -> None:
    sampler, out = Sampler(16), torch.empty(16, 16, 3)
    for height, width in ((20, 20), (30, 18), (20, 20)):
        image = photo(height, width)
        sampler(torch.from_numpy(image), Placement(0, 0, 16, 16, matrix=(1.0, 1e-9, 0, 0, 1.0, 0)), out)
        assert np.abs(out.numpy() - image[:16, :16]).max() < 0.01
