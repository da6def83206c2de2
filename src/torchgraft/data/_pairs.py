"""Folders of images and folders of masks: where they lie, and which mask belongs to which image."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from torchgraft.data._known_scenes import CITYSCAPES, VOC, cityscapes_masks, voc_lists
from torchgraft.data._names import hidden, split_of
from torchgraft.data._walk import Tree, has_image

_IMAGES = ("images", "image", "imgs", "img", CITYSCAPES[0], VOC[0])
MASK_FOLDERS = ("masks", "mask", "labels", "label", CITYSCAPES[1], VOC[1], "annotations", "annotation")
"""Their names, best first."""

_ENDINGS = (
    "", "_mask", "_masks", "_l", "_labelids", "_label", "_labels", "_seg", "_gt", "-mask", "_gtfine_labelids",
    "_gtfine_labeltrainids",
)  # fmt: skip
_DEEPEST = 4


@dataclass(frozen=True, kw_only=True)
class Part:
    """A folder of images with its folder of masks, relative to the root; `split` is '' where nothing says it.

    `listed`: stems of the images that count, with their splits; None: all count.
    """

    split: str
    images: PurePosixPath
    masks: PurePosixPath
    listed: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Pair:
    """An image, its mask (None: there is none), its split, and its path below the folder of images and split."""

    image: PurePosixPath
    mask: PurePosixPath | None
    split: str
    name: PurePosixPath


def parts(root: Path) -> tuple[Part, ...]:
    """Where images and masks lie side by side: at the top, or in train, val and test folders; () where they don't.

    A cheap look at names. Folders that hold nothing but one folder are looked into.
    """
    base = PurePosixPath()
    for _ in range(_DEEPEST):
        folders = _folders(root / base)
        pair = _pair(root, base, folders)
        if pair:
            return (Part(split="", images=pair[0], masks=pair[1], listed=voc_lists(root, pair[0])),)
        below = ((name, _pair(root, base / name, _folders(root / base / name))) for name in folders if split_of(name))
        found = tuple(Part(split=split_of(name), images=pair[0], masks=pair[1]) for name, pair in below if pair)
        if found or len(folders) != 1:
            return found
        base /= folders[0]
    return ()


def pair_up(tree: Tree, where: tuple[Part, ...]) -> tuple[list[Pair], list[PurePosixPath]]:
    """Every image with its mask, sorted, and the masks that belong to no image.

    A mask has the name of its image, or that name with an ending such as `_mask`, `_L` or `_labelIds`.
    """
    pairs, spare = [], []
    for part in where:
        masks = _masks(tree, part)
        images = [path for path in tree.images if path.is_relative_to(part.images)]
        if part.listed is not None:
            images = [path for path in images if path.stem in part.listed]
        mine = [_paired(path, part, masks) for path in images]
        pairs += mine
        used = {pair.mask for pair in mine}
        spare += [path for paths in masks.values() for path in paths if path not in used]
    return sorted(pairs, key=lambda pair: pair.image), sorted(spare)


def _paired(image: PurePosixPath, part: Part, masks: dict[str, list[PurePosixPath]]) -> Pair:
    below = image.relative_to(part.images)
    first = split_of(below.parts[0]) if not part.split and len(below.parts) > 1 else ""
    name = PurePosixPath(*below.parts[1:]) if first else below
    keys = (_key(below).removesuffix(f"_{CITYSCAPES[0]}") + ending for ending in _ENDINGS)
    mask = next((masks[key][0] for key in keys if key in masks), None)
    listed = part.listed[image.stem] if part.listed is not None else ""
    return Pair(image=image, mask=mask, split=part.split or first or listed, name=name)


def _masks(tree: Tree, part: Part) -> dict[str, list[PurePosixPath]]:
    """The masks of a part by their path below its folder, in small letters and without suffix."""
    found: dict[str, list[PurePosixPath]] = defaultdict(list)
    for path in tree.images:
        if path.is_relative_to(part.masks):
            found[_key(path.relative_to(part.masks))].append(path)
    return {key: found[key] for key in cityscapes_masks(part.masks, list(found))}


def _key(path: PurePosixPath) -> str:
    return str(path.with_suffix("")).lower()


def _pair(root: Path, folder: PurePosixPath, names: list[str]) -> tuple[PurePosixPath, PurePosixPath] | None:
    known = {name.lower(): folder / name for name in reversed(names)}
    images = next((known[name] for name in _IMAGES if name in known and has_image(root / known[name])), None)
    masks = next((known[name] for name in MASK_FOLDERS if name in known and has_image(root / known[name])), None)
    return (images, masks) if images and masks else None


def _folders(path: Path) -> list[str]:
    """Names of the folders in a folder; none where it can't be opened."""
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if not hidden(entry.name) and Path(entry).is_dir())
    except OSError:
        return []
