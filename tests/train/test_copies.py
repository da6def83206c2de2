from __future__ import annotations

import torch
from torch import nn

from torchgraft.train._copies import Kept, copied, deep_copied


def test_copies_stay_when_the_original_moves_and_reuse_their_memory() -> None:
    net = nn.Linear(2, 2)
    first = copied(net.state_dict())
    before = first["weight"].clone()
    with torch.no_grad():
        net.weight.add_(1)
    assert torch.equal(first["weight"], before)
    again = copied(net.state_dict(), first)
    assert again["weight"].data_ptr() == first["weight"].data_ptr()
    assert torch.equal(again["weight"], before + 1)


def test_deep_copies_of_nested_values_keep_the_layout_of_memory() -> None:
    z = torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last)
    state = {"state": {0: {"m": z, "step": 3}}, "groups": [{"betas": (0.9, 0.999), "params": [0]}]}
    copy = deep_copied(state)
    z.add_(1)
    state["groups"][0]["params"].append(1)
    assert not copy["state"][0]["m"].any()
    assert copy["state"][0]["m"].stride() == z.stride()
    assert copy["groups"] == [{"betas": (0.9, 0.999), "params": [0]}]


def test_what_counts_is_the_average_mixed_with_the_origin_by_hand() -> None:
    net = nn.Linear(1, 1, bias=False)
    net.weight.data.fill_(1.0)
    kept = Kept(net, 0.5, 0.25)
    net.weight.data.fill_(2.0)
    kept.update()  # momentum min(0.5, 1/10): 0.1 * 1 + 0.9 * 2 = 1.9
    with kept.applied():
        assert net.weight.item() == torch.tensor(0.75 * 1.0 + 0.25 * 1.9).item()
    assert net.weight.item() == 2.0
    assert kept.weights()["weight"].item() == torch.tensor(1.225).item()
    assert kept.words == "ema 0.5, wise 0.25"
    other = Kept(nn.Linear(1, 1, bias=False), 0.5, 0.25)
    other.load_state(kept.state())
    other.module.load_state_dict(net.state_dict())
    assert torch.equal(other.weights()["weight"], kept.weights()["weight"])


def test_an_error_inside_brings_the_own_weights_back() -> None:
    net = nn.Linear(1, 1)
    kept = Kept(net, 0.0, 0.5)
    net.weight.data.add_(1)
    before = net.weight.clone()
    try:
        with kept.applied():
            raise ValueError
    except ValueError:
        pass
    assert torch.equal(net.weight, before)


def test_without_average_and_origin_the_weights_are_the_own_ones() -> None:
    net = nn.Linear(2, 2)
    kept = Kept(net, 0.0, 1.0)
    assert torch.equal(kept.weights()["weight"], net.weight)
    assert kept.words == "trained"
