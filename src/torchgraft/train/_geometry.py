"""Where the pixels of an augmented picture come from: boxes, flips, rotation, shear, shifts, in one resampling."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

Matrix = tuple[float, float, float, float, float, float]
"""(a, b, c, d, e, f): the pixel (x, y), counted from the centre, shows what was at (ax + by + c, dx + ey + f)."""

STILL: Matrix = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def rotate(degrees: float) -> Matrix:
    """Turned counter-clockwise around the centre."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return (cos, -sin, 0.0, sin, cos, 0.0)


def shear_x(share: float) -> Matrix:
    """Rows are moved by `share` of their distance from the middle row."""
    return (1.0, share, 0.0, 0.0, 1.0, 0.0)


def shear_y(share: float) -> Matrix:
    """Columns are moved by `share` of their distance from the middle column."""
    return (1.0, 0.0, 0.0, share, 1.0, 0.0)


def translate(x: float, y: float) -> Matrix:
    """Moved by x pixels to the left and y pixels up."""
    return (1.0, 0.0, x, 0.0, 1.0, y)


def then(first: Matrix, second: Matrix) -> Matrix:
    """`first`, and `second` on its result."""
    a, b, c, d, e, f = first
    p, q, r, s, t, u = second
    return (a * p + b * s, a * q + b * t, a * r + b * u + c, d * p + e * s, d * q + e * t, d * r + e * u + f)


@dataclass(frozen=True)
class Placement:
    """A box of the source, in pixels; its mirroring; then a `matrix` in pixels of the output."""

    top: int
    left: int
    height: int
    width: int
    mirrored: bool = False
    upside_down: bool = False
    matrix: Matrix = STILL


def centred(height: int, width: int, size: int) -> tuple[int, int]:
    """Top and left of the centre `size` x `size`, rounded as in evaluation."""
    return round((height - size) / 2), round((width - size) / 2)


def resized_box(
    height: int, width: int, scale: tuple[float, float], area: float, shape: float, down: float, right: float
) -> tuple[int, int, int, int]:
    """Top, left, height, width of a random resized crop (Szegedy et al. 2015); the last four are draws from [0, 1).

    Its area is a uniform share in `scale` of the picture, its ratio of sides log-uniform from 3/4 to 4/3. Where it is
    longer than the picture it is cut there.
    """
    pixels = height * width * (scale[0] + area * (scale[1] - scale[0]))
    ratio = math.exp((2 * shape - 1) * math.log(4 / 3))
    tall = min(max(round(math.sqrt(pixels / ratio)), 1), height)
    wide = min(max(round(math.sqrt(pixels * ratio)), 1), width)
    return int(down * (height - tall + 1)), int(right * (width - wide + 1)), tall, wide


class Sampler:
    """Cuts placements out of H x W x 3 uint8 pictures; buffers are kept between calls.

    Slices where pixels keep their size, an antialiased resize of the box where only the scale changes, bilinear
    sampling where there is a matrix. What lies outside of the picture is its mirror image: black corners would be
    something to learn.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._steps = torch.arange(size) + 0.5 - size / 2  # pixel centres, counted from the middle
        self._grid = torch.empty(1, size, size, 2)
        self._source = torch.empty(0)

    def __call__(self, picture: Tensor, placement: Placement, out: Tensor) -> None:
        """Write the placement of `picture` into `out`, size x size x 3, uint8 or float32."""
        if placement.matrix != STILL:
            out.copy_(self._warped(picture, placement))
            return
        cut = self._cut(picture, placement)
        axes = [axis for axis, flipped in enumerate((placement.upside_down, placement.mirrored)) if flipped]
        out.copy_(cut.flip(axes) if axes else cut)

    def _cut(self, picture: Tensor, placement: Placement) -> Tensor:
        top, left, height, width = placement.top, placement.left, placement.height, placement.width
        inside = top >= 0 and left >= 0 and top + height <= picture.shape[0] and left + width <= picture.shape[1]
        if inside:
            cut = picture[top : top + height, left : left + width]
        else:
            rows, columns = _mirror(top, height, picture.shape[0]), _mirror(left, width, picture.shape[1])
            cut = picture.index_select(0, rows).index_select(1, columns)
        if (height, width) == (self._size, self._size):
            return cut
        planes = cut.permute(2, 0, 1)[None]
        planes = F.interpolate(planes, (self._size, self._size), mode="bilinear", antialias=True, align_corners=False)
        return planes[0].permute(1, 2, 0)

    def _warped(self, picture: Tensor, placement: Placement) -> Tensor:
        if self._source.shape != (1, *picture.shape):
            self._source = torch.empty(1, *picture.shape)
        self._source[0].copy_(picture)
        a, b, c, d, e, f = self._normalised(placement, *picture.shape[:2])
        steps, grid = self._steps, self._grid
        torch.add((a * steps + c)[None, :], (b * steps)[:, None], out=grid[0, :, :, 0])
        torch.add((d * steps + f)[None, :], (e * steps)[:, None], out=grid[0, :, :, 1])
        planes = self._source.permute(0, 3, 1, 2)
        return F.grid_sample(planes, grid, padding_mode="reflection", align_corners=False)[0].permute(1, 2, 0)

    def _normalised(self, placement: Placement, height: int, width: int) -> Matrix:
        """Output pixels from the centre -> places in the source, where its edges are -1 and 1."""
        a, b, c, d, e, f = placement.matrix
        x = 2 * placement.width / self._size / width * (-1 if placement.mirrored else 1)
        y = 2 * placement.height / self._size / height * (-1 if placement.upside_down else 1)
        middle_x = (2 * placement.left + placement.width) / width - 1
        middle_y = (2 * placement.top + placement.height) / height - 1
        return (x * a, x * b, x * c + middle_x, y * d, y * e, y * f + middle_y)


def _mirror(start: int, length: int, end: int) -> Tensor:
    """Positions `start` to `start + length` of a line of `end` pixels that goes on as its mirror image."""
    at = torch.arange(start, start + length) % (2 * end)
    return torch.where(at < end, at, 2 * end - 1 - at)
