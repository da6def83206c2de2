"""Photos that look unlike those of training, predicted by a network that adapts to them (TENT, Wang et al. 2021)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor

from torchgraft.adapt import WORKS, net_of, unfit
from torchgraft.adapt.tent import Options, Stream
from torchgraft.backbones import Backbone
from torchgraft.core.errors import OptionError
from torchgraft.core.progress import SILENT, Progress
from torchgraft.model import Graft, estimate_prior
from torchgraft.serve.inputs import Item
from torchgraft.serve.predict import Row, predict, with_probabilities
from torchgraft.train.loader import ImageLoader
from torchgraft.train.select import agreement, collapsed

BATCH = 64
"""Photos that are normalised together."""

_FEWEST = 2


def adapted(
    graft: Graft, items: Iterable[Item], *, batch: int = BATCH, rate: float = 1e-3, progress: Progress = SILENT
) -> tuple[list[Row], str]:
    """One row for each photo, in order, by a copy of the graft's network that adapts to them; and what was done.

    Photos go through in a shuffled order (the same in every call) in runs of at most `batch` (4 or more), as equal as
    can be. Each run is normalised with its own statistics and answered, then BatchNorm's scale and shift take one step
    of Adam (`rate`) that lowers the mean entropy of the calibrated probabilities (Wang et al., "Tent: fully test-time
    adaptation by entropy minimization", ICLR 2021). Every call starts anew; the graft stays as it is. Decoded photos
    are held one run at a time, rows all at once.

    The rows are those of `predict`, and the second value says why, where fewer than two runs can be read, or the
    adapted answers can't be trusted beside those (see `fault`). Raises `OptionError` for a graft that has no such
    network, and for a batch or rate out of range.
    """
    options = Options(batch=batch, rate=rate)
    stream, backbone = stream_of(graft, options)
    items = list(items)
    rows = list(predict(graft, items, progress=progress))
    places = [i for i, row in enumerate(rows) if row.probabilities is not None]
    if len(places) < _FEWEST * batch:
        few = f"{len(places)} photos can be read, and {_FEWEST} batches of {batch} are the least"
        return rows, f"Not adapted, the model's own answers are given: {few}."
    plain = np.stack([rows[i].probabilities for i in places])
    paths = [items[i].value for i in places]
    found, batches = answers(stream, ImageLoader(paths, None, backbone.preprocessing, keep=0), progress)
    found = np.where(np.isfinite(found).all(axis=1, keepdims=True), found, plain)
    reason = fault(plain, found, graft.prior, own=own_statistics(graft))
    if reason:
        return rows, f"Not adapted, the model's own answers are given: {reason}."
    for i, p in zip(places, found, strict=True):
        rows[i] = with_probabilities(graft, rows[i], p)
    changed = int((found.argmax(axis=1) != plain.argmax(axis=1)).sum())
    done = f"Adapted to {len(places)} photos in {batches} batches: {changed} answers changed."
    return rows, done + _caution(plain, graft)


def answers(stream: Stream, loader: ImageLoader, progress: Progress) -> tuple[np.ndarray, int]:
    """N x C probabilities in the loader's order, and the number of batches."""
    batches = loader.plan(stream.options.batch, 0)
    logits: list[Tensor] = []
    with progress.bar(f"adapting to {len(loader)} photos", len(loader)) as bar:
        for rows in batches:
            logits.append(stream(loader.load(rows, None).inputs))
            bar.advance(len(rows))
    back = np.argsort(np.concatenate(batches))
    return softmax(torch.cat(logits).double().numpy()[back], axis=1), len(batches)


def own_statistics(graft: Graft) -> bool:
    """Whether BatchNorm's statistics were trained with the graft's backbones: else they are those of pretraining.

    A head that was fitted on a frozen network has never seen features that are normalised by its own photos.
    """
    return any(name.endswith("running_mean") for tuned in graft.tuned.values() for name in tuned.arrays)


def fault(plain: np.ndarray, found: np.ndarray, prior: Sequence[float] = (), *, own: bool) -> str:
    """Why adapted answers `found` (N x C) can't be trusted beside the model's own, `plain`; empty where they may be.

    They collapsed (see `train.select.collapsed`; `prior` holds the C class frequencies of training, without them those
    of `plain` are taken). Or, where BatchNorm's statistics are not the model's `own`, the two disagree on more samples
    than the model expects to be wrong on, 1 minus its mean confidence, beyond Wilson's 95 % interval: the other
    statistics alone turn answers round. No label is seen.
    """
    frequencies = _frequencies(plain, prior)
    reason = collapsed(found, frequencies, estimate_prior(plain, frequencies).prior)
    if reason:
        return f"adapting collapsed, {reason}"
    same, sure = agreement(plain, found), float(plain.max(axis=1).mean())
    if own or same.high >= sure:
        return ""
    return (
        f"adapting changed {1 - same.value:.1%} of them, while the model expects {1 - sure:.1%} to be wrong (it was "
        "fitted on a frozen network; one that is fine-tuned with its BatchNorm adapts better)"
    )


def _caution(plain: np.ndarray, graft: Graft) -> str:
    """Damage and photos of one class alone look the same from here; people know which it is."""
    reason = collapsed(plain, _frequencies(plain, graft.prior))
    return f" Before, {reason}: if that is right, predict without adapting." if reason else ""


def _frequencies(plain: np.ndarray, prior: Sequence[float]) -> np.ndarray:
    return np.array(prior) if len(prior) else plain.mean(axis=0)


def stream_of(graft: Graft, options: Options) -> tuple[Stream, Backbone]:
    """A stream whose logits are the graft's, divided by its temperature; and the backbone it is made of."""
    reason = unfit(graft)
    if reason:
        raise OptionError(f"--adapt can't adapt this model ({graft.method}): {reason}. {WORKS}")
    return Stream(net_of(graft), options), graft.loaded[graft.parts[0].source]
