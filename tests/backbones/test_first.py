"""Cut transformers against the hidden states of the whole ones."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from torchgraft import backbones
from torchgraft.backbones import Backbone, Network
from torchgraft.core.errors import UserError
from torchgraft.core.types import TextPreprocessing


class _Chain(nn.Module):
    """An embedding and four blocks that add 1, 10, 100 and 1000."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 2)
        self.blocks = nn.ModuleList(_Add(10.0**i) for i in range(4))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        z = self.embedding(ids)
        for block in self.blocks:
            z = block(z)
        return z


class _Add(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.full((2,), value))

    def forward(self, z: Tensor) -> Tensor:
        return z + self.value


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Backbone]:
    """A tiny transformer under the name tiny/net; what is given replaces its fields."""

    def make(module: nn.Module | None = None, layout: str = "tokens") -> Backbone:
        network = Network(module=(module or _Chain()).eval().requires_grad_(False))
        found = Backbone(
            name="tiny/net", layout=layout, width=2, pooling="mean", parameters=18, licence="MIT", revision="1",
            preprocessing=TextPreprocessing(tokenizer="words", max_tokens=8), build=lambda: network, imagenet=70.0,
        )  # fmt: skip
        own = backbones.load
        monkeypatch.setattr(backbones, "load", lambda name: found if name == "tiny/net" else own(name))
        return found

    return make


@pytest.mark.parametrize(("k", "added"), [(1, 1.0), (2, 11.0), (3, 111.0)])
def test_it_stops_after_its_blocks(k: int, added: float, whole) -> None:
    base = whole()
    before = copy.deepcopy(base.module.state_dict())
    cut = backbones.load(f"first/{k}/tiny/net")
    ids = torch.tensor([[1, 4]])
    torch.testing.assert_close(cut.module(ids, None), base.module.embedding(ids) + added)
    assert (cut.name, cut.parameters) == (f"first/{k}/tiny/net", 10 + 2 * k)
    assert base.module.state_dict().keys() == before.keys(), "the whole network stays whole"
    assert cut.width == base.width
    assert cut.imagenet is None, "that is what all blocks reach"


def test_every_depth_has_its_own_revision(whole) -> None:
    base = whole()
    revisions = {backbones.load(f"first/{k}/tiny/net").revision for k in (1, 2)}
    assert len(revisions | {base.revision}) == 3
    assert backbones.load("first/1/tiny/net").revision in revisions


@pytest.mark.parametrize("number", ["0", "4", "9"])
def test_a_depth_that_is_not_there_is_refused(number: str, whole) -> None:
    whole()
    with pytest.raises(UserError, match="tiny/net has 4 blocks; expected 1 to 3"):
        backbones.load(f"first/{number}/tiny/net")


@pytest.mark.parametrize("name", ["first/x/tiny/net", "first/3", "first/-1/tiny/net", "first/2/net"])
def test_a_name_without_depth_or_network_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="expected first/K/provider/name"):
        backbones.load(name)


def test_other_networks_are_refused(whole) -> None:
    whole(layout="map")
    with pytest.raises(UserError, match="can't be cut"):
        backbones.load("first/2/tiny/net")
    whole(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)))
    with pytest.raises(UserError, match="can't be cut"):
        backbones.load("first/2/tiny/net")


def test_it_agrees_with_the_hidden_states_of_transformers() -> None:
    pytest.importorskip("transformers")
    if "packaged/minilm_l6" not in backbones.at_hand("text"):
        pytest.skip("the package of MiniLM's weights is not installed")
    base, cut = backbones.load("packaged/minilm_l6"), backbones.load("first/2/packaged/minilm_l6")
    ids = torch.tensor(base.tokenizer(["a small cat sat on the mat"]))
    mask = torch.ones_like(ids)
    with torch.inference_mode():
        states = base.module.model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
        torch.testing.assert_close(cut.module(ids, mask), states[2])
    assert cut.tokenizer(["a cat"]) == base.tokenizer(["a cat"])


def test_it_offers_nothing_by_itself() -> None:
    assert not [offer for offer in backbones.offers() if offer.name.startswith("first/")]
