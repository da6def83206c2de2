"""The data check: every sample is looked at once, what can't be used is left out, and what is odd is said."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from torchgraft.core.errors import DataError
from torchgraft.core.progress import SILENT, Progress
from torchgraft.data._duplicates import alike, bound, findings, leaks
from torchgraft.data._images import Look, alike_pairs, look_at_all, surprises
from torchgraft.data._names import EXAMPLES, shown, shown_all
from torchgraft.data._pairs_check import check_pairs
from torchgraft.data.base import Finding, Samples

_RARE = 5
_IMBALANCE = 10
_LONG_TEXT = 256
_LISTED = 100  # unreadable files are named one by one, up to here
_FEWEST_FEATURES = 16  # with fewer, equal rows are common among different samples and prove nothing
_PUNCTUATION = re.compile(r"[!-/:-@\[-`{-~\s‘’“”«»…–—]+")
_ORDER = ("error", "warning", "note")
_NO_PAIRS = np.empty((0, 2), dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What looking at the values of N usable samples told: keys of equal content, keys of as good as equal content."""

    exact: Sequence[str] = ()
    same: Sequence[str] = ()
    pairs: np.ndarray = field(default_factory=lambda: _NO_PAIRS)
    findings: Sequence[Finding] = ()


def check(samples: Samples, *, progress: Progress = SILENT) -> tuple[Samples, tuple[Finding, ...]]:
    """Look at every sample; give back those that can be used and what was found, gravest first.

    Left out are images that can't be read, test samples whose content is in train or val too, and classes that have
    no sample left. Copies are bound into groups, so that later splits and folds never part them. The findings are
    those of this check alone; the reader's stay in `samples.findings`. Raises `DataError` where nothing is left.

    Of samples with masks, every image and every mask is opened once; `masks.counts` then holds the pixels of each
    class. Left out are masks that don't fit their image and masks without a pixel of a class; no class is dropped.
    """
    if not len(samples):
        raise DataError(f"{samples.root} holds no samples.")
    if samples.masks is not None:
        samples, found = check_pairs(samples, progress)
        return samples, tuple(sorted(found, key=lambda finding: _ORDER.index(finding.severity)))
    samples, unreadable, looks = _readable(samples, progress)
    seen = _look(samples, looks)
    exact, same = alike(seen.exact), alike(seen.same)
    found = [*unreadable, *seen.findings, *findings(samples, exact, same, seen.pairs)]
    samples = replace(samples, group=bound(samples, same))
    samples, gone = _without_empty_classes(samples.take(~leaks(samples, same)))
    found += [*gone, *_classes(samples)]
    return samples, tuple(sorted(found, key=lambda finding: _ORDER.index(finding.severity)))


def _readable(samples: Samples, progress: Progress) -> tuple[Samples, list[Finding], list[Look]]:
    if samples.modality != "image":
        return samples, [], []
    looks = look_at_all(samples.x, progress)
    bad = [i for i, look in enumerate(looks) if look.error]
    first = shown(_with_reason(samples, looks, bad[0]), 160) if bad else ""
    if len(bad) == len(looks):
        root = shown(str(samples.root), 200)
        raise DataError(f"{root}: not one of {len(looks)} images can be read. First: {first}.")
    if not bad:
        return samples, [], looks
    finding = Finding(
        kind="unreadable",
        severity="warning",
        count=len(bad),
        message=f"{len(bad)} of {len(looks)} images can't be read. First: {first}.",
        action="left out",
        examples=tuple(_with_reason(samples, looks, i) for i in bad[:_LISTED]),
    )
    good = [i for i, look in enumerate(looks) if not look.error]
    return samples.take(good), [finding], [looks[i] for i in good]


def _with_reason(samples: Samples, looks: Sequence[Look], i: int) -> str:
    return f"{samples.ids[i]}: {looks[i].error}"


def _look(samples: Samples, looks: Sequence[Look]) -> _Seen:
    if samples.modality == "image":
        digests = [look.digest for look in looks]
        return _Seen(exact=digests, same=digests, pairs=alike_pairs(looks), findings=surprises(samples, looks))
    if samples.modality == "text":
        return _Seen(exact=samples.x, same=[normal(text) for text in samples.x], findings=_long_texts(samples))
    if samples.x.shape[1] < _FEWEST_FEATURES:
        return _Seen()
    digests = [hashlib.blake2b(row.tobytes(), digest_size=16).hexdigest() for row in samples.x]
    return _Seen(exact=digests, same=digests)


