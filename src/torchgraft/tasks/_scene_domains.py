"""Scenes of two domains: labelled ones to learn from, and those of the target, whose masks have no way in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from torchgraft.core.errors import DataError, shorten
from torchgraft.core.progress import Progress
from torchgraft.data import MASK_FOLDERS, Finding, ReadOptions, Samples, check, read

_LEAST = 4
"""Scenes of each domain without which nothing can be said of it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneDomains:
    """`source`: N labelled scenes. `target`: M scenes without masks. `oracle`: the target's scenes with their masks, in
    the same order, where `--oracle-labels` asked for them: to be printed and for nothing else. `few`: other labelled
    scenes of the target's domain, which decide at the end.
    """

    source: Samples
    target: Samples
    oracle: Samples | None
    few: Samples | None = None
    findings: tuple[Finding, ...]


def load_scenes(options: Any, progress: Progress) -> SceneDomains:
    """Read and check the sources (joined to one) and the target, of which image files alone are read.

    Raises `DataError` for a source or `few_labels` without masks, those of different classes, and fewer than 4 scenes
    in one of the domains.
    """
    columns = ReadOptions(group=options.group)
    sources, findings = [], []
    for path in options.source:
        one, found = _labelled(path, "--source", columns, progress)
        findings += [*one.findings, *found]
        sources.append(one)
    target, found = _unlabelled(options.target, progress)
    source = joined(sources, options.source)
    for name, one in (("source", source), ("target", target)):
        if len(one) < _LEAST:
            raise DataError(f"the {name} has {len(one)} scenes that can be used; {_LEAST} of each domain are needed.")
    oracle = _oracle(options.target, target, source) if options.oracle_labels else None
    few = None
    if options.few_labels:
        few, more = _labelled(options.few_labels, "--few-labels", columns, progress)
        _alike([source, few], [options.source[0], options.few_labels])
        found = (*found, *few.findings, *more)
    return SceneDomains(source=source, target=target, oracle=oracle, few=few, findings=(*findings, *found))


def _labelled(path: str, flag: str, columns: ReadOptions, progress: Progress) -> tuple[Samples, tuple[Finding, ...]]:
    samples = read(path, columns)
    if samples.task != "segmentation":
        raise DataError(f"{flag} {path} holds no masks. Expected images/ and masks/ with files of the same names.")
    samples, found = check(samples.take(samples.y >= 0), progress=progress)
    return replace(samples, split=np.full(len(samples), "train", dtype="<U5")), found


def _unlabelled(path: str, progress: Progress) -> tuple[Samples, tuple[Finding, ...]]:
    """Every image below `path` but for those in folders of masks, which are not opened."""
    found = read(path, ReadOptions(every_row=True))
    if found.modality != "image":
        raise DataError(f"{path} holds {found.modality} samples. Expected a folder of images, like the source's.")
    inside = [set(str(name).lower().split("/")[:-1]) for name in found.ids]
    found = found.take(np.array([not folders & set(MASK_FOLDERS) for folders in inside], dtype=bool))
    plain = replace(
        found.take(np.argsort(np.array(found.ids), kind="stable")),
        task="single_label",  # to the check a picture is a picture
        classes=(),
        masks=None,
        group=None,
        findings=(),
        y=np.full(len(found), -1, dtype=np.int64),
        split=np.full(len(found), "", dtype="<U5"),
    )
    return check(plain, progress=progress)


def _alike(parts: Sequence[Samples], names: Sequence[str]) -> None:
    for name, one in zip(names, parts, strict=True):
        if one.classes != parts[0].classes:
            raise DataError(
                f"{name} has the classes {shorten(one.classes)}; {names[0]} has {shorten(parts[0].classes)}. "
                "Expected the same ones in the same order: give both the same classes.txt."
            )


def joined(parts: Sequence[Samples], names: Sequence[str]) -> Samples:
    """Sources with the same classes, written alike in their masks, as one. Raises `DataError` where they differ."""
    _alike(parts, names)
    first = parts[0]
    for name, one in zip(names, parts, strict=True):
        if one.masks.values != first.masks.values:
            raise DataError(f"{name} writes its classes otherwise in its masks than {names[0]}: expected one coding.")
    several = len(parts) > 1
    group = np.concatenate([np.array(one.ids) if one.group is None else one.group for one in parts])
    ids = [f"source{i}:{name}" if several else name for i, one in enumerate(parts) for name in one.ids]
    masks = replace(
        first.masks,
        paths=tuple(path for one in parts for path in one.masks.paths),
        void=tuple(dict.fromkeys(value for one in parts for value in one.masks.void)),
        counts=np.concatenate([one.masks.counts for one in parts]),
    )
    return replace(
        first,
        ids=tuple(ids),
        x=[path for one in parts for path in one.x],
        y=np.concatenate([one.y for one in parts]),
        split=np.concatenate([one.split for one in parts]),
        group=group,
        masks=masks,
        findings=(),
    )


def _oracle(path: str, target: Samples, source: Samples) -> Samples:
    """The target's scenes with their masks, in the order of `target`."""
    found = read(path, ReadOptions())
    if found.task != "segmentation" or found.classes != source.classes:
        raise DataError(f"--oracle-labels needs masks in {path} of the source's classes: {shorten(source.classes)}.")
    place = {name: i for i, name in enumerate(found.ids) if found.y[i] >= 0}
    missing = [name for name in target.ids if name not in place]
    if missing:
        raise DataError(f"--oracle-labels needs a mask for every scene of {path}; {missing[0]} has none.")
    return found.take([place[name] for name in target.ids])
