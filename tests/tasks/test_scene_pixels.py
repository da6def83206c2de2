"""Drawn pixels and their classifier, against the network that ships and against scikit-learn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from torchgraft import backbones
from torchgraft.data import IGNORE, Samples
from torchgraft.model import LinearHead
from torchgraft.model.scene_network import SceneNetwork
from torchgraft.tasks._scene_pixels import Fitted, answers, levels_at, probabilities, spread, weighed_counts
from torchgraft.train.dense_loader import DenseLoader


@pytest.fixture(scope="module")
def network() -> SceneNetwork:
    """Lite0 under a linear decoder of three classes."""
    return SceneNetwork.of(backbones.load("packaged/efficientnet_lite0"), "linear", 3).requires_grad_(False)


@pytest.fixture
def loader(streets: Callable[..., Samples]) -> DenseLoader:
    """Nine scenes of 48 x 36 pixels."""
    samples = streets(9)
    return DenseLoader(samples.x, samples.masks, scale=3.0)


def _heads(network: SceneNetwork, count: int) -> list[LinearHead]:
    rng, width = np.random.default_rng(0), sum(network.levels.channels)
    return [LinearHead(rng.normal(size=(3, width)), rng.normal(size=3)) for _ in range(count)]


def test_levels_are_what_the_decoder_reads(network: SceneNetwork, loader: DenseLoader) -> None:
    at = spread(loader, 7, 0)
    z = levels_at(network, loader, at)
    (head,) = _heads(network, 1)
    network.decoder.from_head(head.weight, head.bias)
    x = torch.from_numpy(loader.picture(4)[0].copy()).permute(2, 0, 1)[None]
    whole = network(x)[0].flatten(1).T.numpy()
    # enlarging from stride 4 and reading between places are the same up to the ends of the picture
    np.testing.assert_allclose(head.logits(z[4]), whole[at[4]], rtol=1e-3, atol=1e-3)


def test_a_look_is_seen_by_the_network(network: SceneNetwork, loader: DenseLoader) -> None:
    at = spread(loader, 3, 0)
    z = levels_at(network, loader, at)
    np.testing.assert_array_equal(levels_at(network, loader, at, lambda image, row: image), z)
    dark = levels_at(network, loader, at, lambda image, row: image // (1 + row))
    np.testing.assert_array_equal(dark[0], z[0])
    assert np.abs(dark[5] - z[5]).max() > 0.1


def test_levels_of_some_scenes_come_in_the_order_asked_for(network: SceneNetwork, loader: DenseLoader) -> None:
    at = spread(loader, 5, 0)
    some = levels_at(network, loader, at, rows=np.array([7, 2, 4]))
    np.testing.assert_allclose(some, levels_at(network, loader, at)[[7, 2, 4]], rtol=1e-4, atol=1e-4)


def test_several_heads_in_one_pass_answer_as_one_by_one(network: SceneNetwork, loader: DenseLoader) -> None:
    heads = _heads(network, 3)
    together = dict(answers(network, heads, loader))
    for k, head in enumerate(heads):
        alone = dict(answers(network, [head], loader, np.array([2, 7])))
        assert set(alone) == {2, 7}
        for row, maps in alone.items():
            assert (maps[0] == together[row][k]).mean() > 0.999


def test_who_asks_for_answers_can_train_between_them(network: SceneNetwork, loader: DenseLoader) -> None:
    heads = _heads(network, 1)
    for _ in zip(answers(network, heads, loader), answers(network, heads, loader), strict=True):
        assert not torch.is_inference_mode_enabled()
    assert not torch.is_inference_mode_enabled()


def test_places_are_spread_over_the_scene(loader: DenseLoader) -> None:
    at = spread(loader, 10, 3)
    stretch = loader.sizes[0].prod() / 10
    assert (np.abs(at / stretch - np.arange(10) - 0.5) <= 0.51).all()
    np.testing.assert_array_equal(at, spread(loader, 10, 3))


def test_the_classifier_is_scikit_learn_s() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, (20, 6)).astype(np.uint8)
    z = (rng.normal(size=(20, 6, 5)) + 2 * np.eye(5)[y]).astype(np.float32)
    s = rng.integers(1, 4, (20, 6))
    y[0, :2] = IGNORE
    known = y.ravel() != IGNORE
    flat = z.reshape(-1, 5)[known].astype(float)
    scaled = (flat - flat.mean(0)) / flat.std(0) / np.sqrt(5)
    own = Fitted(z, y, 3, s).solve(3.0, tolerance=1e-12)
    other = LogisticRegression(C=3.0, tol=1e-9, max_iter=5000).fit(scaled, y.ravel()[known], s.ravel()[known])
    np.testing.assert_allclose(probabilities(own, flat), other.predict_proba(scaled), atol=2e-4)


def test_the_penalty_is_chosen_by_other_pixels() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, (40, 5)).astype(np.uint8)
    noise = rng.normal(size=(2, 40, 5, 30)).astype(np.float32)
    clear = noise + 3 * y[..., None]
    assert Fitted(clear[0], y, 2).walk(clear[1], y)[0] > Fitted(noise[0], y, 2).walk(noise[1], y)[0]


def test_a_pixel_counts_what_it_stands_for() -> None:
    y = np.array([[0, 1, IGNORE], [1, 1, 0]], dtype=np.uint8)
    said = np.array([[1, 1, 0], [1, 0, 0]])
    weights = np.array([[5, 2, 9], [1, 1, 4]])
    np.testing.assert_array_equal(weighed_counts(y, said, weights, 2), [[[0, 5], [0, 2]], [[4, 0], [1, 1]]])
