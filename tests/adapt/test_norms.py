from __future__ import annotations

import numpy as np
import torch
from torch import nn

from torchgraft.adapt import DomainLoader, Net
from torchgraft.adapt._norms import batch_norms, follow_target
from torchgraft.train.loader import ArrayLoader, Subset
from torchgraft.train.norm import set_norm


def deep() -> Net:
    """BatchNorm below and above."""
    torch.manual_seed(0)
    return Net.fresh(nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Dropout(0.5)), 5, 3, bottleneck=4)


def test_finds_every_layer_from_the_input_up() -> None:
    net = deep()
    assert batch_norms(net) == [net.network[1], net.bottleneck[1]]
    set_norm(net.network, "frozen")
    assert len(batch_norms(net)) == 2, "whatever its policy"
    assert batch_norms(nn.LayerNorm(3)) == []


def test_the_first_layer_has_the_mean_of_the_rows_adapted_to(shift) -> None:
    """600 rows in order of class, in three batches; a third of the loader is not of the target."""
    x = np.concatenate([shift.xt[np.argsort(shift.yt)]] * 7)[:900]
    net, rows = deep().train(), np.arange(600)
    domains = DomainLoader(None, Subset(ArrayLoader(x, None), rows))
    assert follow_target(net, domains, torch.device("cpu")) == 2
    with torch.no_grad():
        z = net.network[0](torch.from_numpy(x[:600]))
    torch.testing.assert_close(net.network[1].running_mean, z.mean(0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(net.network[1].running_var, z.var(0), atol=0, rtol=0.03)
    assert net.training


def test_frozen_statistics_are_the_same_bits(shift) -> None:
    net = deep()
    set_norm(net.network, "frozen")
    before = {name: tensor.clone() for name, tensor in net.network.state_dict().items()}
    assert follow_target(net, DomainLoader(None, ArrayLoader(shift.xt, None)), torch.device("cpu")) == 1
    assert all(torch.equal(before[name], tensor) for name, tensor in net.network.state_dict().items())
