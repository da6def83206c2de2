"""Label masks of scenes: from a file to class indices, in whatever way the classes are written in it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from torchgraft.core.errors import DataError
from torchgraft.data._images import MAX_PIXELS
from torchgraft.data._names import shown

IGNORE = 255
"""The index of pixels that belong to no class: they are neither learnt from nor counted."""

MAX_CLASSES = 255

Colour = tuple[int, int, int]
Value = int | Colour
"""How a class is written in a mask file: an index or grey value, or a colour."""

_MAX_BYTES = 1 << 30
_LOSSY = "a JPEG: it is lossy, so values between the classes stand at every edge. Save masks as PNG"


@dataclass(frozen=True, kw_only=True)
class Masks:
    """The label masks of N samples, not yet decoded, and how their C classes are written.

    `paths` holds a mask file for each sample, None where it has none. `values` says how each class is written: whole
    numbers (grey, palette, 16-bit and 1-bit files) or colours (RGB). `colours` are those to draw the classes with.
    `void` holds the values that are meant to be ignored; every other value that is no class is ignored too, and
    `check` says so. `counts` is N x C (int64), the pixels of each class in each mask (0 where there is no mask); None
    until `check` has looked. Raises `DataError` for more than 255 classes.
    """

    paths: tuple[Path | None, ...]
    values: tuple[int, ...] | tuple[Colour, ...]
    colours: tuple[Colour, ...]
    void: tuple[Value, ...] = ()
    counts: np.ndarray | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 < len(self.values) <= MAX_CLASSES:
            raise DataError(f"{len(self.values)} classes in masks. Expected 1 to {MAX_CLASSES}.")
        if len(self.colours) != len(self.values):
            raise DataError(f"{len(self.colours)} colours for {len(self.values)} classes. Expected one for each.")

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def coloured(self) -> bool:
        """Whether classes are written as colours."""
        return isinstance(self.values[0], tuple)

    def take(self, index: np.ndarray | Sequence[int]) -> Masks:
        """The masks at `index` (positions), in that order."""
        counts = None if self.counts is None else self.counts[np.asarray(index, dtype=np.int64)]
        return replace(self, paths=tuple(self.paths[i] for i in index), counts=counts)

    def joined(self, other: Masks) -> Masks:
        """Both, one after the other. Raises `DataError` where classes are not written alike."""
        if other.values != self.values:
            raise DataError(f"classes are written as {self.values[:3]} in some masks, {other.values[:3]} in others.")
        both = None if self.counts is None or other.counts is None else np.concatenate([self.counts, other.counts])
        return replace(self, paths=(*self.paths, *other.paths), counts=both)

    def read(self, i: int) -> np.ndarray:
        """Mask `i` as H x W uint8: class indices 0..C-1, `IGNORE` where a pixel belongs to none.

        Raises `DataError` with a short reason where it can't be read, or where the sample has no mask.
        """
        return self._decoded(i)[1]

    def look(self, i: int) -> tuple[np.ndarray, dict[Value, int]]:
        """What `read` gives, and the values that are neither a class nor void, each with its number of pixels."""
        codes, y = self._decoded(i)
        left, count = np.unique(codes[y == IGNORE], return_counts=True)
        void = set(map(_code, self.void))
        strange = {code: n for code, n in zip(left.tolist(), count.tolist(), strict=True) if code not in void}
        return y, {_colour(code) if self.coloured else code: n for code, n in strange.items()}

    def size(self, i: int) -> tuple[int, int]:
        """(H, W) of mask `i` in pixels, from its header alone; raises like `read`."""
        with _opened(self._path(i)) as image:
            return image.height, image.width

    def _decoded(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Values as they stand in the file, and classes; both H x W."""
        codes = _codes(self._path(i), coloured=self.coloured)
        return codes, np.take(_table(tuple(map(_code, self.values))), codes, mode="clip")

    def _path(self, i: int) -> Path:
        path = self.paths[i]
        if path is None:
            raise DataError(f"sample {i} has no mask")
        return path


@dataclass(frozen=True, kw_only=True)
class Found:
    """What stands in one mask file: its values, whether they are colours, the colours its palette gives them."""

    values: tuple[Value, ...]
    coloured: bool
    palette: dict[int, Colour] = field(default_factory=dict)


