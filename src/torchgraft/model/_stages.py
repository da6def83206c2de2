"""A network over a large image, stage by stage and square by square, so that memory holds a few places at a time.

Nearly all that a network sees around a pixel comes from its coarse maps, and nearly all of its memory goes into its
fine ones. So the last of the fine maps is made in squares, with the few pixels that these need around, and each coarser
map in squares of the one before. A map keeps the rows that are still asked for and no more.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchgraft.model.scene_network import SceneNetwork

SQUARE = 256
"""Pixels of a side of what is made at a time of the fine maps; of the coarser ones it is as many places."""

STRIP = 4096
"""Pixels that an image is wide at most to be taken in one piece."""

_FINE = 8
"""The coarsest stride of the first stage."""

_LENGTHS = (4096, 8192)
"""Pixels of the stripes that fields are found on: convolutions with holes reach beyond what spoils a short one."""

Piece = tuple[slice, slice]
"""Rows and columns."""


@dataclass(frozen=True)
class Stage:
    """Makes the levels up to `count` from the last level of the stage before (the first one from the image); `around`
    pixels around a part decide what comes out.
    """

    count: int
    around: int


@dataclass(frozen=True)
class Fields:
    """Pixels around a part, multiples of the coarsest stride, that decide what comes out: `whole` for logits of the
    network (None: all of them), `decoder` for logits from maps, `fine` for logits from the maps of the first stage
    alone (DeepLabV3+ looks far on coarse maps and little on fine ones). No `stages`: the network can't be run in any.
    """

    whole: int | None
    stages: tuple[Stage, ...] = ()
    decoder: int = 0
    fine: int = 0


def fields(network: SceneNetwork) -> Fields:
    """Found by a stripe with a few columns that are not a number: NaN goes through every sum it is part of, so columns
    that stay numbers do not depend on them.

    None for networks that average over the image inside (squeeze and excitation): for these no tiles are exact.
    """
    mean = None
    if network.sees_all:
        mean = torch.zeros(1, network.levels.channels[-1], device=network.scale.device)
    whole = _reach(network, lambda x: network(x, mean))
    stages = () if whole is None else tuple(_stages(network))
    if not stages:
        return Fields(whole)
    decoder, fine = (
        _reach(network, lambda x, count=count: network.decoded(_spread(network, x, count), x.shape[2:], mean))
        for count in (len(network.levels.strides), stages[0].count)
    )
    return Fields(whole, stages, decoder, fine)


class Staged:
    """Logits of an image by a network with stages: `found` are its `fields`, `square` the pixels of a side.

    Wide images are taken in strips, with all around them that decides: rows of maps are no longer than a strip.
    """

    def __init__(self, network: SceneNetwork, image: Any, found: Fields, square: int, strip: int = STRIP) -> None:
        self.network, self.image, self.fields = network, image, found
        self.square = max(square // network.multiple, 1) * network.multiple
        self.full = tuple(slice(0, side) for side in network.full_size(*image.shape[:2]))
        self.strips = cuts(self.full[1], strip, 2 * found.whole, network.multiple)

    def mean(self) -> Tensor:
        """The mean over the image of its coarsest level: 1 x C."""
        total, stride = 0, self.network.levels.strides[-1]
        for columns in self.strips:
            last = self._maps(columns)[-1]
            for part in squares((self.full[0], columns), last.side):
                total = total + last.part(part)[-1].double().sum((2, 3))
        return (total * stride**2 / math.prod(s.stop for s in self.full)).to(self.network.scale.dtype)

    def logits(self, mean: Tensor | None) -> Iterator[tuple[slice, slice, Tensor]]:
        """(rows, columns, logits C x h x w) of squares, strip by strip and in each row by row."""
        for strip in self.strips:
            yield from self._strip(strip, mean)

    def _strip(self, strip: slice, mean: Tensor | None) -> Iterator[tuple[slice, slice, Tensor]]:
        later = self._maps(strip)[1:]
        for square in squares((self.full[0], strip), self.square):
            seen = self._around(square, self.fields.decoder, self.square)
            maps = self._fine_within(square, seen) + [z for made in later for z in made.part(seen)]
            rows, columns = inside(square, seen)
            logits = self.network.decoded(maps, tuple(s.stop - s.start for s in seen), mean)[0, :, rows, columns]
            place = clipped(square, self.image)
            height, width = (s.stop - s.start for s in place)
            yield *place, logits[:, :height, :width]

    def _maps(self, strip: slice) -> list[_Rows]:
        """What each stage makes in a strip, from the top."""
        levels, first = self.network.levels, self.fields.stages[0].count
        columns = around(strip, self.fields.whole, self.full[1], side=strip.stop - strip.start)
        seen = (self.full[0], columns)
        made = [_Rows(self.network, seen, self.square, range(first - 1, first), lambda part: self._fine(part)[-1:])]
        for before, stage in zip(self.fields.stages, self.fields.stages[1:], strict=False):
            make = self._later(made[-1], stage, levels.after)
            made.append(_Rows(self.network, seen, 2 * self.square, range(before.count, stage.count), make))
        return made

    def _later(self, source: _Rows, stage: Stage, after: Callable) -> Callable[[Piece], list[Tensor]]:
        def make(part: Piece) -> list[Tensor]:
            seen = self._around(part, stage.around, 2 * self.square, source.strip)
            found = after(source.part(seen)[-1], source.levels.stop, stage.count)
            strides = self.network.levels.strides[source.levels.stop :]
            return [z[(..., *inside(part, seen, stride))] for z, stride in zip(found, strides, strict=False)]

        return make

    def _fine(self, part: Piece) -> list[Tensor]:
        """The levels of the first stage in a part of the image."""
        first, strides = self.fields.stages[0], self.network.levels.strides
        seen = self._around(part, first.around, max(s.stop - s.start for s in part))
        maps = self.network.features(pixels(self.network, self.image, seen), first.count)
        return [z[(..., *inside(part, seen, stride))] for z, stride in zip(maps, strides, strict=False)]

    def _fine_within(self, square: Piece, seen: Piece) -> list[Tensor]:
        """Those of a square and what decides around it, inside what is seen of it for the coarse ones; zeros beyond."""
        near = self._around(square, self.fields.fine, self.square)
        maps = self._fine(near)
        if near == seen:
            return maps
        height, width = (s.stop - s.start for s in seen)
        found = []
        for z, stride in zip(maps, self.network.levels.strides, strict=False):
            found.append(z.new_zeros(1, z.shape[1], height // stride, width // stride))
            found[-1][(..., *inside(near, seen, stride))] = z
        return found

    def _around(self, part: Piece, by: int, side: int, within: Piece | None = None) -> Piece:
        return tuple(around(s, by, w, side=side) for s, w in zip(part, within or self.full, strict=True))


class _Rows:
    """Some levels of a strip, made square by square when they are asked for, from the top; rows above the last ones
    asked for are forgotten, and their memory is used again.
    """

    def __init__(
        self, network: SceneNetwork, strip: Piece, side: int, levels: range, make: Callable[[Piece], list[Tensor]]
    ) -> None:
        self.strip, self.side, self.levels, self.make = strip, side, levels, make
        self.strides = [network.levels.strides[i] for i in levels]
        self.channels = [network.levels.channels[i] for i in levels]
        self.like = network.scale
        self.kept: dict[int, tuple[list[Tensor], set[int]]] = {}  # row of squares: the maps of its width, what is there
        self.spare: list[list[Tensor]] = []

    def part(self, seen: Piece) -> list[Tensor]:
        """The levels in a part of the strip whose ends are multiples of the coarsest stride."""
        seen = tuple(slice(s.start - own.start, s.stop - own.start) for s, own in zip(seen, self.strip, strict=True))
        down, along = (range(s.start // self.side, -(-s.stop // self.side)) for s in seen)
        for i in [i for i in self.kept if i < down.start]:
            self.spare.append(self.kept.pop(i)[0])
        for i in down:
            self._fill(i, along)
        found, top = [], down.start * self.side
        for k, stride in enumerate(self.strides):
            columns = slice(seen[1].start // stride, seen[1].stop // stride)
            joined = torch.cat([self.kept[i][0][k][..., columns] for i in down], 2)
            found.append(joined[:, :, (seen[0].start - top) // stride : (seen[0].stop - top) // stride])
        return found

    def _fill(self, i: int, along: range) -> None:
        if i not in self.kept:
            self.kept[i] = (self.spare.pop() if self.spare else self._new(), set())
        maps, there = self.kept[i]
        for j in (j for j in along if j not in there):
            part = tuple(self._square(axis, n) for axis, n in enumerate((i, j)))
            left = j * self.side
            for kept, z, stride in zip(maps, self.make(part), self.strides, strict=True):
                kept[:, :, : z.shape[2], left // stride : left // stride + z.shape[3]] = z
            there.add(j)

    def _square(self, axis: int, n: int) -> slice:
        own = self.strip[axis]
        return slice(own.start + n * self.side, min(own.start + (n + 1) * self.side, own.stop))

    def _new(self) -> list[Tensor]:
        width = self.strip[1].stop - self.strip[1].start
        return [
            self.like.new_empty(1, channels, self.side // stride, width // stride)
            for channels, stride in zip(self.channels, self.strides, strict=True)
        ]


def cuts(length: slice, most: int, slack: int, unit: int) -> list[slice]:
    """Parts of like sizes, multiples of `unit` and at most `most`; one where there are no more than `slack` beyond."""
    size = length.stop
    count = 1 if size <= most + slack else -(-size // most)
    each = -(-size // (count * unit)) * unit
    return [slice(start, min(size, start + each)) for start in range(0, size, each)]


def squares(part: Piece, side: int) -> Iterator[Piece]:
    """A part in squares, row by row; smaller ones at its ends."""
    for top in range(part[0].start, part[0].stop, side):
        for left in range(part[1].start, part[1].stop, side):
            yield slice(top, min(top + side, part[0].stop)), slice(left, min(left + side, part[1].stop))


def around(part: slice, by: int, within: slice, *, side: int) -> slice:
    """So many pixels more before and after a part, as far as there are some; `side` + 2 `by` of them for every part.

    What a part at an end lacks on one side is added on the other, so that a network sees one size over and over: blocks
    of memory of the same few sizes are used again, of many sizes they leave holes.
    """
    length = side + 2 * by
    start = max(within.start, min(part.start - by, within.stop - length))
    return slice(start, min(start + length, within.stop))


def inside(part: Piece, seen: Piece, stride: int = 1) -> Piece:
    """Where a part is in the map at a stride of what is seen of it."""
    return tuple(
        slice((p.start - s.start) // stride, (p.stop - s.start) // stride) for p, s in zip(part, seen, strict=True)
    )


def clipped(part: Piece, image: Any) -> Piece:
    """What a part has of the image, without what this is filled up with."""
    return tuple(slice(s.start, min(s.stop, side)) for s, side in zip(part, image.shape[:2], strict=True))


def pixels(network: SceneNetwork, image: Any, seen: Piece) -> Tensor:
    """1 x 3 x h x w, a copy: what is read may be a file that can't be written."""
    rows, columns = seen
    x = torch.from_numpy(np.array(image[rows, columns])).to(network.scale.device)
    leave_memory(image)
    return x.permute(2, 0, 1)[None]


