"""A look at every image: does it decode, is it a copy, and is there anything about it that surprises."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from torchgraft.core.progress import Progress
from torchgraft.data._duplicates import near
from torchgraft.data._names import EXAMPLES, shown
from torchgraft.data.base import Finding, Samples

MAX_PIXELS = 2**27
"""Larger images are not decoded: the limit of `torchgraft.features`, so that what passes here gets features."""

_MAX_BYTES = 1 << 30
_THREADS = 2
_BLOCK = 256  # images handed out at once: memory stays flat, and Ctrl-C waits for few
_SMALL, _LONG = 32, 5.0  # short side in pixels; long side over short side
_ALIKE = 6.0  # mean difference in grey levels up to which thumbnails with near hashes count as one picture
_THUMB = (18, 16)
_ORIENTATION = int(ExifTags.Base.Orientation)
_MODES = {
    "L": "grey", "1": "black and white", "P": "palette", "PA": "palette with alpha", "LA": "grey with alpha",
    "RGBA": "with alpha", "RGBa": "with alpha", "CMYK": "CMYK", "I": "32-bit grey", "F": "float grey", "LAB": "Lab",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one image file told.

    `error` says why it can't be read ('': it can), `digest` is the hash of its bytes, `size` width and height,
    `mode` Pillow's name of its channels, `hash` 64 bits and `thumb` 18 x 16 grey bytes of what it looks like.
    """

    error: str = ""
    digest: str = ""
    size: tuple[int, int] = (0, 0)
    mode: str = ""
    rotated: bool = False
    hash: int = 0
    thumb: bytes = b""


def look_at_all(paths: Sequence[Path], progress: Progress) -> list[Look]:
    """Look at N files, two at a time; Pillow's warnings about odd files are not passed on, they come as findings."""
    looks: list[Look] = []
    with (
        progress.bar("checking images", len(paths)) as bar,
        ThreadPoolExecutor(_THREADS) as pool,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        for start in range(0, len(paths), _BLOCK):
            for look in pool.map(look_at, paths[start : start + _BLOCK]):
                looks.append(look)
                bar.advance()
    return looks


def look_at(path: Path) -> Look:
    """Decode one image as coarsely as its format allows, but to its end, so that truncation shows."""
    try:
        if not path.is_file():
            return Look(error="not a file" if path.exists() else "the file does not exist")
        if path.stat().st_size > _MAX_BYTES:
            return Look(error=f"the file is larger than {_MAX_BYTES >> 30} GiB")
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        return Look(error=f"can't be opened: {getattr(error, 'strerror', None) or error}")
    if not data:
        return Look(error="an empty file")
    try:
        return _decoded(data)
    except Image.UnidentifiedImageError:
        return Look(error="not an image")
    except Image.DecompressionBombError:
        return Look(error=f"more than {MAX_PIXELS:,} pixels, not decoded")
    except Exception as error:  # the boundary: strange bytes make Pillow's plug-ins raise almost anything
        return Look(error=_reason(error))


def _decoded(data: bytes) -> Look:
    with Image.open(io.BytesIO(data)) as image:
        size, mode = image.size, image.mode
        if size[0] * size[1] > MAX_PIXELS:
            return Look(error=f"{size[0]} x {size[1]} pixels, more than {MAX_PIXELS:,}: not decoded")
        rotated = image.getexif().get(_ORIENTATION, 1) in range(2, 9)
        image.draft("L", (64, 64))
        thumb = _grey(image).resize(_THUMB, Image.Resampling.BOX)
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    return Look(digest=digest, size=size, mode=mode, rotated=rotated, hash=_dhash(thumb), thumb=thumb.tobytes())


def _grey(image: Image.Image) -> Image.Image:
    """8-bit grey; deeper images stretched from their least to their largest value (converting would cut them off)."""
    if image.mode != "F" and not image.mode.startswith("I"):
        image.load()
        return image.convert("L")
    values = np.nan_to_num(np.asarray(image, dtype=np.float32))
    low, span = values.min(), max(float(np.ptp(values)), 1e-12)
    return Image.fromarray(((values - low) * (255 / span)).astype(np.uint8))


def _dhash(thumb: Image.Image) -> int:
    """64 bits: is each of 8 x 8 cells darker than its right neighbour (difference hash, N. Krawetz 2013)."""
    cells = np.asarray(thumb.resize((9, 8), Image.Resampling.BOX))
    return int.from_bytes(np.packbits(cells[:, :-1] < cells[:, 1:]).tobytes(), "big")


def _reason(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return "truncated" if "truncated" in text.lower() else f"damaged: {shown(text)}"


def alike_pairs(looks: Sequence[Look]) -> np.ndarray:
    """M x 2 positions of images that are no exact copies but look the same: near hashes, and near thumbnails."""
    if not looks:
        return np.empty((0, 2), dtype=np.int64)
    pairs = near(np.array([look.hash for look in looks], dtype=np.uint64))
    thumbs = (
        np.frombuffer(b"".join(look.thumb for look in looks), dtype=np.uint8).reshape(len(looks), -1).astype(np.int16)
    )
    digests = np.array([look.digest for look in looks])
    pairs = pairs[digests[pairs[:, 0]] != digests[pairs[:, 1]]]
    pieces = [pairs[start : start + 4096] for start in range(0, len(pairs), 4096)]  # memory stays flat
    close = [np.abs(thumbs[piece[:, 0]] - thumbs[piece[:, 1]]).mean(axis=1) <= _ALIKE for piece in pieces]
    return pairs[np.concatenate(close)] if close else pairs


def surprises(samples: Samples, looks: Sequence[Look]) -> list[Finding]:
    """Notes on channels, sizes and rotation of the N readable images."""
    short = np.array([min(look.size) for look in looks])
    long = np.array([max(look.size) for look in looks])
    odd = [look.mode != "RGB" for look in looks]
    deep = [look.mode in ("I", "F") or look.mode.startswith("I;16") for look in looks]
    modes = Counter(
        _MODES.get(look.mode, "16-bit grey" if look.mode.startswith("I;") else look.mode)
        for look in looks
        if look.mode != "RGB"
    )
    total = len(looks)
    listed = ", ".join(f"{count} {name}" for name, count in modes.most_common())
    lines = (
        (
            "channels",
            "warning" if any(deep) else "note",
            odd,
            f"of {total} images are not RGB: {listed}",
            "read as RGB",
        ),
        (
            "small_image",
            "note",
            short < _SMALL,
            f"of {total} images have a side under {_SMALL} pixels",
            "enlarged when read",
        ),
        (
            "aspect",
            "note",
            long > _LONG * short,
            f"of {total} images are more than {_LONG:.0f} times as long as wide",
            "the middle is used",
        ),
        (
            "rotated",
            "note",
            [look.rotated for look in looks],
            f"of {total} images carry an EXIF rotation",
            "turned upright when read",
        ),
    )
    return [_noted(samples, *line) for line in lines if np.any(line[2])]


def _noted(
    samples: Samples, kind: str, severity: str, which: Sequence[bool] | np.ndarray, message: str, action: str
) -> Finding:
    rows = np.flatnonzero(which)
    examples = tuple(samples.ids[i] for i in rows[:EXAMPLES])
    return Finding(
        kind=kind,
        severity=severity,
        count=len(rows),
        message=f"{len(rows)} {message}.",
        action=action,
        examples=examples,
    )
