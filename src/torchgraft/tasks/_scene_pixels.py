"""Pixels of scenes under another look, and the exact linear classifier of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from scipy.special import log_softmax, softmax

from torchgraft.core.progress import SILENT, Progress
from torchgraft.data import IGNORE
from torchgraft.model import LinearHead
from torchgraft.model.decoders import decoder, pixel_features
from torchgraft.model.scene_network import SceneNetwork
from torchgraft.model.softmax import Block, Softmax
from torchgraft.train.dense_loader import DenseLoader

Look = Callable[[np.ndarray, int], np.ndarray]
"""H x W x 3 uint8 and the scene's position -> the same scene as it would look elsewhere."""

_BATCH = 8
_PENALTIES = (0.316, 1.0, 3.16, 10.0, 31.6, 100.0)
_ROWS = 1 << 16  # pixels whose logits are held at once


def spread(loader: DenseLoader, count: int, seed: int) -> np.ndarray:
    """N x `count` positions in the flat scenes, one in each of `count` equal stretches: every pixel alike likely."""
    draws = [np.random.default_rng([seed, row]).random(count) for row in range(len(loader))]
    sizes = loader.sizes.prod(axis=1)[:, None]
    return np.minimum(((np.arange(count) + np.array(draws)) / count * sizes).astype(np.int64), sizes - 1)


def levels_at(
    network: SceneNetwork,
    loader: DenseLoader,
    at: np.ndarray,
    look: Look | None = None,
    *,
    rows: np.ndarray | None = None,
    words: str = "levels",
    progress: Progress = SILENT,
) -> np.ndarray:
    """N x P x D float32: what a linear decoder reads at the positions `at` (N x P), of scenes under `look`.

    `rows`: of these scenes alone, in this order.
    """
    rows = np.arange(len(loader)) if rows is None else rows
    place = {row: i for i, row in enumerate(rows.tolist())}
    z = np.zeros((len(rows), at.shape[1], sum(network.levels.channels)), dtype=np.float32)
    network.eval()
    with progress.bar(f"{words} of {len(rows)} scenes", len(rows)) as bar, torch.inference_mode():
        for some in loader.plan(_BATCH, None, rows):
            x = pictures(loader, some, look)
            height, width = x.shape[-2:]
            full = network.full_size(height, width)
            places = torch.from_numpy(at[some] // width * full[1] + at[some] % width)
            z[[place[row] for row in some.tolist()]] = pixel_features(
                network.features(x), network.levels.strides, full, places
            ).numpy()
            bar.advance(len(some))
    return z


def answers(
    network: SceneNetwork,
    heads: Sequence[LinearHead],
    loader: DenseLoader,
    rows: np.ndarray | None = None,
    *,
    progress: Progress = SILENT,
) -> Iterator[tuple[int, np.ndarray]]:
    """(scene, K x H x W uint8 classes) of K linear decoders on one frozen network, in one pass over some scenes."""
    classes = len(heads[0].bias)
    wide = decoder("linear", network.levels.channels, network.levels.strides, classes * len(heads))
    wide.from_head(np.concatenate([h.weight for h in heads]), np.concatenate([h.bias for h in heads]))
    wide.eval()
    with progress.bar("answers", len(loader)) as bar:
        for some in loader.plan(_BATCH, None, rows):
            with torch.inference_mode():  # not around the yield: it would hold for whoever asks, too
                x = pictures(loader, some)
                height, width = x.shape[-2:]
                logits = wide(network.features(x), network.full_size(height, width))[:, :, :height, :width]
                called = logits.unflatten(1, (len(heads), classes)).argmax(2).to(torch.uint8).numpy()
            yield from zip(some.tolist(), called, strict=True)
            bar.advance(len(some))


class Fitted:
    """min C sum_i s_i loss_i + 1/2 ||W||^2 on columns of variance 1 / D, for rows z (... x D) with classes y (...).

    Rows whose class is `IGNORE` are left out; `weights` s (...) are 1 where they are not given.
    """

    def __init__(self, z: np.ndarray, y: np.ndarray, classes: int, weights: np.ndarray | None = None) -> None:
        known = y.ravel() != IGNORE
        z, y = z.reshape(y.size, -1)[known], y.ravel()[known].astype(np.int64)
        s = np.ones(len(y)) if weights is None else weights.ravel()[known].astype(np.float64)
        self.mean, spread = z.mean(0), z.std(0)
        self.scale = 1 / (np.where(spread > 0, spread, 1.0) * np.sqrt(z.shape[1]))
        self.solver = Softmax([Block((z - self.mean) * self.scale)], [1.0], y, s, classes)

    def solve(self, c: float, *, tolerance: float = 1e-5) -> LinearHead:
        """The minimum for C = `c`, from the last one found, for columns as they came."""
        head = self.solver.solve(c, tolerance=tolerance)
        weight = head.weight * self.scale
        return LinearHead(weight, head.bias - weight @ self.mean)

    def walk(self, z: np.ndarray, y: np.ndarray) -> tuple[float, LinearHead]:
        """The C before the log loss of other pixels rises, and its head."""
        known = y.ravel() != IGNORE
        z, y = z.reshape(y.size, -1)[known], y.ravel()[known].astype(np.int64)
        best, least, kept = _PENALTIES[0], np.inf, None
        for c in _PENALTIES:
            head = self.solve(c)
            loss = -float(log_softmax(head.logits(z), axis=1)[np.arange(len(y)), y].mean())
            if loss >= least:
                break
            best, least, kept = c, loss, head
        return best, kept


def probabilities(head: LinearHead, z: np.ndarray) -> np.ndarray:
    """... x C float64 for rows ... x D."""
    flat = z.reshape(-1, z.shape[-1])
    parts = [softmax(head.logits(flat[i : i + _ROWS]), axis=1) for i in range(0, len(flat), _ROWS)]
    return np.concatenate(parts).reshape(*z.shape[:-1], -1)


def weighed_counts(y: np.ndarray, said: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    """N x C x C int64 of n scenes: row the truth, column the answer, a pixel counting as many as it stands for.

    `y`, `said` n x P classes (`IGNORE`: left out), `weights` n x P whole numbers.
    """
    known = y != IGNORE
    scene = np.broadcast_to(np.arange(len(y))[:, None], y.shape)[known]
    place = (scene * classes + y[known]) * classes + said[known]
    found = np.bincount(place, weights=weights[known], minlength=len(y) * classes * classes)
    return np.rint(found).astype(np.int64).reshape(len(y), classes, classes)


def pictures(loader: DenseLoader, rows: np.ndarray, look: Look | None = None) -> torch.Tensor:
    """B x 3 x H x W uint8; scenes of a plan without a seed have one size."""
    images = [loader.picture(row)[0] for row in rows.tolist()]
    if look is not None:
        images = [look(image, row) for image, row in zip(images, rows.tolist(), strict=True)]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
