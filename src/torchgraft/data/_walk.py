"""Every file below a folder, whatever links, pipes and forbidden folders lie in it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from torchgraft.data._names import IMAGES, hidden


@dataclass(kw_only=True)
class Tree:
    """Paths relative to the root, in sorted order: images, other files, folders, and what can't be opened."""

    images: list[PurePosixPath] = field(default_factory=list)
    others: list[PurePosixPath] = field(default_factory=list)
    folders: list[PurePosixPath] = field(default_factory=list)
    closed: list[PurePosixPath] = field(default_factory=list)


def walk(root: Path) -> Tree:
    """Look at names and kinds alone. Hidden files are passed over; a folder reached twice (a link) is entered once."""
    tree, seen = Tree(), {_identity(root)}
    stack = [PurePosixPath()]
    while stack:
        folder = stack.pop()
        try:
            entries = sorted(os.scandir(root / folder), key=lambda e: (e.is_symlink(), e.name))
        except OSError:
            tree.closed.append(folder)
            continue
        below = [folder / e.name for e in entries if _sorted_in(tree, folder, e)]
        for child in below:
            identity = _identity(root / child)
            if identity not in seen:
                seen.add(identity)
                tree.folders.append(child)
                stack.append(child)
    for paths in (tree.images, tree.others, tree.folders, tree.closed):
        paths.sort()
    return tree


def has_image(root: Path) -> bool:
    """Whether an image lies anywhere below; stops at the first."""
    for _, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not hidden(name))
        if any(is_image(name) for name in files):
            return True
    return False


def is_image(name: str) -> bool:
    """Whether a file name has the suffix of an image and is not hidden."""
    return PurePosixPath(name).suffix.lower() in IMAGES and not hidden(name)


def _sorted_in(tree: Tree, folder: PurePosixPath, entry: os.DirEntry) -> bool:
    """Put a file into its list; True for a folder to enter. A link to nothing counts as a file that can't be opened."""
    if hidden(entry.name):
        return False
    path = folder / entry.name
    try:
        if entry.is_dir():
            return True
        whole = entry.is_file()
    except OSError:  # a link to itself
        tree.closed.append(path)
        return False
    broken = not whole and entry.is_symlink() and is_image(entry.name)
    images = whole and is_image(entry.name)
    (tree.closed if broken else tree.images if images else tree.others).append(path)
    return False


def _identity(path: Path) -> tuple[int, int]:
    """Device and file number: the same for every name of a folder."""
    status = path.stat()
    return status.st_dev, status.st_ino
