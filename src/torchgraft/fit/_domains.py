"""Both domains in one `Samples`: labelled sources, the target without its labels, and what may be looked at after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from torchgraft.core.errors import DataError
from torchgraft.core.progress import Progress
from torchgraft.data import Finding, ReadOptions, Samples, check, read
from torchgraft.fit.options import FitOptions

SOURCE, TARGET, FEW, TEST = "train", "", "val", "test"
"""The splits that stand for the parts of a run with two domains."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Domains:
    """`samples` of every part, told apart by `split`; target rows have no label (-1) in it.

    `origin` names the source (0, 1, ...) of each row, -1 for all others. `oracle` holds the target's labels where
    `--oracle-labels` asked for them (-1 elsewhere), to be printed and for nothing else.
    """

    samples: Samples
    origin: np.ndarray
    oracle: np.ndarray | None
    findings: tuple[Finding, ...]


def load_domains(options: FitOptions, progress: Progress) -> Domains:
    """Read and check the target, every source, and the labelled sets of the target's domain that were given."""
    columns = ReadOptions(text=options.text, label=options.label, group=options.group, every_label=True)
    target = read(options.target, columns)
    one_class_each(options.target, target)
    sources = [_labelled(path, "--source", columns) for path in options.source]
    classes = tuple(sorted({name for one in sources for name in one.classes}))
    given = [(name, path, _labelled(path, flag, columns)) for name, flag, path in _given(options)]
    for name, one in [*zip(options.source, sources, strict=True), *((path, one) for _, path, one in given)]:
        _alike(name, one, target)
    findings: list[Finding] = []
    parts, origins = [], []
    for i, one in enumerate(sources):
        checked, found = check(one, progress=progress)
        findings += [*one.findings, *found]
        parts.append(_part(checked, f"source{i}:", classes, SOURCE))
        origins.append(np.full(len(checked), i))
    seen, found = check(replace(target, y=np.full(len(target), -1), classes=()), progress=progress)
    findings += [*(one for one in target.findings if one.kind not in ("no_labels", "unlabelled")), *found]
    parts.append(replace(seen, classes=classes, split=np.full(len(seen), TARGET, dtype="<U5"), group=None))
    for name, path, one in given:
        parts.append(_part(one, f"{name}:", classes, name))
        if not (parts[-1].y >= 0).any():
            raise DataError(f"{path} has no sample with a class of the source ({', '.join(classes)}).")
        findings += [*one.findings, *_strange(path, len(one) - len(parts[-1]))]
    origins += [np.full(len(part), -1) for part in parts[len(sources) :]]
    samples = _joined(parts, target, classes)
    if len(np.unique(samples.y[samples.split == SOURCE])) < 2:
        raise DataError(f"{', '.join(options.source)}: one class only to learn from. Expected at least two.")
    if options.oracle_labels and not target.labelled:
        missing = f"{(target.y < 0).sum()} of {len(target)} have none"
        raise DataError(f"--oracle-labels needs a label for every sample of {options.target}: {missing}.")
    oracle = _oracle(seen, target, samples, classes) if options.oracle_labels else None
    if len(target.classes):
        findings.append(_ignored(target, options))
    return Domains(samples=samples, origin=np.concatenate(origins), oracle=oracle, findings=tuple(findings))


def one_class_each(path: str, samples: Samples) -> None:
    """Raise `DataError` for labels that are not one class a sample."""
    if samples.task != "single_label":
        raise DataError(f"{path} holds {samples.task} labels; --source and --from expect one class a sample.")


def _given(options: FitOptions) -> list[tuple[str, str, str]]:
    found = ((FEW, "--few-labels", options.few_labels), (TEST, "--test", options.test))
    return [(name, flag, path) for name, flag, path in found if path]


def _labelled(path: str, flag: str, columns: ReadOptions) -> Samples:
    samples = read(path, columns)
    one_class_each(path, samples)
    if not len(samples.classes) or not (samples.y >= 0).any():
        raise DataError(f"{flag} {path} has no labels. Expected one folder per class, or a table with a label column.")
    return samples.take(samples.y >= 0)


def _alike(name: str, one: Samples, target: Samples) -> None:
    if one.modality != target.modality:
        raise DataError(f"{name} holds {one.modality} samples, the target {target.modality} samples.")
    if isinstance(target.x, np.ndarray) and one.x.shape[1:] != target.x.shape[1:]:
        raise DataError(f"{name} holds {one.x.shape[1]} features a sample, the target {target.x.shape[1]}.")


def _part(samples: Samples, prefix: str, classes: tuple[str, ...], split: str) -> Samples:
    """With its labels as positions in `classes`; samples of other classes are left out."""
    known = np.array([classes.index(name) if name in classes else -1 for name in samples.classes])
    y = known[samples.y]
    kept = samples.take(y >= 0)
    ids = tuple(prefix + name for name in kept.ids)
    return replace(kept, ids=ids, y=y[y >= 0], split=np.full(len(kept), split, dtype="<U5"), group=None)


def _joined(parts: Sequence[Samples], target: Samples, classes: tuple[str, ...]) -> Samples:
    dense = isinstance(target.x, np.ndarray)
    return replace(
        target,
        ids=tuple(name for part in parts for name in part.ids),
        x=np.concatenate([part.x for part in parts]) if dense else [x for part in parts for x in part.x],
        y=np.concatenate([part.y for part in parts]),
        classes=classes,
        split=np.concatenate([part.split for part in parts]),
        group=None,
        findings=(),
    )


def _strange(path: str, count: int) -> list[Finding]:
    message = f"{path}: samples have labels that the source lacks"
    found = Finding(kind="unknown_label", severity="warning", count=count, message=message, action="left out")
    return [found] if count else []


def _oracle(seen: Samples, target: Samples, samples: Samples, classes: tuple[str, ...]) -> np.ndarray:
    place = {name: classes.index(target.classes[y]) if target.classes[y] in classes else -1
             for name, y in zip(target.ids, target.y, strict=True)}  # fmt: skip
    found = np.full(len(samples), -1, dtype=np.int64)
    found[samples.split == TARGET] = [place[name] for name in seen.ids]
    return found


def _ignored(target: Samples, options: FitOptions) -> Finding:
    action = "printed beside the choice, and used for nothing else" if options.oracle_labels else "not looked at"
    return Finding(
        kind="target_labels",
        severity="note",
        count=int((target.y >= 0).sum()),
        message="the target has labels; a run with --source is one without them",
        action=action,
    )