def leave_memory(array: Any) -> None:
    """Let pages of a mapped file go: changes are the system's to write, and pages come back when they are read.

    Not for copies on write, whose changes would be lost.
    """
    file = getattr(array, "base", None)
    if isinstance(array, np.memmap) and isinstance(file, mmap.mmap) and array.mode != "c" and hasattr(file, "madvise"):
        file.madvise(mmap.MADV_DONTNEED)


def _stages(network: SceneNetwork) -> Iterator[Stage]:
    """As many as the network can be cut into; none where the fine levels can't be cut off."""
    levels = network.levels
    count = min(sum(stride <= _FINE for stride in levels.strides), len(levels.strides) - 1)
    if not count or not levels.splits(count):
        return
    yield Stage(count, _reach(network, lambda x: network.features(x, count)[-1]))
    while count < len(levels.strides):
        end = next((i for i in range(count + 1, len(levels.strides)) if levels.splits(i)), len(levels.strides))

        def later(x: Tensor, count: int = count, end: int = end) -> Tensor:
            return levels.after(_spread(network, x)[count - 1], count, end)[-1]

        yield Stage(end, _reach(network, later))
        count = end


def _spread(network: SceneNetwork, x: Tensor, count: int | None = None) -> list[Tensor]:
    """Maps, the first `count` of which (None: all) are not a number where x is not."""
    levels = network.levels
    maps = [x[:, :1, ::s, ::s].expand(-1, c, -1, -1) for s, c in zip(levels.strides, levels.channels, strict=True)]
    return [*maps[:count], *(torch.zeros_like(z) for z in maps[len(maps) if count is None else count :])]


def _reach(network: SceneNetwork, run: Callable[[Tensor], Tensor]) -> int | None:
    """Pixels, a multiple of the coarsest stride, as far as a pixel decides what `run` gives; None: the whole image."""
    for length in _LENGTHS:
        found = _spoiled(network, run, length)
        if found is not None:
            return -(-found // network.multiple) * network.multiple
    return None


def _spoiled(network: SceneNetwork, run: Callable[[Tensor], Tensor], length: int) -> int | None:
    """Columns beyond a block of NaN in the middle that it spoils, or None where it spoils an end of the stripe."""
    unit = network.multiple
    start = length // 2 // unit * unit
    x = torch.zeros(1, 3, unit, length, device=network.scale.device)
    x[..., start : start + unit] = torch.nan
    with torch.inference_mode():
        found = run(x).isnan().any(1).any(1)[0]
    places = found.repeat_interleave(length // len(found)).nonzero()[:, 0]
    first, last = int(places.min()), int(places.max())
    return None if first == 0 or last == length - 1 else max(start - first, last - (start + unit - 1))
