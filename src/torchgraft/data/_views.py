"""Other views of the same scenes: files of the images' names in `views/<name>/`, beside the folder of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath

from torchgraft.data._names import EXAMPLES, IMAGES, plain, shown
from torchgraft.data._pairs import Part
from torchgraft.data._sequences import frame_of, in_order, sequence_of
from torchgraft.data._walk import Tree
from torchgraft.data.base import Finding

FOLDER = "views"

FRAME_BEFORE = "frame_before"
"""The view that every frame of a film has but the first, without a folder: the frame before it."""

Views = Mapping[str, tuple[Path | None, ...]]
"""Name of a view -> its file for each of N samples, None where a scene lacks it."""


def views_of(
    root: Path, tree: Tree, where: Sequence[Part], images: Sequence[PurePosixPath]
) -> tuple[dict[str, tuple[Path | None, ...]], list[Finding]]:
    """The views of N images (paths below `root`), by name in order, and what there is to say of missing files.

    `views/infrared/a.png` is a view of `images/a.jpg`; what lies deeper in `images/` lies as deep in the view's folder.
    """
    known: dict[str, dict[tuple[PurePosixPath, str], Path]] = {}
    for part in where:
        folder = part.images.parent / FOLDER
        for path in tree.images:
            below = path.relative_to(folder).parts if path.is_relative_to(folder) else ()
            if len(below) > 1:
                key = (part.images, _key(PurePosixPath(*below[1:])))
                known.setdefault(below[0], {}).setdefault(key, root / path)
    keys = [_place(image, where) for image in images]
    views = {name: tuple(known[name].get(key) for key in keys) for name in sorted(known)}
    views = {name: files for name, files in views.items() if any(files)}
    return views, [_missing(name, files, images) for name, files in views.items() if None in files]


def view_folders(where: Sequence[Part]) -> list[PurePosixPath]:
    """Where views lie."""
    return [part.images.parent / FOLDER for part in where]


def view_beside(image: Path, name: str) -> Path | None:
    """The file of the view `name` that belongs to an image, by the folder of views beside the folder it lies in.

    Folders of images that hold further folders are looked through upwards; None where there is no such file.
    `FRAME_BEFORE` is the frame of the same sequence, in the same folder, with the next smaller number.
    """
    if name == FRAME_BEFORE:
        found = _frames_before(image.parent, image.parent.stat().st_mtime_ns).get(image.name)
        return found if found is not None and found.is_file() else None
    for above in list(image.parents)[:4]:
        folder = above.parent / FOLDER / name
        if folder.is_dir():
            stem = folder / image.relative_to(above).with_suffix("")
            beside = sorted(stem.parent.glob(f"{_literal(stem.name)}.*")) if stem.parent.is_dir() else []
            return next((path for path in beside if path.stem == stem.name and path.suffix.lower() in IMAGES), None)
    return None


def joined_views(a: Views | None, n: int, b: Views | None, m: int) -> Views | None:
    """The views of N samples and then of M others; a view that one side lacks is missing there."""
    if a is None and b is None:
        return None
    a, b = a or {}, b or {}
    return {name: (*a.get(name, (None,) * n), *b.get(name, (None,) * m)) for name in sorted({*a, *b})}


@lru_cache(maxsize=4)
def _frames_before(folder: Path, changed: int) -> dict[str, Path]:
    """Name of a frame -> the frame before it, in a folder that was last `changed` then."""
    names = [path.name for path in folder.iterdir() if path.suffix.lower() in IMAGES]
    found, last = {}, {}
    for name in (names[i] for i in in_order(names)):
        sequence = sequence_of(PurePosixPath(name))
        if frame_of(PurePosixPath(name).stem) is not None and sequence in last:
            found[name] = folder / last[sequence]
        last[sequence] = name
    return found


def _place(image: PurePosixPath, where: Sequence[Part]) -> tuple[PurePosixPath, str]:
    part = next(part for part in where if image.is_relative_to(part.images))
    return part.images, _key(image.relative_to(part.images))


def _key(path: PurePosixPath) -> str:
    return str(path.with_suffix("")).lower()


def _literal(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _missing(name: str, files: Sequence[Path | None], images: Sequence[PurePosixPath]) -> Finding:
    without = [str(image) for image, file in zip(images, files, strict=True) if file is None]
    message = f"{len(without)} of {len(files)} images have no file in {FOLDER}/{shown(name)}. First: {without[0]}."
    examples = tuple(plain(one) for one in without[:EXAMPLES])
    action = "kept; the other views answer for them"
    return Finding(
        kind="missing_view", severity="note", count=len(without), message=message, action=action, examples=examples
    )
