"""Networks of several views: by hand, with views missing, in pieces, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from torchgraft import backbones
from torchgraft.core.errors import DataError, UnknownName
from torchgraft.model import views
from torchgraft.model.views import Attention, Concat, Gated, ViewNetwork, answer

CHANNELS, STRIDES = (3, 5), (2, 4)


def _maps(n: int = 2) -> list[torch.Tensor]:
    return [torch.randn(n, c, 32 // s, 48 // s) for c, s in zip(CHANNELS, STRIDES, strict=True)]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def _there(*rows: list[int]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.bool)


def test_concat_sums_the_views_and_a_missing_one_adds_its_mean_answer() -> None:
    made = Concat(CHANNELS, STRIDES, 4, 2)
    rng = np.random.default_rng(0)
    weight, bias, mean = rng.normal(size=(4, 16)), rng.normal(size=4), rng.normal(size=16)
    made.from_head(weight, bias, mean)
    a, b = _maps(), _maps()
    with torch.no_grad():
        both, one = made([a, b], _there([1, 1], [1, 0]), (32, 48)), made.heads[0](a, (32, 48))
        torch.testing.assert_close(both[0], (one + made.heads[1](b, (32, 48)))[0])
        second = torch.from_numpy(weight[:, 8:] @ mean[8:]).float()
        torch.testing.assert_close(both[1], one[1] + second[:, None, None])


def test_attention_weighs_each_level_for_itself() -> None:
    made = Attention(CHANNELS, STRIDES, 4, 2).requires_grad_(False)
    made.offset.copy_(torch.tensor([[50.0, -50.0], [-50.0, 50.0]]))  # level 0 of the first view, level 1 of the second
    a, b = torch.randn(6, 8), torch.randn(6, 8)
    joined = made.joined([a, b], torch.ones(6, 2, dtype=torch.bool))
    torch.testing.assert_close(joined, torch.cat([a[:, :3], b[:, 3:]], 1))
    alone = made.joined([a, b * torch.nan], torch.tensor([[True, False]]).expand(6, -1))
    torch.testing.assert_close(alone, a)


def test_gates_sum_to_one_and_leave_out_what_is_missing() -> None:
    made = Gated(CHANNELS, STRIDES, 4, 2)
    with torch.no_grad():
        weights = made.weights([_maps(), _maps()], _there([1, 1], [0, 1]), (32, 48))
    assert weights.shape == (2, 2, 32, 48)
    torch.testing.assert_close(weights.sum(0), torch.ones(2, 32, 48))
    assert (weights[0, 1] == 0).all() and (weights[0, 0] > 0).all()


def test_pictures_are_mixed_by_hand() -> None:
    made = Gated(CHANNELS, STRIDES, 4, 2)
    made.curves[1] = 255 - torch.arange(256.0)
    x = [torch.full((1, 3, 2, 2), 100, dtype=torch.uint8), torch.full((1, 3, 2, 2), 55, dtype=torch.uint8)]
    mixed = made.mixed(x, torch.tensor([0.75, 0.25])[:, None, None, None].expand(2, 1, 2, 2))
    assert mixed.dtype == torch.uint8 and (mixed == 125).all()  # 0.75 * 100 + 0.25 * 200


@pytest.mark.parametrize("fusion", ["gated", "concat", "attention"])
def test_logits_have_the_size_of_the_image(fusion: str) -> None:
    network = ViewNetwork.of(backbones.load("packaged/efficientnet_lite0"), fusion, 4, views=3).requires_grad_(False)
    x = torch.randint(0, 256, (3, 2, 3, 45, 70), dtype=torch.uint8)
    out = network(*x, _there([1, 1, 1], [1, 0, 0]))
    assert out.shape == (2, 4, 45, 70) and out.isfinite().all()
    other = x.clone()
    other[1:, 1] = 3
    torch.testing.assert_close(network(*other, _there([1, 1, 1], [1, 0, 0]))[1], out[1])
    classes, confidence = answer(network, [x[0, 1].permute(1, 2, 0).numpy(), None, None])
    assert (classes == out[1].argmax(0).numpy()).mean() > 0.99
    assert confidence.dtype == np.uint8


def test_a_view_that_is_alone_is_seen_by_its_own_head() -> None:
    network = ViewNetwork.of(backbones.load("packaged/efficientnet_lite0"), "gated", 4, views=2).requires_grad_(False)
    network.decoder.curves[1] = 7.0
    x = torch.randint(0, 256, (2, 1, 3, 45, 70), dtype=torch.uint8)
    out = network(*x, _there([0, 1]))
    torch.testing.assert_close(out, network.of_one(1)(x[1]))
    assert not torch.allclose(out, network.of_one(0)(x[1]))
    assert network.of_one(1).decoder is network.decoder.alone[1] and network.scene.decoder is network.decoder.head


def test_a_picture_blended_in_pieces_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    network = ViewNetwork.of(backbones.load("packaged/efficientnet_lite0"), "gated", 4, views=2).requires_grad_(False)
    for gate in network.decoder.gates:
        for level in gate.levels:
            torch.nn.init.normal_(level.weight)
    images = list(np.random.default_rng(0).integers(0, 256, (2, 150, 200, 3), dtype=np.uint8))
    whole = views._blended(network, images)
    monkeypatch.setattr(views, "_TILE", 64)
    assert np.abs(views._blended(network, images).astype(int) - whole).max() <= 1


def test_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = backbones.load("packaged/efficientnet_lite0")
    with pytest.raises(UnknownName, match="gated"):
        ViewNetwork.of(backbone, "gate", 4, views=2)
    monkeypatch.setattr(views, "LARGEST", 32)
    network = ViewNetwork.of(backbone, "concat", 4, views=2)
    with pytest.raises(DataError, match="32 at most"):
        answer(network, [np.zeros((40, 40, 3), np.uint8), None])
