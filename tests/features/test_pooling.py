from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from torchgraft.core.errors import OptionError
from torchgraft.features._pool_modules import MapPool, TokenPool
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
