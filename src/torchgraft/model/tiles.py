"""Images larger than memory: a network runs over tiles, and what comes out is what it would give for the whole.

Each tile is seen with as much around it (the halo) as its pixels can depend on. Measured with EfficientNet-Lite0, the
field that a pixel does depend on is no smaller than the one that could be: probabilities are within 1e-4 of the whole's
with 448 pixels around, and 0.01 off with 256. Tiles and windows begin at multiples of the coarsest stride, and a window
ends where the image does, so convolutions see there the zeros that they see in the whole.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchgraft.core.errors import DataError, OptionError, UserError
from torchgraft.model.scene_network import SceneNetwork

TILE = 1024
"""Pixels of a side: with Lite0 the process then peaks at 1.8 GB, and halos cost up to x3.8 the work of the whole."""
_LONGEST = 8192
_BLIND = 512
"""The halo of a network that has none which is enough (it averages over the image in every block)."""

Piece = tuple[slice, slice]
"""Rows and columns."""


@dataclass(frozen=True)
class _Window:
    """A tile, and what the network sees of the image to compute it."""

    tile: Piece
    seen: Piece

    def core(self, stride: int = 1) -> Piece:
        """The tile inside the map of the window at a stride; to the map's end where the window ends with the tile."""
        pairs = zip(self.tile, self.seen, strict=True)
        return tuple(
            slice((t.start - s.start) // stride, None if t.stop == s.stop else (t.stop - s.start) // stride)
            for t, s in pairs
        )


def tiled(
    network: SceneNetwork, image: Any, *, tile: int = TILE, halo: int | None = None
) -> Iterator[tuple[slice, slice, Tensor]]:
    """(rows, columns, logits C x h x w) of each tile of an image H x W x 3 uint8, row by row.

    `image` is an array, `np.memmap`, or anything with a shape that gives arrays when it is sliced. Memory depends on
    `tile` and `halo` alone. `halo` None: what the network needs (`needed_halo`); an image that one window covers is
    seen at once. A decoder that reads the mean over the image (DeepLabV3+) costs a first pass of the encoder.

    Raises `DataError` for an image of another shape or type, `OptionError` for a size that is no multiple of the
    coarsest stride, `UserError` for a network that is not in eval mode.
    """
    _check(network, image, tile, halo)
    height, width = image.shape[:2]
    if max(height, width) <= tile:
        halo = 0  # nothing is around the one tile, and finding a halo takes as long as a small photo
    halo = _halo(network) if halo is None else halo
    windows = [
        _Window((rows, columns), (seen_rows, seen_columns))
        for rows, seen_rows in _along(height, tile, halo, network.multiple)
        for columns, seen_columns in _along(width, tile, halo, network.multiple)
    ]
    with torch.inference_mode():
        mean = _mean(network, image, windows) if network.sees_all and len(windows) > 1 else None
        for window in windows:
            rows, columns = window.core()
            yield *window.tile, network(_pixels(network, image, window), mean)[0, :, rows, columns]


def predict_map(
    network: SceneNetwork,
    image: Any,
    *,
    tile: int = TILE,
    halo: int | None = None,
    temperature: float = 1.0,
    classes: Any = None,
    confidence: Any = None,
) -> tuple[Any, Any]:
    """(class of each pixel H x W uint8, its probability H x W): of softmax(logits / temperature).

    Probabilities are in [0, 1] in an array of floats, and times 255, rounded, in the one of uint8 that is made where
    `confidence` is None. Results go into `classes` and `confidence` where they are given: arrays or `np.memmap`, of
    which what is written leaves memory after each tile, so that a peak does not grow with the image.
    Raises as `tiled`, and `DataError` where an array given is of another size or type.
    """
    _check(network, image, tile, halo)
    shape = tuple(image.shape[:2])
    classes = np.empty(shape, np.uint8) if classes is None else classes
    confidence = np.empty(shape, np.uint8) if confidence is None else confidence
    _check_outputs(shape, classes, confidence)
    for rows, columns, logits in tiled(network, image, tile=tile, halo=halo):
        p, k = (logits / temperature).softmax(0).max(0)
        classes[rows, columns] = k.to(torch.uint8).cpu().numpy()
        scaled = p.mul(255).round() if confidence.dtype == np.uint8 else p
        confidence[rows, columns] = scaled.cpu().numpy().astype(confidence.dtype)
        for array in (image, classes, confidence):
            _leave_memory(array)
    return classes, confidence


def needed_halo(network: SceneNetwork) -> int | None:
    """Pixels around a tile that its logits can depend on, a multiple of the coarsest stride; None: all of them.

    Found by a stripe with a few columns that are not a number: NaN goes through every sum it is part of, so columns
    that stay numbers do not depend on them. None for networks that average over the image inside (squeeze and
    excitation): for these no tiles are exact.
    """
    unit, length = network.multiple, 512
    while length <= _LONGEST:
        reach = _reach(network, unit, length)
        if reach is not None:
            return -(-reach // unit) * unit
        length *= 2
    return None


def _reach(network: SceneNetwork, unit: int, length: int) -> int | None:
    """Columns beyond a block of NaN in the middle that it spoils, or None where it spoils an end of the stripe."""
    start = length // 2 // unit * unit
    device = network.scale.device
    x = torch.zeros(1, 3, 2 * unit, length, device=device)
    x[..., start : start + unit] = torch.nan
    with torch.inference_mode():
        mean = torch.zeros(1, network.levels.channels[-1], device=device) if network.sees_all else None
        spoiled = network(x, mean).isnan().any(1).any(1)[0].nonzero()[:, 0]
    first, last = int(spoiled.min()), int(spoiled.max())
    return None if first == 0 or last == length - 1 else max(start - first, last - (start + unit - 1))


def _halo(network: SceneNetwork) -> int:
    found = needed_halo(network)
    return _BLIND if found is None else found


def _along(length: int, tile: int, halo: int, unit: int) -> list[tuple[slice, slice]]:
    """(tile, what is seen of it) along one axis: of like sizes; one where a window of the usual size covers all."""
    count = 1 if length <= tile + 2 * halo else -(-length // tile)
    size = -(-length // (count * unit)) * unit
    cuts = [slice(start, min(length, start + size)) for start in range(0, length, size)]
    return [(cut, slice(max(0, cut.start - halo), min(length, cut.stop + halo))) for cut in cuts]


def _mean(network: SceneNetwork, image: Any, windows: list[_Window]) -> Tensor:
    """The mean over the image of what the decoder averages: 1 x C, from the inner parts of all windows."""
    total, places, stride = 0, 0, network.levels.strides[-1]
    for window in windows:
        coarse = network.features(_pixels(network, image, window))[-1]
        rows, columns = window.core(stride)
        inner = coarse[:, :, rows, columns]
        total = total + inner.double().sum((2, 3))
        places += inner.shape[2] * inner.shape[3]
        _leave_memory(image)
    return (total / places).to(network.scale.dtype)


def _pixels(network: SceneNetwork, image: Any, window: _Window) -> Tensor:
    """1 x 3 x h x w, a copy: what is read may be a file that can't be written."""
    rows, columns = window.seen
    x = torch.from_numpy(np.array(image[rows, columns])).to(network.scale.device)
    return x.permute(2, 0, 1)[None]


def _leave_memory(array: Any) -> None:
    """Let pages of a mapped file go: changes are the system's to write, and pages come back when they are read.

    Not for copies on write, whose changes would be lost.
    """
    file = getattr(array, "base", None)
    if isinstance(array, np.memmap) and isinstance(file, mmap.mmap) and array.mode != "c" and hasattr(file, "madvise"):
        file.madvise(mmap.MADV_DONTNEED)


def _check(network: SceneNetwork, image: Any, tile: int, halo: int | None) -> None:
    shape, kind = tuple(getattr(image, "shape", ())), getattr(image, "dtype", None)
    if len(shape) != 3 or shape[2] != 3 or 0 in shape or kind != np.uint8:
        raise DataError(f"an image is H x W x 3 uint8; got {'x'.join(map(str, shape)) or type(image).__name__} {kind}.")
    unit = network.multiple
    sizes = [("tile", tile, unit), *([] if halo is None else [("halo", halo, 0)])]
    wrong = [f"{name} {value}" for name, value, least in sizes if value % unit or value < least]
    if wrong:
        raise OptionError(
            f"tile and halo are multiples of {unit}, the network's coarsest stride; got {', '.join(wrong)}."
        )
    if network.training:
        raise UserError("tiles need a network in eval mode: in training, norms would differ from tile to tile.")


def _check_outputs(shape: tuple[int, int], classes: Any, confidence: Any) -> None:
    wrong = [
        f"{name} is {'x'.join(map(str, array.shape))} {array.dtype}"
        for name, array, kinds in (("classes", classes, "u"), ("confidence", confidence, "uf"))
        if tuple(array.shape) != shape
        or array.dtype.kind not in kinds
        or (array.dtype.kind == "u" and array.itemsize > 1)
    ]
    if wrong:
        raise DataError(f"results are {shape[0]}x{shape[1]}, uint8 (confidence: or floats); {'; '.join(wrong)}.")