def normal(text: str) -> str:
    """A text without case, punctuation and runs of spaces; one of punctuation alone stays as it is."""
    return _PUNCTUATION.sub(" ", text).strip().casefold() or text.strip()


def _long_texts(samples: Samples) -> list[Finding]:
    words = np.array([text.count(" ") + 1 for text in samples.x])
    long = np.flatnonzero(words > _LONG_TEXT)
    if not len(long):
        return []
    message = f"{len(long)} of {len(samples)} texts have more than {_LONG_TEXT} words (the longest {words.max()})."
    action = "a language model may read only about so much of each; `graft fit` says what its backbone cuts off"
    return [_finding("long_text", "note", len(long), message, action, [samples.ids[i] for i in long])]


def _without_empty_classes(samples: Samples) -> tuple[Samples, list[Finding]]:
    """Drop classes that lost their last sample to learn from, and the test samples of such a class."""
    learnt = samples.y[(samples.split != "test") & (samples.y >= 0)]
    present = np.unique(learnt if len(learnt) else samples.y[samples.y >= 0])
    if len(present) == len(samples.classes):
        return samples, []
    names = [name for i, name in enumerate(samples.classes) if i not in present]
    index = np.full(len(samples.classes) + 1, -2, dtype=np.int64)
    index[present] = np.arange(len(present))
    index[-1] = -1  # y = -1, unlabelled, stays so
    y = index[samples.y]
    samples = replace(samples, y=y, classes=tuple(samples.classes[i] for i in present)).take(y > -2)
    message = f"Classes without a sample to learn from: {shown_all(names)}."
    return samples, [_finding("empty_class", "warning", len(names), message, "left out", names)]


def _classes(samples: Samples) -> list[Finding]:
    """What the labels tell: one class only, rare classes, imbalance, names that differ by case or space."""
    if not samples.classes:
        return []
    y = samples.y[(samples.split != "test") & (samples.y >= 0)]
    counts = np.bincount(y, minlength=len(samples.classes))
    return [*_too_few(samples), *_rare(samples, counts), *_imbalance(samples, counts), *_similar(samples)]


def _too_few(samples: Samples) -> list[Finding]:
    if len(samples) == 1:
        return [
            _finding(
                "one_sample",
                "error",
                1,
                "There is one sample only. Expected at least two of each class.",
                "",
                samples.ids,
            )
        ]
    if len(samples.classes) == 1:
        message = f"All samples are of one class: {shown(samples.classes[0])}. Expected at least two classes."
        return [_finding("one_class", "error", 1, message, "", samples.classes)]
    return []


def _rare(samples: Samples, counts: np.ndarray) -> list[Finding]:
    rare = [f"{name} ({count})" for name, count in zip(samples.classes, counts.tolist(), strict=True) if count < _RARE]
    if not rare:
        return []
    message = (
        f"Classes with fewer than {_RARE} samples to learn from: {len(rare)} of {len(counts)} ({shown_all(rare)})."
    )
    return [
        _finding(
            "rare_class", "warning", len(rare), message, "kept; numbers for them are hardly more than a guess", rare
        )
    ]


def _imbalance(samples: Samples, counts: np.ndarray) -> list[Finding]:
    most, least = int(counts.argmax()), int(counts.argmin())
    if len(counts) < 2 or counts[most] <= _IMBALANCE * counts[least]:
        return []
    names = [f"{samples.classes[i]} ({counts[i]})" for i in (most, least)]
    ratio = counts[most] / max(counts[least], 1)
    message = f"The largest class has {ratio:.0f} times the samples of the smallest: {shown_all(names)}."
    action = "nothing; look at balanced accuracy, or use --class-weight balanced"
    return [_finding("imbalance", "warning", 1, message, action, names)]


def _similar(samples: Samples) -> list[Finding]:
    groups = alike([re.sub(r"[\s_-]+", " ", name).strip().casefold() for name in samples.classes])
    if not groups:
        return []
    names = [" / ".join(repr(samples.classes[i]) for i in rows) for rows in groups]
    message = f"Labels that differ only by case or space: {shown_all(names)}."
    return [
        _finding(
            "similar_labels", "warning", len(names), message, "kept apart; make them one if they mean the same", names
        )
    ]


def _finding(kind: str, severity: str, count: int, message: str, action: str, examples: Sequence[str]) -> Finding:
    return Finding(
        kind=kind, severity=severity, count=count, message=message, action=action, examples=tuple(examples[:EXAMPLES])
    )
