"""The check of images with masks: every file is opened once, and what can't be learnt from is left out or said."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from torchgraft.core.errors import DataError
from torchgraft.core.progress import Progress
from torchgraft.data._duplicates import alike, bound, findings, leaks
from torchgraft.data._images import Look, alike_pairs, look_at, surprises
from torchgraft.data._masks import IGNORE, Masks, Value
from torchgraft.data._names import EXAMPLES, plain, shown, shown_all
from torchgraft.data._sequences import frame_of
from torchgraft.data.base import Finding, Samples

_THREADS = 2
_BLOCK = 256  # pairs handed out at once, as for images
_LISTED = 100
_IMBALANCE = 10
_MUCH = 0.2  # share of pixels without a class above which unknown values are no border, but a mistake
_SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height
_SURPRISES = ("channels", "rotated")  # the others speak of how single images are cut


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What one image and its mask told: why a file can't be used ('': it can), and the mask's pixels.

    `fits` says why the sizes don't fit; `counts` are the pixels of each class (C), `total` all pixels of the mask,
    `unknown` the values that are neither class nor void, with their pixels.
    """

    image: Look
    mask: str = ""
    fits: str = ""
    counts: np.ndarray | None = None
    total: int = 0
    unknown: dict[Value, int] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether no pixel of the mask belongs to a class."""
        return self.counts is not None and not self.counts.any()


def check_pairs(samples: Samples, progress: Progress) -> tuple[Samples, list[Finding]]:
    """The samples that can be used, their masks with `counts`, and what was found. See `torchgraft.data.check`."""
    seen = _look_at_all(samples, progress)
    found = _left_out(samples, seen)
    good = [i for i, one in enumerate(seen) if not (one.image.error or one.mask or one.fits or one.empty)]
    if not any(samples.masks.paths[i] is not None for i in good):
        raise DataError(
            f"{shown(str(samples.root), 200)}: no image with its mask can be used, of {len(samples)}. "
            f"{' '.join(finding.message for finding in found)}".rstrip()
        )
    samples, seen = samples.take(good), [seen[i] for i in good]
    samples = replace(samples, masks=replace(samples.masks, counts=_counted(seen, len(samples.classes))))
    looks = [one.image for one in seen]
    same = alike([look.digest for look in looks])
    found += [finding for finding in surprises(samples, looks) if finding.kind in _SURPRISES]
    found += [*_unknown(samples, seen), *findings(samples, same, same, _other_places(samples, alike_pairs(looks)))]
    found += _neighbours(samples)
    samples = replace(samples, group=bound(samples, same))
    samples = samples.take(~leaks(samples, same))
    return samples, [*found, *_classes(samples)]


def look_at_pair(image: Path, masks: Masks, i: int) -> Seen:
    """Open one image and its mask (None: the image alone)."""
    look = look_at(image)
    if masks.paths[i] is None or look.error:
        return Seen(image=look)
    try:
        y, unknown = masks.look(i)
    except DataError as error:
        return Seen(image=look, mask=str(error))
    counts = np.bincount(y.ravel(), minlength=IGNORE + 1)[: len(masks.values)].astype(np.int64)
    width, height = _upright(image, look)
    fits = "" if y.shape == (height, width) else f"mask {y.shape[1]} x {y.shape[0]}, image {width} x {height}"
    return Seen(image=look, fits=fits, counts=counts, total=y.size, unknown=unknown)


def _look_at_all(samples: Samples, progress: Progress) -> list[Seen]:
    seen: list[Seen] = []
    with (
        progress.bar("checking images and masks", len(samples)) as bar,
        ThreadPoolExecutor(_THREADS) as pool,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        for start in range(0, len(samples), _BLOCK):
            rows = range(start, min(start + _BLOCK, len(samples)))
            for one in pool.map(lambda i: look_at_pair(Path(samples.x[i]), samples.masks, i), rows):
                seen.append(one)
                bar.advance()
    return seen


def _upright(path: Path, look: Look) -> tuple[int, int]:
    """Width and height as the image is read: turned upright."""
    if not look.rotated:
        return look.size
    with Image.open(path) as image:
        sideways = image.getexif().get(int(ExifTags.Base.Orientation), 1) in _SIDEWAYS
    return look.size[::-1] if sideways else look.size


def _counted(seen: Sequence[Seen], classes: int) -> np.ndarray:
    nothing = np.zeros(classes, dtype=np.int64)
    return np.stack([nothing if one.counts is None else one.counts for one in seen])


def _left_out(samples: Samples, seen: Sequence[Seen]) -> list[Finding]:
    kinds = (
        ("unreadable", "images can't be read", [one.image.error for one in seen]),
        ("unreadable_mask", "masks can't be read", [one.mask for one in seen]),
        ("mask_size", "masks don't fit their image", [one.fits for one in seen]),
        ("all_void", "masks hold no pixel of a class", [one.empty and not one.fits and _values(one) for one in seen]),
    )
    found = []
    for kind, what, reasons in kinds:
        rows = [f"{_name(samples, i, kind)}: {reason}" for i, reason in enumerate(reasons) if reason]
        if rows:
            message = f"{len(rows)} of {len(seen)} {what}. First: {shown(rows[0], 200)}."
            found.append(_finding(kind, "warning", len(rows), message, "left out", rows, _LISTED))
    return found


def _name(samples: Samples, i: int, kind: str) -> str:
    mask = samples.masks.paths[i]
    return samples.ids[i] if kind != "unreadable_mask" or mask is None else plain(f"{mask.parent.name}/{mask.name}")


def _values(one: Seen) -> str:
    return f"only {shown_all(map(str, one.unknown))}" if one.unknown else "all of it is void"


def _unknown(samples: Samples, seen: Sequence[Seen]) -> list[Finding]:
    """Pixels whose value is neither a class nor void."""
    total: Counter[Value] = Counter()
    for one in seen:
        total.update(one.unknown)
    if not total:
        return []
    rows = [i for i, one in enumerate(seen) if one.unknown]
    share = sum(total.values()) / sum(one.total for one in seen)
    values = shown_all(f"{value} ({count:,} pixels)" for value, count in total.most_common())
    message = (
        f"{len(rows)} of {len(seen)} masks hold values that are none of the {len(samples.classes)} classes: {values}, "
        f"{share:.1%} of all pixels."
    )
    severity = "note" if len(total) == 1 and share < _MUCH else "warning"
    return [_finding("unknown_value", severity, len(rows), message, "ignored", [samples.ids[i] for i in rows])]


def _other_places(samples: Samples, pairs: np.ndarray) -> np.ndarray:
    """The pairs that look alike and are of two sequences: within one, neighbours look alike and nothing is odd."""
    if samples.group is None or not len(pairs):
        return pairs
    return pairs[samples.group[pairs[:, 0]] != samples.group[pairs[:, 1]]]


def _neighbours(samples: Samples) -> list[Finding]:
    """Sequences with frames in train, and in val or test too."""
    if samples.group is None:
        return []
    held = np.isin(samples.split, ("val", "test"))
    both = sorted(set(samples.group[held].tolist()) & set(samples.group[~held].tolist()))
    if not both:
        return []
    near = [row for name in both for row in _nearest(samples, np.flatnonzero(samples.group == name), held)]
    count = int((held & np.isin(samples.group, both)).sum())
    apart = np.array([distance for _, distance in near])
    how = f" The nearest frame of train is {np.median(apart):.0f} frame numbers away in the middle case" if near else ""
    how += f" ({apart.min()} at least, {apart.max()} at most)." if near else ""
    message = (
        f"{count} of {held.sum()} images of {_parts(samples, held)} are frames of a sequence that train has too "
        f"({shown_all(both)}).{how}"
    )
    action = "kept; frames of one drive resemble each other, so that numbers will be too good for new drives"
    closest = [samples.ids[i] for i, _ in sorted(near, key=lambda row: row[1])]
    return [_finding("leak_neighbours", "warning", count, message, action, closest)]


def _nearest(samples: Samples, rows: np.ndarray, held: np.ndarray) -> list[tuple[int, int]]:
    """(position, distance in frame numbers to the nearest frame of train) of the frames of one sequence held out."""
    frames = {int(i): frame_of(Path(samples.x[i]).stem) for i in rows}
    train = np.array(sorted(frame for i, frame in frames.items() if not held[i] and frame is not None))
    if not len(train):
        return []
    return [(i, int(np.abs(train - frame).min())) for i, frame in frames.items() if held[i] and frame is not None]


def _parts(samples: Samples, held: np.ndarray) -> str:
    return " and ".join(sorted(set(samples.split[held].tolist()), reverse=True))


def _classes(samples: Samples) -> list[Finding]:
    """What the counts tell: classes without a pixel to learn from, and how uneven the others are."""
    counts = samples.masks.counts[samples.split != "test"].sum(axis=0)
    names = np.array(samples.classes)
    found = []
    if (counts > 0).sum() < 2:
        there = shown_all(names[counts > 0])
        message = f"All pixels to learn from are of one class: {there}. Expected at least two classes."
        found.append(_finding("one_class", "error", 1, message, "", names[counts > 0].tolist()))
    train = samples.masks.counts[~np.isin(samples.split, ("val", "test"))].sum(axis=0)
    empty = names[train == 0].tolist()
    if empty:
        message = f"Classes without a pixel to learn from: {len(empty)} of {len(names)} ({shown_all(empty)})."
        found.append(_finding("empty_class", "warning", len(empty), message, "kept; they can't be learnt", empty))
    share = train / max(train.sum(), 1)
    most, least = int(share.argmax()), int(np.where(train > 0, share, np.inf).argmin())
    if train[most] > _IMBALANCE * train[least]:
        ends = [f"{names[i]} ({share[i]:.2%} of the pixels)" for i in (most, least)]
        times = train[most] / train[least]
        message = f"The largest class has {times:.0f} times the pixels of the smallest: {shown_all(ends)}."
        action = "nothing; look at each class by itself, pixel accuracy hides the small ones"
        found.append(_finding("imbalance", "note", 1, message, action, ends))
    return found


def _finding(
    kind: str, severity: str, count: int, message: str, action: str, examples: Sequence[str], limit: int = EXAMPLES
) -> Finding:
    return Finding(
        kind=kind, severity=severity, count=count, message=message, action=action, examples=tuple(examples[:limit])
    )
