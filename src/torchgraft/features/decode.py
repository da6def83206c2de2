"""File bytes to the uint8 tensor that a backbone expects: decoded, turned upright, resized, cut.

Equal to Pillow's decoding and antialiased resize within two grey levels, in half the time or less.
libjpeg's scaled decoding is left alone on purpose: on 2000 x 1500 photos it saves a third of the time, but features
then agree only to a cosine of 0.998.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image

from torchgraft.core.errors import DataError
from torchgraft.core.types import ImagePreprocessing

if TYPE_CHECKING:
    from torch import Tensor

try:  # a fast path: every JPEG also decodes without it
    import simplejpeg
except ImportError:
    simplejpeg = None

MAX_PIXELS = 2**27
"""Larger images are refused before they are decoded: 134 million take 400 MB, more is an accident or an attack."""

SMALLEST = 32
"""Pixels of a side below which a scene is not scaled down, and to which smaller ones are enlarged."""

_LONGEST = 8  # sides of an image beyond 1 : 8 are cut first
_JPEG = b"\xff\xd8\xff"
_ORIENTATION = int(ExifTags.Base.Orientation)
# EXIF orientation -> (quarter turns counter-clockwise, mirrored afterwards)
_UPRIGHT = {2: (0, True), 3: (2, False), 4: (2, True), 5: (3, True), 6: (3, False), 7: (1, True), 8: (1, False)}


def decode(data: bytes, preprocessing: ImagePreprocessing) -> Tensor:
    """Bytes of an image file -> 3 x size x size uint8 (channels last in memory), not yet normalised.

    Raises `DataError` with a short reason ("truncated JPEG", "not an image") where the bytes can't be read.
    """
    return fit(pixels(data), preprocessing)


def pixels(data: bytes) -> np.ndarray:
    """Bytes of an image file -> H x W x 3 uint8, upright (EXIF). The first frame of animations; raises like `decode`.

    Grey, palette, 16-bit and CMYK images become RGB; what is transparent is laid on white.
    """
    if not data:
        raise DataError("an empty file")
    if simplejpeg is not None and data.startswith(_JPEG):
        found = _jpeg(data)
        if found is not None:
            return found
    return _pillow(data)


def fit(image: np.ndarray, preprocessing: ImagePreprocessing) -> Tensor:
    """H x W x 3 uint8 -> 3 x size x size uint8: short side to `resize` (antialiased), then the centre cut out."""
    size, resize = preprocessing.size, max(preprocessing.resize, preprocessing.size)
    import torch  # here, since reading pixels (for galleries, for data checks) needs none

    image = _without_ends(image)
    height, width = image.shape[:2]
    short = min(height, width)
    new = (int(resize * height / short), int(resize * width / short))
    x = torch.from_numpy(image).permute(2, 0, 1)
    if new != (height, width):
        x = _resized(x, new, preprocessing.interpolation)
    top, left = round((new[0] - size) / 2), round((new[1] - size) / 2)
    return x[:, top : top + size, left : left + size]


def resized(image: np.ndarray, shape: Sequence[int], *, smooth: bool = True) -> np.ndarray:
    """H x W (x 3) uint8 at another size (H, W): antialiased bilinear, or each pixel that of the nearest place."""
    if image.shape[:2] == tuple(shape):
        return image
    how = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(image).resize((shape[1], shape[0]), how))


def scaled_shape(shape: Sequence[int], scale: float) -> tuple[int, int]:
    """(H, W) of a scene at `scale` times its size, at least `SMALLEST` pixels each, as networks with strides need."""
    height, width = (max(round(scale * side), SMALLEST) for side in shape[:2])
    return height, width


def _without_ends(image: np.ndarray) -> np.ndarray:
    """The middle of very long images: only it is used, and a line of one pixel would be blown up to gigabytes."""
    limit = _LONGEST * min(image.shape[:2])
    for axis in (0, 1):
        spare = max(image.shape[axis] - limit, 0) // 2
        image = image.take(range(spare, image.shape[axis] - spare), axis=axis) if spare else image
    return image


def _resized(x: Tensor, new: tuple[int, int], interpolation: str) -> Tensor:
    import torch

    with torch.inference_mode():
        return torch.nn.functional.interpolate(x[None], new, mode=interpolation, antialias=True, align_corners=False)[0]


def _jpeg(data: bytes) -> np.ndarray | None:
    """What simplejpeg makes of it; None where Pillow should have a look (CMYK, damage, oddities)."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        _refuse_huge(width, height)
        if colours not in ("YCbCr", "RGB", "Gray"):
            return None
        image = simplejpeg.decode_jpeg(data, colorspace="RGB")
    except ValueError:
        return None
    return _upright(image, _orientation(data))


def _orientation(data: bytes) -> int:
    if b"Exif\0\0" not in data[: 1 << 17]:
        return 1
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # a damaged EXIF block must not cost the photo
        return 1


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    turns, mirrored = _UPRIGHT.get(orientation, (0, False))
    if turns:
        image = np.rot90(image, turns)
    if mirrored:
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _pillow(data: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data)) as image:
            _refuse_huge(*image.size)
            return _upright(_rgb(image), image.getexif().get(_ORIENTATION, 1))
    except DataError:
        raise
    except Image.UnidentifiedImageError:
        raise DataError("not an image, or of a format that Pillow doesn't read") from None
    except Image.DecompressionBombError:
        raise DataError(f"more than {MAX_PIXELS:,} pixels: too large to be decoded safely") from None
    except (OSError, ValueError, SyntaxError, EOFError, struct.error) as error:
        raise DataError(_reason(error)) from None
    except Exception as error:  # the boundary: strange bytes make Pillow's plug-ins raise almost anything
        raise DataError(f"damaged: {type(error).__name__}: {error}") from None


def _reason(error: Exception) -> str:
    text = str(error)
    return f"truncated or damaged: {text}" if text else f"damaged: {type(error).__name__}"


def _refuse_huge(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise DataError(f"{width} x {height} pixels; more than {MAX_PIXELS:,} are too large to be decoded safely")


def _rgb(image: Image.Image) -> np.ndarray:
    """H x W x 3 uint8 of a Pillow image of any mode."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        grey = _eight_bits(np.asarray(image), sixteen=image.mode.startswith("I;16"))
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def _eight_bits(values: np.ndarray, sixteen: bool) -> np.ndarray:
    """Grey values of more than 8 bits -> uint8: floats in [0, 1] times 255, 16-bit integers divided by 257."""
    floats = values.dtype.kind == "f"
    values = np.nan_to_num(values.astype(np.float64))
    top = values.max(initial=0.0)
    if floats and top <= 1:
        values = values * 255
    elif sixteen or 255 < top <= 65535:
        values = values / 257
    elif top > 65535:
        values = values / top * 255
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
