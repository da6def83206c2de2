"""Answers that are maps: for each image a mask that any viewer shows in colour, and a row of what is in it."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

import numpy as np
from PIL import Image

from torchgraft.core.errors import DataError, OptionError, shorten
from torchgraft.core.files import replacing, write_text
from torchgraft.core.progress import SILENT, Progress
from torchgraft.features.decode import pixels
from torchgraft.serve.inputs import Item

CLASSES = "classes.txt"
"""The file in the folder that names the classes, one a line: line i + 1 is what i means in a mask."""

_MASK, _OVERLAY = ".png", "_overlay.jpg"
_ROWS = 256
"""Rows of an image that are counted and painted at once: what is needed beside large images stays small."""
_TILED = (
    "large images are seen in tiles, and this network averages over what it sees: answers can differ a little from "
    "those for the whole image."
)
_LONGEST = 65_500
"""Pixels of the longer side of a JPEG."""


class Mapper(Protocol):
    """A graft that gives a map: the class of each pixel, how sure it is (of 255), and a colour for each class."""

    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]

    def answer(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """H x W x 3 uint8 -> classes and confidence, both H x W uint8."""
        ...

    def exact(self, shape: tuple[int, ...]) -> bool:
        """Whether an image of H x W is answered as a whole, or in tiles that give the same."""
        ...

    def coloured(self, classes: np.ndarray) -> np.ndarray:
        """H x W classes -> H x W x 3 uint8."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class MapRow:
    """What the map of one image says: the mask's `file` in the folder, the share of its pixels that each of C classes
    has (`shares`, in 0..1), and their mean `confidence`. Where the image can't be read, `error` says why. Not `exact`:
    seen in tiles that can differ from the whole.
    """

    id: str
    file: str = ""
    shares: np.ndarray | None = None
    confidence: float | None = None
    error: str = ""
    exact: bool = True


def predict_maps(
    graft: Mapper,
    items: Iterable[Item],
    folder: Path,
    *,
    root: Path | None = None,
    overlay: bool = False,
    progress: Progress = SILENT,
) -> Iterator[MapRow]:
    """Write a mask for each image into `folder`, one image at a time, and give its row, in order.

    NAME.png has the image's size, upright (EXIF): palette PNG, whose values are positions in the graft's classes and
    whose palette is their colours. `overlay` also writes NAME_overlay.jpg, the image half covered with these colours.
    classes.txt names the classes. NAME is the image's path below `root` (by default the folder that holds all images)
    without its suffix, or with it where two would have the same name. Each file is written in one step.

    Raises `OptionError` where a mask would replace an image that was given, `StorageError` where a file can't be
    written; masks that were written before stay.
    """
    items = list(items)
    names = _names([item.value for item in items if not item.error], root)
    _refuse_own_images(names, folder, overlay)
    return _written(graft, items, names, folder, overlay, progress)


def write_maps_csv(stream: IO[str], rows: Iterable[MapRow], classes: Sequence[str]) -> Iterator[MapRow]:
    """Write id, file, confidence, share_<class> for each class, error; give each row on once it is written."""
    writer = csv.writer(stream)
    writer.writerow(["id", "file", "confidence", *(f"share_{name}" for name in classes), "error"])
    for row in rows:
        if row.shares is None:
            writer.writerow([row.id, "", "", *("" for _ in classes), row.error])
        else:
            numbers = (f"{value:.6g}" for value in (row.confidence, *row.shares))
            writer.writerow([row.id, row.file, *numbers, ""])
        yield row


def _written(
    graft: Mapper, items: list[Item], names: dict[Path, PurePosixPath], folder: Path, overlay: bool, progress: Progress
) -> Iterator[MapRow]:
    lines = [" ".join(name.split()) for name in graft.classes]
    write_text(folder / CLASSES, "\n".join(lines) + "\n")
    told = False
    with progress.bar(f"{len(items)} images", len(items)) as bar:
        for item in items:
            failed = MapRow(id=item.id, error=item.error)
            row = failed if item.error else _one(graft, item, names[item.value], folder, overlay)
            if not (row.exact or told):
                told = True
                progress.say(f"note: {item.id}: {_TILED}")
            yield row
            bar.advance()


