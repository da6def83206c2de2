"""Images larger than memory: a network runs over tiles, and what comes out is what it would give for the whole.

Each tile is seen with as much around it (the halo) as its pixels can depend on. Measured with EfficientNet-Lite0, the
field that a pixel does depend on is no smaller than the one that could be: probabilities are within 1e-4 of the whole's
with 448 pixels around, and 0.01 off with 256. Tiles and windows begin at multiples of the coarsest stride, and a window
ends where the image does, so convolutions see there the zeros that they see in the whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from torchgraft.core.errors import DataError, OptionError, UserError
from torchgraft.model._stages import SQUARE, Fields, Piece, Staged, Window, around, fields, leave_memory, pixels
from torchgraft.model.scene_network import SceneNetwork

TILE = 1024
"""Pixels of a side: halos cost up to x3.8 the work of the whole in the coarse half of a network."""

_BLIND = 512
"""The halo of a network that has none which is enough (it averages over the image in every block)."""

_KNOWN: WeakKeyDictionary[SceneNetwork, Fields] = WeakKeyDictionary()


def tiled(
    network: SceneNetwork, image: Any, *, tile: int = TILE, halo: int | None = None
) -> Iterator[tuple[slice, slice, Tensor]]:
    """(rows, columns, logits C x h x w) of each tile of an image H x W x 3 uint8, row by row.

    `image` is an array, `np.memmap`, or anything with a shape that gives arrays when it is sliced. Memory depends on
    `tile`, `halo` and the width of a band of the image at the network's stride 8 alone (see `_stages`): with Lite0 the
    process peaks at 0.7 GB. `halo` None: what the network needs (`needed_halo`); an image of one tile is seen at once.
    A decoder that reads the mean over the image (DeepLabV3+) costs a first pass of the encoder.

    Raises `DataError` for an image of another shape or type, `OptionError` for a size that is no multiple of the
    coarsest stride, `UserError` for a network that is not in eval mode.
    """
    _check(network, image, tile, halo)
    height, width = image.shape[:2]
    if max(height, width) <= tile:
        with torch.inference_mode():
            yield slice(0, height), slice(0, width), network(pixels(network, image, np.s_[:, :]))[0]
        return
    known = _fields(network)
    halo = (_BLIND if known.whole is None else known.whole) if halo is None else halo
    windows = [
        Window((rows, columns), (seen_rows, seen_columns))
        for rows, seen_rows in _along(height, tile, halo, network.multiple)
        for columns, seen_columns in _along(width, tile, halo, network.multiple)
    ]
    with torch.inference_mode():
        run = Staged(network, image, known, min(tile, SQUARE)) if known.count else _AtOnce(network, image)
        mean = _mean(network, run, windows) if network.sees_all else None
        for window in windows:
            yield from run.logits(window, mean)


class _AtOnce:
    """A window as one picture: of networks that can't be run in stages."""

    def __init__(self, network: SceneNetwork, image: Any) -> None:
        self.network, self.image = network, image

    def coarse(self, seen: Piece) -> list[Tensor]:
        """All levels in a part of the image."""
        return self.network.features(pixels(self.network, self.image, seen))

    def logits(self, window: Window, mean: Tensor | None) -> Iterator[tuple[slice, slice, Tensor]]:
        """(rows, columns, logits C x h x w) of a tile."""
        rows, columns = window.core()
        yield *window.tile, self.network(pixels(self.network, self.image, window.seen), mean)[0, :, rows, columns]


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
        for array in (classes, confidence):
            leave_memory(array)
    return classes, confidence


def needed_halo(network: SceneNetwork) -> int | None:
    """Pixels around a tile that its logits can depend on, a multiple of the coarsest stride; None: all of them, in
    networks that average over the image inside. For these no tiles are exact.
    """
    return _fields(network).whole


def _fields(network: SceneNetwork) -> Fields:
    if network not in _KNOWN:
        _KNOWN[network] = fields(network)
    return _KNOWN[network]


def _along(length: int, tile: int, halo: int, unit: int) -> list[tuple[slice, slice]]:
    """(tile, what is seen of it) along one axis: of like sizes; one where a window of the usual size covers all."""
    count = 1 if length <= tile + 2 * halo else -(-length // tile)
    size = -(-length // (count * unit)) * unit
    cuts = [slice(start, min(length, start + size)) for start in range(0, length, size)]
    return [(cut, around(cut, halo, slice(0, length), side=size, unit=unit)) for cut in cuts]


def _mean(network: SceneNetwork, run: Staged | _AtOnce, windows: list[Window]) -> Tensor:
    """The mean over the image of what the decoder averages: 1 x C, from the inner parts of all windows."""
    total, places, stride = 0, 0, network.levels.strides[-1]
    for window in windows:
        rows, columns = window.core(stride)
        inner = run.coarse(window.seen)[-1][:, :, rows, columns]
        total = total + inner.double().sum((2, 3))
        places += inner.shape[2] * inner.shape[3]
    return (total / places).to(network.scale.dtype)


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
