"""Images larger than memory: a network runs over parts, and what comes out is what it would give for the whole.

Each part is seen with as much around it (the halo) as its pixels can depend on. Measured with EfficientNet-Lite0, the
field that a pixel does depend on is no smaller than the one that could be: probabilities are within 1e-4 of the whole's
with 448 pixels around, and 0.01 off with 256. Parts begin at multiples of the coarsest stride and end where the image
does, so convolutions see there the zeros that they see in the whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from torchgraft.core.errors import DataError, OptionError, UserError
from torchgraft.model._stages import (
    SQUARE,
    Fields,
    Piece,
    Staged,
    around,
    clipped,
    cuts,
    fields,
    inside,
    leave_memory,
    pixels,
)
from torchgraft.model.scene_network import SceneNetwork

TILE = 1024
"""Pixels of a side up to which an image is seen at once: faster, for some more memory."""

_BLIND = 512
"""The halo of a network that has none which is enough (it averages over the image in every block)."""

_KNOWN: WeakKeyDictionary[SceneNetwork, Fields] = WeakKeyDictionary()


def tiled(
    network: SceneNetwork, image: Any, *, tile: int = TILE, halo: int | None = None
) -> Iterator[tuple[slice, slice, Tensor]]:
    """(rows, columns, logits C x h x w) of parts that cover an image H x W x 3 uint8, each pixel once.

    `image` is an array, `np.memmap`, or anything with a shape that gives arrays when it is sliced. One of `tile` pixels
    a side at most is seen at once. Larger ones are made in squares, stage by stage (see `_stages`), in memory that does
    not grow with the image: with Lite0 the process peaks at 0.5 GB. Networks that can't be cut into stages, and all
    where a `halo` is given, see tiles of this size and the halo around at once; None: `needed_halo`. A decoder that
    reads the mean over the image (DeepLabV3+) costs a first pass of the encoder.

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
    run: Staged | _AtOnce
    if known.stages and halo is None:
        run = Staged(network, image, known, min(tile, SQUARE))
    else:
        run = _AtOnce(network, image, tile, (known.whole or _BLIND) if halo is None else halo)
    with torch.inference_mode():
        yield from run.logits(run.mean() if network.sees_all else None)


class _AtOnce:
    """Windows, a tile and a halo, each as one picture: for networks that can't be run in stages."""

    def __init__(self, network: SceneNetwork, image: Any, tile: int, halo: int) -> None:
        self.network, self.image = network, image
        whole = [slice(0, side) for side in network.full_size(*image.shape[:2])]
        rows, columns = (self._along(length, tile, halo) for length in whole)
        self.windows = [((a, c), (b, d)) for a, b in rows for c, d in columns]

    def mean(self) -> Tensor:
        """The mean over the image of its coarsest level: 1 x C, from the inner parts of all windows."""
        total, places, stride = 0, 0, self.network.levels.strides[-1]
        for tile, seen in self.windows:
            z = self.network.features(pixels(self.network, self.image, seen))[-1]
            part = z[(..., *inside(tile, seen, stride))]
            total, places = total + part.double().sum((2, 3)), places + part.shape[2] * part.shape[3]
        return (total / places).to(self.network.scale.dtype)

    def logits(self, mean: Tensor | None) -> Iterator[tuple[slice, slice, Tensor]]:
        """(rows, columns, logits C x h x w) of tiles."""
        for tile, seen in self.windows:
            rows, columns = inside(tile, seen)
            logits = self.network(pixels(self.network, self.image, seen), mean)[0, :, rows, columns]
            yield *clipped(tile, self.image), logits

    def _along(self, length: slice, tile: int, halo: int) -> list[Piece]:
        """(tile, what is seen of it)."""
        parts = cuts(length, tile, 2 * halo, self.network.multiple)
        return [(part, around(part, halo, length, side=parts[0].stop)) for part in parts]


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
