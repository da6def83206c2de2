from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchgraft.train._erasing import erase

draw = st.floats(0, 1, exclude_max=True)


@given(draw, draw, draw, draw)
def test_one_rectangle_of_two_to_thirty_three_percent_is_covered(
    area: float, shape: float, down: float, right: float
) -> None:
    p = torch.zeros(40, 50, 3)
    p[::2] = 200.0
    before = p.clone()
    erase(p, area, shape, down, right)
    covered = (p != before).any(-1)
    rows, columns = covered.any(1).nonzero(), covered.any(0).nonzero()
    assert int(covered.sum()) == len(rows) * len(columns)
    assert int(rows[-1] - rows[0]) + 1 == len(rows) and int(columns[-1] - columns[0]) + 1 == len(columns)
    # sides are rounded to whole pixels, and cut where they are longer than the picture
    assert 0.01 < covered.float().mean() < 0.36
    assert torch.allclose(p[covered], torch.tensor(100.0))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_by_hand(dtype: torch.dtype) -> None:
    # the middle of 2 % and 33.3 % is 17.67 %: of 60 x 60 pixels 636, a square of 25 at the upper left
    p = torch.full((60, 60, 3), 8, dtype=dtype)
    p[..., 1] = torch.arange(60) % 2 * 20
    erase(p, 0.5, 0.5, 0.0, 0.0)
    assert (p[:25, :25, 1] == 10).all() and (p[:25, :25, 0] == 8).all()
    assert (p[25:, :, 1] != 10).all() and (p[:, 25:, 1] != 10).all()
