"""Pixels drawn from labelled scenes, and what a network's levels say at them: rows for the exact probe."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from torchgraft.core.progress import Progress
from torchgraft.data import IGNORE
from torchgraft.features import Store
from torchgraft.model.decoders import pixel_features
from torchgraft.model.scene_network import SceneNetwork
from torchgraft.train.dense_loader import DenseLoader

BATCH = 8
"""Scenes of a batch without gradients."""


@dataclass(frozen=True, eq=False)
class Pixels:
    """P pixels of each of N scenes: `at` N x P positions in the flat scene (row by row), `y` N x P classes.

    Where a scene has fewer labelled pixels than P some stand twice; a scene without any has y = `IGNORE`.
    """

    at: np.ndarray
    y: np.ndarray

    def take(self, rows: np.ndarray) -> Pixels:
        """The pixels of some scenes."""
        return Pixels(self.at[rows], self.y[rows])


def draw(loader: DenseLoader, weights: np.ndarray, count: int, seed: int) -> Pixels:
    """`count` labelled pixels of each scene, a pixel of class c with a chance in proportion to `weights` (C,).

    Each scene has randomness of its own, so that it does not depend on the others which of its pixels are drawn.
    """
    at = np.zeros((len(loader), count), dtype=np.int64)
    y = np.full((len(loader), count), IGNORE, dtype=np.uint8)
    table = np.zeros(IGNORE + 1)
    table[: len(weights)] = weights
    for row in range(len(loader)):
        labels = loader.picture(row)[1].ravel()
        chances = np.cumsum(table[labels])
        if chances[-1] > 0:
            # one draw in each of `count` equal stretches of the summed chances: spread over the scene
            points = (np.arange(count) + np.random.default_rng([seed, row]).random(count)) / count
            at[row] = np.minimum(np.searchsorted(chances, points * chances[-1], side="right"), len(labels) - 1)
            y[row] = labels[at[row]]
    return Pixels(at, y)


def logits_at(logits: Tensor, at: np.ndarray) -> np.ndarray:
    """B x C x H x W logits at flat positions (B x P): B x P x C float32."""
    where = torch.from_numpy(at).to(logits.device)[:, None].expand(-1, logits.shape[1], -1)
    return logits.flatten(2).gather(2, where).permute(0, 2, 1).float().cpu().numpy()


def rarity(counts: np.ndarray) -> np.ndarray:
    """Weights (C,) under which rare classes are drawn more: 1 / sqrt(share of the pixels), 0 for those without any."""
    share = counts / max(counts.sum(), 1)
    return np.where(share > 0, 1 / np.sqrt(np.maximum(share, 1e-12)), 0.0)


def values(
    network: SceneNetwork, loader: DenseLoader, pixels: Pixels, *, key: str, store: Store | None, progress: Progress
) -> np.ndarray:
    """N x P x D float32: what a linear decoder reads at the pixels (see `model.decoders.pixel_features`).

    What the `store` has under `key` (the network's revision and scale) and a scene's content is not computed again.
    """
    count, width = pixels.at.shape[1], sum(network.levels.channels)
    shelf = (store or Store()).shelf(key, count * width)
    keys = np.array([_key(loader, pixels, row) for row in range(len(loader))], dtype="S32")
    z = np.zeros((len(loader), count * width), dtype=np.float32)
    done = np.zeros(len(loader), dtype=bool)
    for block in shelf.take(keys):
        z[block.at], done[block.at] = block.z, True
    missing = np.flatnonzero(~done)
    network.eval()
    with progress.bar(f"levels of {len(missing)} scenes", len(missing)) as bar, torch.inference_mode():
        for rows in loader.plan(BATCH, None, missing):
            x = loader.load(rows, None).inputs[0]
            z[rows] = _at(network, x, pixels.at[rows]).flatten(1).numpy()
            shelf.add(keys[rows], z[rows], np.zeros(len(rows), dtype=np.uint8))
            bar.advance(len(rows))
    shelf.flush()
    return z.reshape(len(loader), count, width)


def _at(network: SceneNetwork, x: Tensor, at: np.ndarray) -> Tensor:
    """What the linear decoder reads at flat positions (B x P) of scenes B x 3 x H x W: B x P x D."""
    height, width = x.shape[-2:]
    full = network.full_size(height, width)
    places = torch.from_numpy(at // width * full[1] + at % width)
    return pixel_features(network.features(x), network.levels.strides, full, places)


def _key(loader: DenseLoader, pixels: Pixels, row: int) -> bytes:
    """Digest of a scene as it is seen and of the positions asked for."""
    content = hashlib.blake2b(np.ascontiguousarray(loader.picture(row)[0]).tobytes(), digest_size=16)
    content.update(np.ascontiguousarray(pixels.at[row]).tobytes())
    return content.hexdigest().encode()
