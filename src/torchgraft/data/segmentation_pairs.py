"""Images with label masks of the same name: `images/` beside `masks/`, with or without train, val and test folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np

from torchgraft.core.errors import DataError
from torchgraft.data._known_scenes import known_classes
from torchgraft.data._masks import Found, Masks, found_in
from torchgraft.data._names import EXAMPLES, plain, shown, shown_all
from torchgraft.data._pairs import Pair, Part, pair_up, parts
from torchgraft.data._palette import Scheme, listed, scheme
from torchgraft.data._sequences import sequence_of
from torchgraft.data._views import view_folders, views_of
from torchgraft.data._walk import Tree, walk
from torchgraft.data.base import Finding, ReadOptions, Samples
from torchgraft.data.image_folder import groups_by_pattern

_PEEKED = 8  # masks looked into where a file lists the classes; without one, all are
_THREADS = 2
_LOSSY = (".jpg", ".jpeg")


def accepts(path: Path) -> bool:
    """A folder with images beside masks (also `labels`, `annotations`), at the top or in train, val, test folders; and
    those of Cityscapes and Pascal VOC.
    """
    return path.is_dir() and bool(parts(path))


def read(path: Path, options: ReadOptions) -> Samples:
    """Paths of images and masks; `y` is 0 for an image with a mask and -1 for one without. `ids` are relative paths.

    Classes stand in `classes.txt` (one a line) or a palette file (`r g b name`, `name,r,g,b`) beside the folders; a
    class called void, ignore or unlabelled is ignored, as is the value 255. Without such a file, each value found in
    the masks is a class. `group` is the sequence a frame belongs to by its name; `options.group` overrides it.
    `views/<name>/` beside `images/` holds other views of the same scenes, in files of the same names.

    Raises `DataError` where no mask fits an image, for masks saved as JPEG, and for colours that no file names;
    `OptionError` for a group that is no regular expression.
    """
    where, tree = parts(path), walk(path)
    pairs, spare = pair_up(tree, where)
    with_mask = [pair for pair in pairs if pair.mask]
    _must_pair(path, pairs, spare)
    images = [pair.image for pair in pairs]
    named, ungrouped = groups_by_pattern(images, options.group)
    known = None if options.every_row else _scheme(path, where, with_mask)
    views, absent = views_of(path, tree, where, images)
    masks = None
    if known is not None:
        files = tuple(path / pair.mask if pair.mask else None for pair in pairs)
        masks = Masks(paths=files, values=known.values, colours=known.colours, void=known.void)
    return Samples(
        modality="image",
        task="segmentation",
        ids=tuple(plain(str(image)) for image in images),
        x=[path / image for image in images],
        y=np.array([0 if masks and pair.mask else -1 for pair in pairs], dtype=np.int64),
        classes=known.classes if known else (),
        split=np.array([pair.split for pair in pairs], dtype="<U5"),
        root=path,
        group=np.array(named or [plain(sequence_of(pair.name, pair.split)) for pair in pairs], dtype=str),
        masks=masks,
        views=views or None,
        findings=(*_missing(pairs, spare), *absent, *_strange(tree, where), *ungrouped, *_unused(options)),
    )


def _must_pair(path: Path, pairs: Sequence[Pair], spare: Sequence[PurePosixPath]) -> None:
    masks = [pair.mask for pair in pairs if pair.mask]
    if not masks:
        raise DataError(
            f"{shown(str(path), 200)}: no mask belongs to one of {len(pairs)} images. Expected the same name, as in "
            f"images/a.jpg and masks/a.png (or a_mask.png). Found {shown_all([str(p.image) for p in pairs[:3]])} and "
            f"{shown_all([str(p) for p in spare[:3]])}."
        )
    lossy = [mask for mask in masks if mask.suffix.lower() in _LOSSY]
    if lossy:
        raise DataError(
            f"{shown(str(path), 200)}: {len(lossy)} of {len(masks)} masks are JPEG files, such as "
            f"{shown(str(lossy[0]))}. JPEG is lossy: values between the classes stand at every edge, and they can't "
            "be told from classes. Expected PNG masks; save them again from the source."
        )


def _scheme(path: Path, where: Sequence[Part], pairs: Sequence[Pair]) -> Scheme:
    """Classes by the list beside the folders, or beside the top where all lies in one folder."""
    base = where[0].images.parent
    base = base.parent if where[0].split else base
    known = listed(path / base) or (listed(path) if base.parts else None)
    known = known or known_classes(where[0].masks, pairs[0].mask.name)
    every = known is None or len(known.names) == 2  # two classes may be written 0 and 255
    step = 1 if every else max(1, len(pairs) // _PEEKED)
    files = [path / pair.mask for pair in pairs[::step]]
    found, first = [], ""
    for file, one in zip(files, _looked_into(files), strict=True):
        if isinstance(one, Found):
            found.append(one)
        elif not first:
            first = f"{file.relative_to(path)}: {one}"
    if not found:
        raise DataError(f"{shown(str(path), 200)}: none of {len(files)} masks can be read. First: {shown(first, 200)}.")
    return scheme(known, found, shown(str(path), 200))


def _looked_into(files: Sequence[Path]) -> Iterator[Found | DataError]:
    with ThreadPoolExecutor(_THREADS) as pool:
        yield from pool.map(_look, files)


def _look(file: Path) -> Found | DataError:
    try:
        return found_in(file)
    except DataError as error:  # the check reports and leaves out what can't be read
        return error


def _missing(pairs: Sequence[Pair], spare: Sequence[PurePosixPath]) -> list[Finding]:
    found = []
    without = [pair.image for pair in pairs if not pair.mask]
    if without:
        message = f"{len(without)} of {len(pairs)} images have no mask. First: {shown(str(without[0]))}."
        found.append(_finding("unlabelled", "warning", without, message, "kept as unlabelled"))
    if spare:
        message = f"{len(spare)} masks belong to no image, or to one that has another. First: {shown(str(spare[0]))}."
        found.append(_finding("spare_mask", "warning", spare, message, "not read"))
    return found


def _strange(tree: Tree, where: Sequence[Part]) -> list[Finding]:
    """What lies in the folder and is not read."""
    found = []
    if tree.closed:
        message = f"{len(tree.closed)} folders or links can't be opened. First: {shown(str(tree.closed[0]))}."
        found.append(_finding("unreadable", "warning", tree.closed, message, "left out"))
    ours = [*(folder for part in where for folder in (part.images, part.masks)), *view_folders(where)]
    aside = [image for image in tree.images if not any(image.is_relative_to(folder) for folder in ours)]
    if aside:
        folders = sorted({str(image.parent) for image in aside})
        message = f"{len(aside)} images lie beside the folders of images and masks: {shown_all(folders)}."
        found.append(_finding("other_files", "warning", aside, message, "left out"))
    return found


def _unused(options: ReadOptions) -> list[Finding]:
    named = [f"--{name}" for name in ("text", "label") if getattr(options, name) is not None]
    if not named:
        return []
    message = f"{' and '.join(named)} name columns; the labels here are masks."
    return [Finding(kind="unused_option", severity="note", count=len(named), message=message, action="not used")]


def _finding(kind: str, severity: str, paths: Sequence[PurePosixPath], message: str, action: str) -> Finding:
    examples = tuple(plain(str(path)) for path in paths[:EXAMPLES])
    return Finding(kind=kind, severity=severity, count=len(paths), message=message, action=action, examples=examples)
