"""Which frames belong to one drive or film, told from their names: neighbouring frames are nearly the same picture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np

_FRAME = re.compile(r"\d+(?![^\W_])")  # digits that no letter follows: 8 in leftImg8bit counts no frames
_MEANINGLESS = re.compile(r"(?:^|(?<=[\W_]))(?:f|fr|frame|im|img|image|pic|picture|photo|scene)$", re.IGNORECASE)
_EDGES = "_-. "


def frame_of(name: str) -> int | None:
    """The frame's number: the last digits of a file's stem that no letter follows. None where there are none."""
    found = _FRAME.findall(name)
    return int(found[-1][-18:]) if found else None


def sequence_of(name: PurePosixPath, split: str = "") -> str:
    """The sequence of a frame: its folder, and what stands before the frame's number; words like `img` don't count.

    `name` is the path below the folder of images (and split). A name without a number is a sequence of its own. Where
    there is a number and nothing else, the frames of one split are one sequence: `split`, or `all`.
    """
    folder = "" if str(name.parent) == "." else str(name.parent)
    places = list(_FRAME.finditer(name.stem))
    if not places:
        return str(name.with_suffix(""))
    before = name.stem[: places[-1].start()].rstrip(_EDGES)
    before = _MEANINGLESS.sub("", before).strip(_EDGES)
    return "/".join(part for part in (folder, before) if part) or split or "all"


def in_order(names: Sequence[str]) -> np.ndarray:
    """Positions of N names by frame number, then by name; names without a number come first."""
    frames = [frame_of(PurePosixPath(name).stem) for name in names]
    keys = [(-1 if frame is None else frame, name) for frame, name in zip(frames, names, strict=True)]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)
