from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from torchgraft import backbones
from torchgraft.core.errors import OptionError, UserError
from torchgraft.features import compose
from torchgraft.features._pool_modules import LevelPool, MapPool, TokenPool
from torchgraft.features.pooling import choices, pool, resolve, width

MAP = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]], [[-1.0, 0.0], [0.0, 2.0]]]])  # 1 x 2 x 2 x 2
TOKENS = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [[1.0, 1.0], [2.0, 2.0], [9.0, 9.0]]])  # 2 x 3 x 2
MASK = torch.tensor([[1, 1, 1], [1, 1, 0]])


def test_map_pools_by_hand() -> None:
    assert MapPool("avg")(MAP).tolist() == [[4.0, 0.25]]
    assert MapPool("max")(MAP).tolist() == [[7.0, 2.0]]
    assert MapPool("avgmax")(MAP).tolist() == [[4.0, 0.25, 7.0, 2.0]]
    # (1 + 27 + 125 + 343) / 4 = 124; (8 + 3e-18) / 4 = 2
    torch.testing.assert_close(MapPool("gem")(MAP), torch.tensor([[124.0 ** (1 / 3), 2.0 ** (1 / 3)]]))


def test_gem_lies_between_mean_and_maximum() -> None:
    z = torch.rand(4, 3, 5, 5) + 0.1
    torch.testing.assert_close(MapPool("gem", p=1)(z), MapPool("avg")(z))
    torch.testing.assert_close(MapPool("gem", p=200)(z), MapPool("max")(z), rtol=0.03, atol=0)


def test_levels_by_hand() -> None:
    first, other = torch.full((1, 1, 4, 4), 9.0), torch.tensor([[[[2.0, 4.0]]]])
    # of 1 3 5 7: mean 4, deviations 3 1 1 3, so the variance is 5; of -1 0 0 2: mean 1/4, variance 5/4 - 1/16
    by_hand = [4.0, 0.25, 7.0, 2.0, 5.0**0.5, 1.1875**0.5, 3.0, 4.0, 1.0]
    torch.testing.assert_close(LevelPool()([first, MAP, other]), torch.tensor([by_hand]))


def test_levels_of_maps_that_do_not_vary_and_their_gradient() -> None:
    z = torch.full((1, 2, 3, 3), 5.0, requires_grad=True)
    found = LevelPool()([z, z])
    torch.testing.assert_close(found.detach(), torch.tensor([[5.0, 5, 5, 5, 0, 0] * 2]), rtol=0, atol=1e-5)
    found.sum().backward()
    assert torch.isfinite(z.grad).all()


def test_levels_of_a_real_network_are_those_of_its_blocks() -> None:
    backbone = backbones.load("packaged/efficientnet_lite0")
    x = torch.randint(0, 255, (2, 224, 224, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    seen = []
    places = [backbone.module.blocks[i].register_forward_hook(lambda _, __, z: seen.append(z)) for i in (10, 15)]
    with torch.no_grad():
        backbone.module((x.permute(0, 3, 1, 2) - 127.0) / 128)
        for place in places:
            place.remove()
        found = compose(backbone, "levels")(x)
    assert [tuple(z.shape[1:]) for z in seen] == [(112, 14, 14), (320, 7, 7)]
    wanted = [one for z in seen for one in (z.mean((2, 3)), z.amax((2, 3)), z.flatten(2).std(2, correction=0))]
    torch.testing.assert_close(found, torch.cat(wanted, 1), rtol=1e-4, atol=1e-4)
    assert found.shape[1] == width(backbone, "levels")


def test_levels_need_a_network_that_has_them(photo_backbone, text_backbone) -> None:
    assert resolve(photo_backbone, "levels") == "levels"
    with pytest.raises(UserError, match="no maps at several strides"):
        width(photo_backbone, "levels")
    with pytest.raises(OptionError, match="'levels' doesn't fit test/text, which gives tokens"):
        pool(text_backbone, "levels")


def test_token_pools_by_hand() -> None:
    assert TokenPool("cls")(TOKENS, MASK).tolist() == [[1.0, 2.0], [1.0, 1.0]]
    assert TokenPool("mean")(TOKENS, MASK).tolist() == [[3.0, 4.0], [1.5, 1.5]]
    assert TokenPool("clsmean")(TOKENS, MASK).tolist() == [[1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 1.5, 1.5]]
    assert TokenPool("last")(TOKENS, MASK).tolist() == [[5.0, 6.0], [2.0, 2.0]]
    assert TokenPool("last")(TOKENS).tolist() == [[5.0, 6.0], [9.0, 9.0]]


def test_the_prefix_is_left_out_of_the_mean() -> None:
    assert TokenPool("mean", prefix=1)(TOKENS).tolist() == [[4.0, 5.0], [5.5, 5.5]]
    assert TokenPool("mean", prefix=1)(TOKENS, MASK).tolist() == [[4.0, 5.0], [2.0, 2.0]]


def test_a_row_without_tokens_gives_zeros() -> None:
    assert TokenPool("mean")(TOKENS, torch.zeros(2, 3, dtype=torch.long)).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_padding_changes_nothing() -> None:
    z = torch.randn(2, 3, 4)
    longer = torch.cat([z, torch.randn(2, 2, 4)], dim=1)
    mask = torch.tensor([[1, 1, 1, 0, 0]] * 2)
    for name in ("cls", "mean", "clsmean", "last"):
        torch.testing.assert_close(TokenPool(name)(z, mask[:, :3]), TokenPool(name)(longer, mask))


def test_width_is_what_comes_out(photo_backbone, text_backbone) -> None:
    for name in choices(photo_backbone):
        assert pool(photo_backbone, name)(torch.rand(2, 5, 3, 3)).shape == (2, width(photo_backbone, name))
    for name in choices(text_backbone):
        z = pool(text_backbone, name)(torch.rand(2, 3, 6), torch.ones(2, 3, dtype=torch.long))
        assert z.shape == (2, width(text_backbone, name))


def test_names_are_resolved(photo_backbone, text_backbone) -> None:
    assert resolve(photo_backbone) == "avg"
    assert resolve(text_backbone, "avg") == "mean"
    with pytest.raises(OptionError, match=r"no pooling 'avgmx'. Did you mean 'avgmax'"):
        pool(photo_backbone, "avgmx")
    with pytest.raises(OptionError, match=r"'cls' doesn't fit test/photo, which gives a map. For test/photo: avg, max"):
        pool(photo_backbone, "cls")


def test_class_tokens_need_a_prefix(photo_backbone) -> None:
    without = replace(photo_backbone, layout="tokens", pooling="mean")
    assert choices(without) == ("mean",)
    with pytest.raises(OptionError, match="without a class token"):
        pool(without, "cls")
    assert choices(replace(without, prefix=1)) == ("mean", "cls", "clsmean")
