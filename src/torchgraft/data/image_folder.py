"""Images in class folders, with or without train, val and test folders, or beside a metadata file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from torchgraft.core.errors import DataError, OptionError
from torchgraft.data import _metadata
from torchgraft.data._assemble import assemble
from torchgraft.data._names import EXAMPLES, contents, plain, shown, shown_all, split_of
from torchgraft.data._pairs import parts
from torchgraft.data._walk import Tree, has_image, is_image, walk
from torchgraft.data.base import Finding, ReadOptions, Samples

_PAIRS = {"images", "masks", "labels", "annotations"}  # folders of segmentation and detection sets, not classes


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How the folders below `base` are meant: splits (then classes below them), or classes."""

    base: PurePosixPath
    splits: bool

    def split(self, path: PurePosixPath) -> str:
        """The split of an image by its folder; '' where none is said."""
        return split_of(self._parts(path)[0]) if self.splits else ""

    def label(self, path: PurePosixPath) -> str | None:
        """The class of an image: the first folder below base or split; None for one that lies in no class folder."""
        parts = self._parts(path)[1 if self.splits else 0 :]
        return plain(parts[0]) if len(parts) > 1 else None

    def _parts(self, path: PurePosixPath) -> tuple[str, ...]:
        return path.relative_to(self.base).parts


def accepts(path: Path) -> bool:
    """One image, a folder with a metadata file, or one with an image somewhere below that is no folder of masks."""
    if path.is_dir():
        return _metadata.beside(path) is not None or (has_image(path) and not parts(path))
    return is_image(path.name)


def read(path: Path, options: ReadOptions) -> Samples:
    """Paths with the labels that folders or metadata give them; nothing is decoded. `ids` are relative paths.

    Raises `DataError` where no image is found, and `OptionError` for a group that is no regular expression (class
    folders) or no column (metadata).
    """
    if not path.is_dir():
        return _one(path)
    tree = walk(path)
    if not tree.images:
        raise DataError(
            f"{shown(str(path), 200)} holds no images. Expected {shown(str(path), 200)}/<class>/*.jpg|png. "
            f"Found {contents(path)}."
        )
    layout = _layout(tree)
    images = [image for image in tree.images if not layout.splits or layout.split(image)]
    findings = _strange(path, tree, layout, len(tree.images) - len(images))
    tables = _metadata.find(path, tree.others)
    if tables:
        listed = _metadata.read(path, tables, images, options, guess=not any(map(layout.label, images)))
        return _from_metadata(path, images, layout, listed, findings, every_label=options.every_label)
    _refuse_pairs(path, images, layout)
    group, ungrouped = groups_by_pattern(images, options.group)
    return assemble(
        modality="image",
        ids=[plain(str(image)) for image in images],
        x=[path / image for image in images],
        labels=[layout.label(image) for image in images],
        split=[layout.split(image) for image in images],
        root=path,
        group=group,
        findings=[*findings, *ungrouped, *_unused(options), *_domains(images, layout)],
        every_label=options.every_label,
    )


def _one(path: Path) -> Samples:
    return assemble(modality="image", ids=[plain(path.name)], x=[path], labels=[None], split=[""], root=path.parent)


def _from_metadata(
    path: Path,
    images: Sequence[PurePosixPath],
    layout: Layout,
    listed: _metadata.Listed,
    findings: list[Finding],
    *,
    every_label: bool,
) -> Samples:
    rows = [image for image in images if image in listed.rows]
    labels = [listed.rows[image].label if listed.has_labels else layout.label(image) for image in rows]
    return assemble(
        modality="image",
        ids=[plain(str(image)) for image in rows],
        x=[path / image for image in rows],
        labels=labels,
        split=[listed.rows[image].split or layout.split(image) for image in rows],
        root=path,
        group=[listed.rows[image].group or plain(str(image)) for image in rows] if listed.has_groups else None,
        findings=[*findings, *listed.findings],
        every_label=every_label,
    )


def _layout(tree: Tree) -> Layout:
    """Whether the top folders are splits or classes; a single folder around everything is looked into."""
    base = PurePosixPath()
    while True:
        inside = [image.relative_to(base).parts for image in tree.images]
        tops = {parts[0] for parts in inside if len(parts) > 1}
        wrapped = len(tops) == 1 and all(len(parts) > 2 for parts in inside) and not split_of(next(iter(tops)))
        if not wrapped:
            return Layout(base=base, splits=_are_splits(tops, inside))
        base /= next(iter(tops))


def _are_splits(tops: set[str], inside: list[tuple[str, ...]]) -> bool:
    """Every top folder is called like a split; or two are, one of them train, and classes lie below them.

    One folder called `train` among others is a class: a train is also a vehicle.
    """
    named = {top for top in tops if split_of(top)}
    if not named:
        return False
    if named == tops:
        return True
    deep = all(len(parts) > 2 for parts in inside if parts[0] in named)
    return deep and len({split_of(top) for top in named}) > 1 and any(split_of(top) == "train" for top in named)


