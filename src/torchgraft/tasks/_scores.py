"""How good a graft is on labelled samples, and whether another one is better on the same samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from torchgraft.core.errors import DataError, did_you_mean, shorten
from torchgraft.core.progress import SILENT, Progress
from torchgraft.data import Finding, Samples
from torchgraft.evaluate import paired, score
from torchgraft.model import Graft


def evaluate(
    graft: Graft, samples: Samples, *, progress: Progress = SILENT
) -> tuple[dict[str, Any], tuple[Finding, ...]]:
    """The scores of `graft` (see `evaluate.score`) on `samples`, and which samples could not be read.

    Every sample needs a label that the graft knows; classes without a sample are fine. Raises `DataError`.
    """
    y = labels_of(graft, samples)
    kept, proba, failed = _predicted(graft, samples, progress)
    return score(y[kept], proba, graft.classes), failed


def compare(
    a: Graft, b: Graft, samples: Samples, *, progress: Progress = SILENT
) -> tuple[dict[str, Any], tuple[Finding, ...]]:
    """`{"a": scores, "b": scores, "paired": how much better b is than a}` on the samples that both can read.

    Both must know the same classes. Raises `DataError` where they don't, or where a label is unknown.
    """
    if set(a.classes) != set(b.classes):
        only_a, only_b = sorted(set(a.classes) - set(b.classes)), sorted(set(b.classes) - set(a.classes))
        raise DataError(
            "two grafts are compared where they know the same classes. "
            f"Only the first knows: {shorten(only_a)}; only the second: {shorten(only_b)}."
        )
    y = labels_of(a, samples)
    kept_a, proba_a, failed_a = _predicted(a, samples, progress)
    kept_b, proba_b, failed_b = _predicted(b, samples, progress)
    kept = np.intersect1d(kept_a, kept_b)
    proba_a = proba_a[np.searchsorted(kept_a, kept)]
    proba_b = proba_b[np.searchsorted(kept_b, kept)][:, [b.classes.index(name) for name in a.classes]]
    y = y[kept]
    report = {
        "a": score(y, proba_a, a.classes),
        "b": score(y, proba_b, a.classes),
        "paired": paired(y, proba_a, proba_b, classes=a.classes),
    }
    return report, failed_a or failed_b


def labels_of(graft: Graft, samples: Samples) -> np.ndarray:
    """The samples' labels as positions in the graft's classes (N,).

    Raises `DataError` for missing or unknown ones, and for samples of another modality.
    """
    if samples.modality != graft.modality:
        raise DataError(
            f"this graft was fitted on {graft.modality} samples, got {samples.modality} from {samples.root}."
        )
    if not len(samples) or (samples.y < 0).any():
        lacking = int((samples.y < 0).sum())
        what = f"{lacking} of {len(samples)} samples have no label" if len(samples) else "there is no sample"
        raise DataError(
            f"{samples.root}: {what}. Evaluation expects labels: class folders, or a label column (--label)."
        )
    used = [samples.classes[i] for i in np.unique(samples.y)]
    unknown = [name for name in used if name not in graft.classes]
    if unknown:
        named = "; ".join(f"'{name}'{did_you_mean(name, graft.classes)}" for name in unknown[:8])
        more = f" (+{len(unknown) - 8} more)" if len(unknown) > 8 else ""
        raise DataError(
            f"{samples.root} has labels that the graft does not know: {named}{more}. "
            f"It knows: {shorten(graft.classes)}."
        )
    position = {name: i for i, name in enumerate(graft.classes)}
    return np.array([position.get(name, -1) for name in samples.classes], dtype=np.int64)[samples.y]


def _predicted(
    graft: Graft, samples: Samples, progress: Progress
) -> tuple[np.ndarray, np.ndarray, tuple[Finding, ...]]:
    predictions = graft.predict(samples, progress=progress)
    if not len(predictions):
        why = f" First: {predictions.failed[0].message}" if predictions.failed else ""
        raise DataError(f"{samples.root}: not one of {len(samples)} samples could be read.{why}")
    return predictions.kept, predictions.probabilities, predictions.failed
