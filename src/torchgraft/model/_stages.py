"""A window of a large image in two stages, so that memory holds few fine maps at a time.

Nearly all memory of a network goes into its fine maps (half of the image's pixels times a hundred channels), and
nearly all that it sees around a pixel comes from the coarse ones. So fine maps are made square by square, with the few
pixels that they need around, and only the last of them is kept; the coarse ones are made of it for a whole window, and
the logits square by square again.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchgraft.model.scene_network import SceneNetwork

SQUARE = 256
"""Pixels of a side of what is made at a time of the fine maps."""

_FINE = 8
"""The coarsest stride that is made in squares."""

_LONGEST = 8192

Piece = tuple[slice, slice]
"""Rows and columns."""


@dataclass(frozen=True)
class Window:
    """A tile, and what the network sees of the image to compute it."""

    tile: Piece
    seen: Piece

    def core(self, stride: int = 1) -> Piece:
        """The tile inside the map of the window at a stride; to the map's end where the window ends with the tile."""
        return tuple(_inside(t, s, stride) for t, s in zip(self.tile, self.seen, strict=True))


@dataclass(frozen=True)
class Fields:
    """Pixels around a part, multiples of the coarsest stride, that decide what comes out: `whole` for logits of the
    network (None: all of them), `fine` for its first `count` levels, `decoder` for logits from maps. `count` 0: the
    network can't be run in stages.
    """

    whole: int | None
    count: int = 0
    fine: int = 0
    decoder: int = 0


def fields(network: SceneNetwork) -> Fields:
    """Found by a stripe with a few columns that are not a number: NaN goes through every sum it is part of, so columns
    that stay numbers do not depend on them.

    None for networks that average over the image inside (squeeze and excitation): for these no tiles are exact.
    """
    mean = None
    if network.sees_all:
        mean = torch.zeros(1, network.levels.channels[-1], device=network.scale.device)
    whole = _reach(network, lambda x: network(x, mean))
    count = _count(network)
    if whole is None or not count or not network.levels.splits(count):
        return Fields(whole)
    fine = _reach(network, lambda x: network.features(x, count)[-1])
    return Fields(
        whole, count, fine, _reach(network, lambda x: network.decoded(_spread(network, x), x.shape[2:], mean))
    )


