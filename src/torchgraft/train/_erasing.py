"""Random erasing: a rectangle of the picture is covered."""

from __future__ import annotations

import math

from torch import Tensor

_AREA = (0.02, 1 / 3)
_LONGEST = 10 / 3  # ratio of the rectangle's sides, either way


def erase(p: Tensor, area: float, shape: float, down: float, right: float) -> None:
    """Cover a rectangle of p, H x W x 3 uint8 or float32, in place, with the picture's mean colour.

    The last four are draws from [0, 1): the area is uniform in 2 to 33 % of the picture, the ratio of the sides
    log-uniform from 0.3 to 3.3, the place uniform (Zhong et al. 2020; a rectangle longer than the picture is cut).
    """
    height, width = p.shape[:2]
    pixels = height * width * (_AREA[0] + area * (_AREA[1] - _AREA[0]))
    ratio = math.exp((2 * shape - 1) * math.log(_LONGEST))
    tall = min(max(round(math.sqrt(pixels / ratio)), 1), height)
    wide = min(max(round(math.sqrt(pixels * ratio)), 1), width)
    top, left = int(down * (height - tall + 1)), int(right * (width - wide + 1))
    mean = p.reshape(-1, 3).float().mean(0)
    p[top : top + tall, left : left + wide] = mean if p.is_floating_point() else mean.round().to(p.dtype)
