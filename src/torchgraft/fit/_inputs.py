"""From options to samples that can be used: read, checked, with a test split, and only labels that can be learnt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from torchgraft import backbones
from torchgraft.core import registry
from torchgraft.core.errors import DataError, OptionError
from torchgraft.core.progress import Progress
from torchgraft.data import Finding, ReadOptions, Samples, check, joined_views, read
from torchgraft.fit import plan
from torchgraft.fit.options import FitOptions


def load_data(options: FitOptions, progress: Progress) -> tuple[Samples, tuple[Finding, ...]]:
    """The labelled samples of target and test in one `Samples`, each with its split, and what the check found."""
    columns = ReadOptions(text=options.text, label=options.label, group=options.group)
    target = read(options.target, columns)
    if not len(target.classes):
        raise DataError(
            f"{options.target} holds {len(target)} {target.modality} samples without labels. "
            "`graft fit` expects labels: one folder per class, or a table with a label column (name it with --label)."
        )
    samples = _with_test(target, read(options.test, columns)) if options.test else target
    unlabelled = samples.y < 0
    findings = list(samples.findings)
    if unlabelled.any():
        findings.append(_left_out(samples, unlabelled, "unlabelled", "samples have no label"))
    samples, checked = check(samples.take(~unlabelled), progress=progress)
    known = len(samples.findings)
    samples = registry.get("tasks", samples.task).prepare(samples, seed=options.seed, test=not options.test)
    return samples, (*findings, *checked, *samples.findings[known:])


def backbone_names(options: FitOptions, modality: str, task: str = "single_label") -> tuple[str, ...]:
    """The backbones to use: those asked for, or what comes with installed packages, smallest first: as many as the
    task tries unasked.

    None where no method of the run uses one.
    """
    if modality == "array":
        if options.backbone != plan.AUTO:
            raise OptionError(
                f"--backbone {options.backbone}: the target holds feature arrays, which need no backbone."
            )
        return ()
    if not any(registry.get("tune", name).TRANSFER for name in plan.methods(options.method, task)):
        return ()
    if options.backbone != plan.AUTO:
        return tuple(dict.fromkeys(name.strip() for name in options.backbone.split(",") if name.strip()))
    ready = [offer for offer in backbones.offers(modality) if offer.name.startswith("packaged/")]
    most = registry.constant("tasks", task, "BACKBONES", default=0) or None
    return tuple(offer.name for offer in sorted(ready, key=lambda offer: offer.parameters)[:most])


def _with_test(target: Samples, test: Samples) -> Samples:
    """Put both into one: what `test` holds is the test split, whatever its folders are called."""
    if test.modality != target.modality:
        raise DataError(f"--test holds {test.modality} samples, the target {target.modality} samples.")
    if test.task != target.task:
        raise DataError(f"--test {test.root} holds {test.task} labels, the target {target.task} labels.")
    if test.numbered and not target.masks.coloured:
        test = replace(test, classes=target.classes, masks=replace(target.masks, paths=test.masks.paths, counts=None))
    if target.masks is not None and test.classes != target.classes:
        raise DataError(f"--test {test.root} has other classes than the target. Expected the same classes.txt.")
    if isinstance(target.x, np.ndarray) and test.x.shape[1:] != target.x.shape[1:]:
        widths = f"{test.x.shape[1]} features a sample, the target {target.x.shape[1]}"
        raise DataError(f"--test {test.root} holds {widths}. Expected features made in the same way.")
    unknown = sorted(set(test.classes) - set(target.classes))
    known = [target.classes.index(name) if name in target.classes else -1 for name in test.classes]
    y = np.array([known[label] if label >= 0 else -1 for label in test.y], dtype=np.int64)
    findings = [*target.findings, *test.findings]
    strange = (test.y >= 0) & (y < 0)
    if unknown:
        message = f"test samples have labels that the target lacks: {', '.join(unknown)}"
        findings.append(_left_out(test, strange, "unknown_label", message))
    if not (y >= 0).any():
        raise DataError(f"--test {test.root} has no sample with a label of the target ({', '.join(target.classes)}).")
    test, y = test.take(~strange), y[~strange]
    masks = None if target.masks is None else target.masks.joined(test.masks)
    same = set(target.ids) & set(test.ids)
    return replace(
        target,
        ids=(*target.ids, *(f"test:{i}" if i in same else i for i in test.ids)),
        x=np.concatenate([target.x, test.x]) if isinstance(target.x, np.ndarray) else [*target.x, *test.x],
        y=np.concatenate([target.y, y]),
        split=np.concatenate([np.where(target.split == "val", "val", "train"), np.full(len(test), "test")]),
        group=_groups(target, test),
        findings=tuple(findings),
        masks=masks,
        views=joined_views(target.views, len(target), test.views, len(test)),
    )


def _groups(target: Samples, test: Samples) -> np.ndarray | None:
    if target.group is None:
        return None
    return np.concatenate([target.group, test.group if test.group is not None else np.array(test.ids)])


def _left_out(samples: Samples, which: np.ndarray, kind: str, message: str) -> Finding:
    examples = tuple(samples.ids[i] for i in np.flatnonzero(which)[:5])
    return Finding(
        kind=kind, severity="warning", count=int(which.sum()), message=message, action="left out", examples=examples
    )


def default_folder(target: str) -> Path:
    """`runs/NAME-N` with the first N that is free, NAME being the target's."""
    name = Path(target).resolve().stem or "run"
    numbers = (i for i in range(1, 1_000_000))
    return next(path for i in numbers if not (path := Path("runs") / f"{name}-{i}").exists())