def _one(graft: Mapper, item: Item, name: PurePosixPath, folder: Path, overlay: bool) -> MapRow:
    try:
        image = pixels(item.value.read_bytes())
        seen = {"views": graft.seen_beside(item.value)} if getattr(graft, "views", ()) else {}
    except (OSError, DataError) as error:
        return MapRow(id=item.id, error=str(getattr(error, "strerror", None) or error))
    classes, confidence = graft.answer(image, **seen)
    shares = _counts(classes, len(graft.classes)) / classes.size
    file = _with(name, _MASK)
    try:
        _write(folder / file, _mask(classes, graft.colours), "PNG")
        if overlay:
            picture = _paint(graft, image, classes)
            picture.thumbnail((_LONGEST, _LONGEST))
            _write(folder / _with(name, _OVERLAY), picture, "JPEG", quality=90)
    except OSError as error:  # of this name alone: what stands in the way of all of them is a `StorageError`
        return MapRow(id=item.id, error=f"its map can't be written: {error.strerror or error}")
    sure = float(confidence.mean()) / 255
    return MapRow(id=item.id, file=str(file), shares=shares, confidence=sure, exact=graft.exact(image.shape))


def _mask(classes: np.ndarray, colours: Sequence[tuple[int, int, int]]) -> Image.Image:
    mask = Image.fromarray(classes)
    mask.putpalette([channel for colour in colours for channel in colour])
    return mask


def _paint(graft: Mapper, image: np.ndarray, classes: np.ndarray) -> Image.Image:
    """Half the image and half the classes' colours, painted over the image itself."""
    for start in range(0, len(image), _ROWS):
        part = slice(start, start + _ROWS)
        image[part] = (image[part].astype(np.uint16) + graft.coloured(classes[part])) // 2
    return Image.fromarray(image)


def _counts(classes: np.ndarray, width: int) -> np.ndarray:
    """Pixels of each class; bincount alone would make 8 bytes of each of them."""
    parts = (classes[start : start + _ROWS].ravel() for start in range(0, len(classes), _ROWS))
    return sum(np.bincount(part, minlength=width) for part in parts)


def _write(path: Path, picture: Image.Image, kind: str, **options: int) -> None:
    data = io.BytesIO()  # encoders hide why a file can't be written
    picture.save(data, kind, **options)
    with replacing(path) as draft:
        draft.write_bytes(data.getbuffer())


def _names(paths: Sequence[Path], root: Path | None) -> dict[Path, PurePosixPath]:
    """What the files of each path are called, without an ending; the same file given twice has one name.

    No two names differ in upper and lower case alone, which some disks can't hold.
    """
    whole = {path: Path(os.path.normpath(path.absolute())) for path in paths}
    if not whole:
        return {}
    folders = [one.parent for one in whole.values()]
    top = os.path.commonpath(folders if root is None else [*folders, root.absolute()])
    full = {one: PurePosixPath(Path(os.path.relpath(one, top)).as_posix()) for one in whole.values()}
    short = {one: name.with_suffix("") for one, name in full.items()}
    times = Counter(map(_folded, short.values()))
    names = {one: name if times[_folded(name)] == 1 else full[one] for one, name in short.items()}
    distinct = len(set(map(_folded, names.values()))) == len(names)
    return {path: (names if distinct else full)[one] for path, one in whole.items()}


def _folded(name: PurePosixPath) -> str:
    return str(name).casefold()


def _with(name: PurePosixPath, ending: str) -> PurePosixPath:
    return name.with_name(name.name + ending)


def _refuse_own_images(names: dict[Path, PurePosixPath], folder: Path, overlay: bool) -> None:
    given = set(map(os.path.realpath, names))
    endings = (_MASK, _OVERLAY) if overlay else (_MASK,)
    files = [folder / _with(name, ending) for name in names.values() for ending in endings]
    lost = [str(file) for file in files if os.path.realpath(file) in given]
    if lost:
        raise OptionError(
            f"{folder}: {len(lost)} files to be written would replace images that were given: {shorten(lost, 3)}. "
            "Choose another folder."
        )
