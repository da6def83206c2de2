"""Augmentation of pictures together with their labels for each pixel: what moves one moves the other.

Every picture of a batch gets its own draw, and every draw comes from the generator given.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from torchgraft.core.errors import DataError, OptionError
from torchgraft.data import IGNORE
from torchgraft.train import _colour

_DRAWS = 7  # random numbers a picture needs
_LIMIT = 16  # times larger or smaller


@dataclass(frozen=True, kw_only=True)
class DenseAugmentOptions:
    """What is done to training pictures and their labels; by default what fits scenes that have an up and a down.

    flip: probability (0 to 1) of the mirror image. scale: lowest and highest zoom (1/16 to 16), log-uniform, so that
    half and double are as likely; 1 keeps the size of things. colour: brightness, contrast and saturation are
    multiplied by 1 - colour to 1 + colour (0 to 1).

    Raises `OptionError` that names every value that can't be used.
    """

    flip: float = 0.5
    scale: tuple[float, float] = (0.5, 2.0)
    colour: float = 0.2

    def __post_init__(self) -> None:
        problems = []
        if len(self.scale) != 2 or not 1 / _LIMIT <= self.scale[0] <= self.scale[1] <= _LIMIT:
            problems.append(f"scale expects two zooms, 1/{_LIMIT} <= low <= high <= {_LIMIT}, got {self.scale!r}.")
        for name in ("flip", "colour"):
            if not 0 <= getattr(self, name) <= 1:
                problems.append(f"{name} expects a number from 0 to 1, got {getattr(self, name)!r}.")
        if problems:
            raise OptionError(" ".join(problems))


@dataclass(frozen=True)
class _Window:
    """The box of the source, in pixels, that fills the result; parts of it may lie outside."""

    top: int
    left: int
    height: int
    width: int
    mirrored: bool = False


class DenseAugment:
    """B x H x W x 3 uint8 and labels B x H x W -> B x h x w x 3 in 0..255 and B x h x w of the same type.

    `size` is (h, w), `mean` the grey levels (0 to 255) of red, green and blue that fill what lies outside of the
    picture, where labels are IGNORE = 255. A box of whole pixels is cut out and resized to h x w, pictures bilinearly
    and antialiased, labels to the nearest pixel centre; so a label shows the class of the pixel that lies there,
    whatever was drawn. Result uint8, or float32 where colours change.
    """

    def __init__(
        self, options: DenseAugmentOptions, size: tuple[int, int], mean: tuple[float, float, float] = (128, 128, 128)
    ) -> None:
        if len(size) != 2 or min(size) < 1:
            raise OptionError(f"size expects a height and a width from 1, got {size!r}.")
        if len(mean) != 3 or not all(0 <= level <= 255 for level in mean):
            raise OptionError(f"mean expects three grey levels from 0 to 255, got {mean!r}.")
        self.options = options
        self.size = size
        self._fill = torch.tensor(mean, dtype=torch.float32).round().to(torch.uint8)

    def plain(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Nothing drawn: the centre h x w, filled around where the picture is smaller. The same type as given."""
        _check(x, y)
        (height, width), (h, w) = x.shape[1:3], self.size
        if (height, width) == (h, w):
            return x, y
        window = _Window((height - h) // 2, (width - w) // 2, h, w)
        return torch.stack([self._pixels(one, window) for one in x]), torch.stack([self._labels(a, window) for a in y])

    @torch.no_grad()
    def __call__(self, x: Tensor, y: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """An augmented batch; the same generator state gives the same batch; without one, `plain`.

        Raises `DataError` where pictures and labels are not as stated.
        """
        if generator is None:
            return self.plain(x, y)
        _check(x, y)
        out = torch.empty(len(x), *self.size, 3, dtype=torch.float32 if self.options.colour else torch.uint8)
        labels = torch.empty(len(y), *self.size, dtype=y.dtype)
        for i, draw in enumerate(torch.rand(len(x), _DRAWS, generator=generator).tolist()):
            window = self._window(*x.shape[1:3], draw)
            out[i].copy_(self._pixels(x[i], window))
            labels[i].copy_(self._labels(y[i], window))
            if self.options.colour:
                self._jitter(out[i], draw[4:7])
        return out, labels

    def _window(self, height: int, width: int, draw: list[float]) -> _Window:
        (low, high), (h, w) = self.options.scale, self.size
        zoom = low * (high / low) ** draw[0]
        tall, wide = max(round(h / zoom), 1), max(round(w / zoom), 1)
        return _Window(
            _start(height, tall, draw[1]), _start(width, wide, draw[2]), tall, wide, draw[3] < self.options.flip
        )

    def _pixels(self, picture: Tensor, window: _Window) -> Tensor:
        top, left, tall, wide = window.top, window.left, window.height, window.width
        rows, columns = _inside(top, tall, picture.shape[0]), _inside(left, wide, picture.shape[1])
        cut = picture[rows, columns]
        if cut.shape[:2] != (tall, wide):
            canvas = self._fill.expand(tall, wide, 3).contiguous()
            canvas[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = cut
            cut = canvas
        if (tall, wide) != self.size:
            planes = cut.permute(2, 0, 1)[None]
            planes = functional.interpolate(planes, self.size, mode="bilinear", antialias=True, align_corners=False)
            cut = planes[0].permute(1, 2, 0)
        return cut.flip(1) if window.mirrored else cut

    def _labels(self, labels: Tensor, window: _Window) -> Tensor:
        rows = _nearest(window.top, window.height, self.size[0])
        columns = _nearest(window.left, window.width, self.size[1])
        if window.mirrored:
            columns = columns.flip(0)
        outside = ((rows < 0) | (rows >= labels.shape[0]))[:, None] | (columns < 0) | (columns >= labels.shape[1])
        rows, columns = rows.clamp(0, labels.shape[0] - 1), columns.clamp(0, labels.shape[1] - 1)
        return labels.index_select(0, rows).index_select(1, columns).masked_fill_(outside, IGNORE)

    def _jitter(self, out: Tensor, draw: list[float]) -> None:
        factors = [1 + self.options.colour * (2 * u - 1) for u in draw]
        for change, factor in zip((_colour.brightness, _colour.contrast, _colour.saturation), factors, strict=True):
            change(out, factor)


def _start(length: int, box: int, draw: float) -> int:
    """Where a box begins: anywhere inside of the picture, or around it where the box is larger."""
    return int(draw * (length - box + 1)) if box <= length else -int(draw * (box - length + 1))


def _inside(start: int, length: int, end: int) -> slice:
    """The part of `start` to `start + length` that lies in 0..end."""
    return slice(max(start, 0), min(start + length, end))


def _nearest(start: int, length: int, steps: int) -> Tensor:
    """The pixels that hold the centres of `steps` even parts of `start` to `start + length`."""
    return start + (2 * torch.arange(steps) + 1) * length // (2 * steps)


def _check(x: Tensor, y: Tensor) -> None:
    pictures = x.ndim == 4 and x.shape[-1] == 3 and x.dtype == torch.uint8 and x.device.type == "cpu"
    labels = y.shape == x.shape[:3] and y.dtype in (torch.uint8, torch.int64) and y.device.type == "cpu"
    if not (pictures and labels and min(x.shape[1:3]) > 0):
        raise DataError(
            "expected pictures B x H x W x 3 uint8 and labels B x H x W uint8 or int64, on the CPU; got "
            f"{tuple(x.shape)} {x.dtype} on {x.device} and {tuple(y.shape)} {y.dtype} on {y.device}."
        )