def _strange(path: Path, tree: Tree, layout: Layout, aside: int) -> list[Finding]:
    """What lies in the folder and is not read."""
    found = []
    if aside:
        others = sorted({image.parts[0] for image in tree.images if not layout.split(image)})
        message = (
            f"{_many(aside, 'image lies', 'images lie')} beside the train, val and test folders: {shown_all(others)}."
        )
        found.append(_finding("other_files", "warning", [Path(o) for o in others], message, "left out", aside))
    if tree.closed:
        many = _many(len(tree.closed), "folder or link", "folders or links")
        message = f"{many} can't be opened. First: {shown(str(tree.closed[0]))}."
        found.append(_finding("unreadable", "warning", tree.closed, message, "left out"))
    others = [file for file in tree.others if not _metadata.is_metadata(file)]
    if others:
        many = _many(len(others), "file is no image", "files are no images")
        message = f"{many}: {shown_all((str(o) for o in others), 4)}."
        found.append(_finding("other_files", "note", others, message, "not read"))
    filled = {parent for image in tree.images for parent in image.parents}
    empty = [folder for folder in tree.folders if folder not in filled and folder not in tree.closed]
    if empty:
        many = _many(len(empty), "folder holds", "folders hold")
        message = f"{many} no images: {shown_all(str(folder) for folder in empty)}."
        found.append(_finding("empty_class", "warning", empty, message, "no class was made of them"))
    return found


def _many(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"


def _refuse_pairs(path: Path, images: Sequence[PurePosixPath], layout: Layout) -> None:
    labels = {layout.label(image) for image in images}
    if len(labels) > 1 and "images" in labels and labels <= _PAIRS:
        raise DataError(
            f"{shown(str(path), 200)} holds folders {shown_all(sorted(map(str, labels)))}: images with masks or "
            "boxes, not classes. This version learns one class for each image: expected <class>/*.jpg."
        )


def _domains(images: Sequence[PurePosixPath], layout: Layout) -> list[Finding]:
    """Warn where all class folders hold the same subfolders: these may be the classes, and the folders data sets."""
    below: dict[str, set[str]] = {}
    for image in images:
        parts = image.relative_to(layout.base).parts[1 if layout.splits else 0 :]
        if len(parts) < 3:
            return []
        below.setdefault(parts[0], set()).add(parts[1])
    shared = set.intersection(*below.values()) if len(below) > 1 else set()
    if len(shared) < 2:
        return []
    message = f"The class folders ({shown_all(sorted(below))}) hold the same subfolders ({shown_all(sorted(shared))})."
    action = "nothing; if the subfolders are the classes, give one of the folders instead"
    return [_finding("nested", "warning", [Path(name) for name in sorted(below)], message, action)]


def groups_by_pattern(images: Sequence[PurePosixPath], pattern: str | None) -> tuple[list[str] | None, list[Finding]]:
    """The first group of the pattern (without one: the whole match) in each path; a path without match is alone."""
    if pattern is None:
        return None, []
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise OptionError(
            f"--group {shown(pattern)!r} is no regular expression: {error}. In a folder of images it is matched on "
            f"paths like {shown(str(images[0]))}; its first group names what belongs together."
        ) from None
    matches = [expression.search(plain(str(image))) for image in images]
    if not any(matches):
        raise OptionError(
            f"--group {shown(pattern)!r} matches none of the {len(images)} paths, such as {shown(str(images[0]))}."
        )
    alone = [image for image, match in zip(images, matches, strict=True) if not match]
    names = [
        (match[1] if expression.groups and match[1] is not None else match[0]) if match else plain(str(image))
        for image, match in zip(images, matches, strict=True)
    ]
    message = (
        f"{len(alone)} of {len(images)} paths don't match the group pattern. First: {shown(str(alone[0]))}."
        if alone
        else ""
    )
    return names, [_finding("ungrouped", "warning", alone, message, "each is a group of its own")] if alone else []


def _unused(options: ReadOptions) -> list[Finding]:
    named = [f"--{name}" for name in ("text", "label") if getattr(options, name) is not None]
    if not named:
        return []
    message = f"{' and '.join(named)} name columns; the classes here are folders."
    return [_finding("unused_option", "note", [], message, "not used", len(named))]


def _finding(
    kind: str, severity: str, paths: Sequence[Path | PurePosixPath], message: str, action: str, count: int | None = None
) -> Finding:
    examples = tuple(plain(str(path)) for path in paths[:EXAMPLES])
    return Finding(
        kind=kind,
        severity=severity,
        count=len(paths) if count is None else count,
        message=message,
        action=action,
        examples=examples,
    )
