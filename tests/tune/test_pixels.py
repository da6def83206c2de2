"""Pixels drawn from scenes: as likely as their class asks, the same each time, read as a decoder reads them."""

from __future__ import annotations

import numpy as np
import torch

from torchgraft.core.progress import SILENT
from torchgraft.features import Store
from torchgraft.model.scene_network import SceneNetwork
from torchgraft.tune._pixels import draw, rarity, values
from torchgraft.tune._scenes import scenes


def test_rare_classes_are_drawn_more() -> None:
    np.testing.assert_allclose(rarity(np.array([75, 0, 25])), [1 / np.sqrt(0.75), 0, 2])


def test_every_pixel_drawn_has_its_label_and_none_is_unlabelled(scene_problem) -> None:
    loader = scenes(scene_problem(), 64)
    found = draw(loader, np.array([0.0, 1.0, 1.0]), 20, 0)
    for row in range(len(loader)):
        labels = loader.picture(row)[1].ravel()
        np.testing.assert_array_equal(labels[found.at[row]], found.y[row])
    assert set(np.unique(found.y)) == {1, 2}, "class 0 has no weight"
    again = draw(loader, np.array([0.0, 1.0, 1.0]), 20, 0)
    np.testing.assert_array_equal(found.at, again.at)
    part = found.take(np.array([3, 1]))
    np.testing.assert_array_equal(part.at, found.at[[3, 1]])


def test_shares_follow_the_weights(scene_problem) -> None:
    loader = scenes(scene_problem(), 64)
    labels = loader.picture(0)[1].ravel()
    weights = np.array([1.0, 4.0, 4.0])
    mass = np.array([weights[c] * (labels == c).sum() for c in range(3)])
    found = draw(loader, weights, 900, 1).y[0]
    np.testing.assert_allclose(np.bincount(found, minlength=3) / 900, mass / mass.sum(), atol=0.02)


def test_values_are_what_the_linear_decoder_adds_up(scene_problem, tmp_path) -> None:
    """For a linear decoder of random weights: W z + b at stride 4, enlarged, equals its logits at the same pixels."""
    problem = scene_problem()
    loader, backbone = scenes(problem, 64), next(iter(problem.resources.backbones.values()))
    network = SceneNetwork.of(backbone, "linear", 3)
    pixels = draw(loader, np.ones(3), 30, 0)
    store = Store(tmp_path / "store")
    z = values(network, loader, pixels, key="k", store=store, progress=SILENT)
    weight, bias = network.decoder.head()
    with torch.no_grad():
        logits = network(loader.load(np.arange(4), None).inputs[0]).flatten(2)
    expected = logits.gather(2, torch.from_numpy(pixels.at[:4])[:, None].expand(-1, 3, -1)).permute(0, 2, 1).numpy()
    np.testing.assert_allclose(z[:4] @ weight.T + bias, expected, atol=1e-4)
    network.levels = None  # what is stored is not computed again
    network.levels = SceneNetwork.of(backbone, "linear", 3).levels
    np.testing.assert_array_equal(values(network, loader, pixels, key="k", store=store, progress=SILENT), z)