def found_in(path: Path) -> Found:
    """The distinct values of one mask, sorted. RGB files whose channels are all equal hold grey values.

    Raises `DataError` with a short reason where it can't be read.
    """
    with _opened(path) as image:
        _load(image)
        if image.mode in ("RGB", "RGBA", "CMYK") and not _grey(image):
            return Found(values=tuple(map(_colour, np.unique(_packed(image)).tolist())), coloured=True)
        values = tuple(np.unique(_indices(image)).tolist())
        if image.mode != "P":
            return Found(values=values, coloured=False)
        flat = image.getpalette("RGB") or []
        palette = {v: tuple(flat[3 * v : 3 * v + 3]) for v in values if 3 * v + 3 <= len(flat)}
        return Found(values=values, coloured=False, palette=palette)


def _codes(path: Path, *, coloured: bool) -> np.ndarray:
    """H x W values as they stand in the file; colours as r * 65536 + g * 256 + b."""
    with _opened(path) as image:
        _load(image)
        if not coloured:
            return _indices(image)
        if image.mode not in ("RGB", "RGBA", "CMYK", "P", "PA", "L", "LA", "1"):
            raise DataError(f"holds {image.mode} values, where the other masks hold colours")
        return _packed(image)


def _indices(image: Image.Image) -> np.ndarray:
    """H x W uint8, uint16 or uint32 (negative values become huge ones, which are no class)."""
    if image.mode in ("LA", "PA", "La"):
        return np.asarray(image.getchannel(0))
    if image.mode in ("RGB", "RGBA", "CMYK"):
        if not _grey(image):
            raise DataError("holds colours, where the other masks hold class indices")
        return np.asarray(image.convert("RGB").getchannel(0))
    values = np.asarray(image)
    if values.dtype == bool:
        return values.astype(np.uint8)
    if values.dtype.kind == "f":
        if not (np.isfinite(values).all() and (values == np.rint(values)).all()):
            raise DataError("holds fractions, not class indices")
        values = values.astype(np.int64)
    return values.astype(np.uint32) if values.dtype.itemsize > 2 else values


def _grey(image: Image.Image) -> bool:
    rgb = np.asarray(image.convert("RGB"))
    return bool((rgb[..., :1] == rgb[..., 1:]).all())


def _packed(image: Image.Image) -> np.ndarray:
    rgb = np.asarray(image.convert("RGB")).astype(np.uint32)
    return rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]


def _code(value: Value) -> int:
    return value if isinstance(value, int) else value[0] << 16 | value[1] << 8 | value[2]


def _colour(code: int) -> Colour:
    return code >> 16, code >> 8 & 255, code & 255


@lru_cache(maxsize=8)
def _table(codes: tuple[int, ...]) -> np.ndarray:
    """Code -> class; the last entry stands for all codes beyond it, hence no class. Colours take 16 MB at most."""
    table = np.full(max(codes) + 2, IGNORE, dtype=np.uint8)
    table[list(codes)] = np.arange(len(codes))
    return table


def _opened(path: Path) -> Image.Image:
    """The image of a file, its header read alone. Raises `DataError` with a short reason."""
    try:
        if not path.is_file():
            raise DataError("not a file" if path.exists() else "the file does not exist")
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"the file is larger than {_MAX_BYTES >> 30} GiB")
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise DataError(f"can't be opened: {getattr(error, 'strerror', None) or error}") from None
    if not data:
        raise DataError("an empty file")
    try:
        image = Image.open(io.BytesIO(data))
    except Image.UnidentifiedImageError:
        raise DataError("not an image") from None
    except Image.DecompressionBombError:
        raise DataError(f"more than {MAX_PIXELS:,} pixels, not decoded") from None
    except Exception as error:  # the boundary: strange bytes make Pillow's plug-ins raise almost anything
        raise DataError(f"damaged: {shown(str(error) or type(error).__name__)}") from None
    if image.width * image.height > MAX_PIXELS:
        raise DataError(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS:,}: not decoded")
    if image.format == "JPEG":
        raise DataError(_LOSSY)
    return image


def _load(image: Image.Image) -> None:
    try:
        image.load()
    except Exception as error:  # as above
        text = str(error) or type(error).__name__
        raise DataError("truncated" if "truncated" in text.lower() else f"damaged: {shown(text)}") from None