class Staged:
    """The maps of an image and its logits, window by window from the top; `network` has `fields` with a `count`."""

    def __init__(self, network: SceneNetwork, image: Any, found: Fields, square: int) -> None:
        self.network, self.image, self.fields = network, image, found
        self.square = max(square // network.multiple, 1) * network.multiple
        self.stride = network.levels.strides[found.count - 1]
        self.filled = network.full_size(*image.shape[:2])
        self.bands: dict[int, tuple[Tensor, set[int]]] = {}  # rows of squares: the last fine level, the squares it has
        self.spare: list[Tensor] = []

    def coarse(self, seen: Piece) -> list[Tensor]:
        """The levels beyond the fine ones in a part of the image."""
        down, along = (range(s.start // self.square, -(-s.stop // self.square)) for s in seen)
        self._make_room(down)
        for i in down:
            for j in along:
                self._fill(i, j)
        columns, ends = self._places(1, along), self._places(0, down).stop - down.start * self.square // self.stride
        joined = torch.cat([self.bands[i][0][..., columns] for i in down], 2)[:, :, :ends]
        rows, columns = Window(seen, (self._pixels(0, down), self._pixels(1, along))).core(self.stride)
        return self.network.levels.after(joined[:, :, rows, columns], self.fields.count)

    def logits(self, window: Window, mean: Tensor | None) -> Iterator[tuple[slice, slice, Tensor]]:
        """(rows, columns, logits C x h x w) of the squares of a tile."""
        coarse = self.coarse(window.seen)
        strides = self.network.levels.strides[self.fields.count :]
        for tile in squares(window.tile, self.square):
            part = Window(tile, self._around(tile, self.fields.decoder, window.seen))
            maps = self._fine(part.seen)
            for z, stride in zip(coarse, strides, strict=True):
                rows, columns = Window(part.seen, window.seen).core(stride)
                maps.append(z[:, :, rows, columns])
            sizes = [s.stop - s.start for s in part.seen]
            rows, columns = part.core()
            logits = self.network.decoded(maps, self.network.full_size(*sizes), mean)[0, :, : sizes[0], : sizes[1]]
            yield *tile, logits[:, rows, columns]

    def _fine(self, part: Piece) -> list[Tensor]:
        """The first levels in a part of the image."""
        whole = tuple(slice(0, side) for side in self.image.shape[:2])
        window = Window(part, self._around(part, self.fields.fine, whole))
        maps = self.network.features(pixels(self.network, self.image, window.seen), self.fields.count)
        places = [window.core(stride) for stride in self.network.levels.strides]
        return [z[:, :, rows, columns] for z, (rows, columns) in zip(maps, places, strict=False)]

    def _around(self, part: Piece, by: int, within: Piece) -> Piece:
        unit = self.network.multiple
        side = -(-max(self.square, *(s.stop - s.start for s in part)) // unit) * unit
        return tuple(around(s, by, w, side=side, unit=unit) for s, w in zip(part, within, strict=True))

    def _make_room(self, down: range) -> None:
        """Bands for these rows of squares, in the memory of those above them: windows come from the top.

        New memory between what a network takes and gives back would leave holes.
        """
        for i in [i for i in self.bands if i < down.start]:
            self.spare.append(self.bands.pop(i)[0])
        new = [i for i in down if i not in self.bands]
        shape = (self.network.levels.channels[self.fields.count - 1], self.square // self.stride)
        while len(self.spare) < len(new):
            self.spare.append(self.network.scale.new_empty(1, *shape, self.filled[1] // self.stride))
        self.bands |= {i: (self.spare.pop(), set()) for i in new}

    def _fill(self, i: int, j: int) -> None:
        band, there = self.bands[i]
        if j not in there:
            z = self._fine((self._pixels(0, range(i, i + 1)), self._pixels(1, range(j, j + 1))))[-1]
            band[:, :, : z.shape[2], self._places(1, range(j, j + 1))] = z
            there.add(j)

    def _pixels(self, axis: int, places: range) -> slice:
        """Rows (axis 0) or columns of some squares that lie side by side."""
        return slice(places.start * self.square, min(places.stop * self.square, self.image.shape[axis]))

    def _places(self, axis: int, places: range) -> slice:
        """The same of the last fine level, to the end of what fills the image up."""
        return slice(
            places.start * self.square // self.stride, min(places.stop * self.square, self.filled[axis]) // self.stride
        )


def squares(part: Piece, side: int) -> Iterator[Piece]:
    """A part in squares, row by row; smaller ones at its ends."""
    for top in range(part[0].start, part[0].stop, side):
        for left in range(part[1].start, part[1].stop, side):
            yield slice(top, min(top + side, part[0].stop)), slice(left, min(left + side, part[1].stop))


def around(part: slice, by: int, within: slice, *, side: int, unit: int) -> slice:
    """So many pixels more before and after a part, as far as there are some; `side` + 2 `by` of them for every part.

    What a part at an end lacks on one side is added on the other, so that a network sees one size over and over: blocks
    of memory of the same few sizes are used again, of many sizes they leave holes.
    """
    length, end = side + 2 * by, -(-within.stop // unit) * unit
    start = max(within.start, min(part.start - by, end - length))
    return slice(start, min(start + length, within.stop))


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


def _inside(t: slice, s: slice, stride: int) -> slice:
    return slice((t.start - s.start) // stride, None if t.stop == s.stop else (t.stop - s.start) // stride)


def _count(network: SceneNetwork) -> int:
    """Levels that are fine; at least one is left that is not."""
    strides = network.levels.strides
    return min(sum(stride <= _FINE for stride in strides), len(strides) - 1)


def _spread(network: SceneNetwork, x: Tensor) -> list[Tensor]:
    """Maps that are not a number where x is not."""
    levels = network.levels
    return [x[:, :1, ::s, ::s].expand(-1, c, -1, -1) for s, c in zip(levels.strides, levels.channels, strict=True)]


def _reach(network: SceneNetwork, run: Callable[[Tensor], Tensor]) -> int | None:
    """Pixels, a multiple of the coarsest stride, as far as a pixel decides what `run` gives; None: the whole image."""
    unit, length = network.multiple, 512
    while length <= _LONGEST:
        found = _spoiled(network, run, length)
        if found is not None:
            return -(-found // unit) * unit
        length *= 2
    return None


def _spoiled(network: SceneNetwork, run: Callable[[Tensor], Tensor], length: int) -> int | None:
    """Columns beyond a block of NaN in the middle that it spoils, or None where it spoils an end of the stripe."""
    unit = network.multiple
    start = length // 2 // unit * unit
    x = torch.zeros(1, 3, 2 * unit, length, device=network.scale.device)
    x[..., start : start + unit] = torch.nan
    with torch.inference_mode():
        found = run(x).isnan().any(1).any(1)[0]
    places = found.repeat_interleave(length // len(found)).nonzero()[:, 0]
    first, last = int(places.min()), int(places.max())
    return None if first == 0 or last == length - 1 else max(start - first, last - (start + unit - 1))
