from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from torchgraft.adapt import AdaptOptions, DomainLoader, DomainNet, Net, dan, dann
from torchgraft.core.errors import DataError, OptionError
from torchgraft.core.options import build
from torchgraft.model import LinearHead, MlpHead
from torchgraft.train.loader import ArrayLoader


def test_all_options_out_of_range_are_told_at_once() -> None:
    with pytest.raises(OptionError, match=r"slope expects .*; rate expects .*got -1.*; optimizer expects .*'adam'"):
        dann.Options(rate=-1, slope=-1, optimizer="adam")
    with pytest.raises(OptionError, match="no option 'BOUNDS'"):
        build(dann.Options, {"BOUNDS": ()})
    assert build(dann.Options, {"hidden": 3, "rate": 1}).hidden == 3


def test_the_head_is_the_network_in_eval_mode(net) -> None:
    x = torch.randn(40, 6)
    net.train()
    for _ in range(5):
        net.logits((3 * x + 1,))
    with torch.no_grad():
        nn.init.normal_(net.bottleneck[1].weight)
        nn.init.normal_(net.bottleneck[1].bias)
        expected = net.eval().logits((x,)).numpy()
    head = net.fitted_head()
    assert isinstance(head, MlpHead)
    np.testing.assert_allclose(head.logits(x.numpy()), expected, atol=1e-5)


def test_the_head_folds_by_hand() -> None:
    """(2 x - 3) / 2 with gamma 5 and beta 1, then ReLU and a factor of 4: at x = 3 it is 4 (5 * 1.5 + 1)."""
    net = Net.fresh(nn.Identity(), 1, 1, bottleneck=1)
    linear, norm, _ = net.bottleneck
    for tensor, value in (
        (linear.weight, 2), (linear.bias, 0), (norm.running_mean, 3), (norm.running_var, 4), (norm.weight, 5),
        (norm.bias, 1), (net.head.weight, 4), (net.head.bias, 0),
    ):  # fmt: skip
        nn.init.constant_(tensor, value)
    assert net.fitted_head().logits(np.array([[3.0]])).item() == pytest.approx(34, rel=1e-5)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_a_fitted_head_is_where_training_can_start(kind: str) -> None:
    rng = np.random.default_rng(0)
    linear = LinearHead(rng.normal(size=(3, 5)), rng.normal(size=3))
    mlp = MlpHead(rng.normal(size=(5, 6)), rng.normal(size=5), linear.weight, linear.bias)
    head, z = (linear, rng.normal(size=(7, 5))) if kind == "linear" else (mlp, rng.normal(size=(7, 6)))
    net = Net.of_head(head)
    with torch.no_grad():
        logits = net.logits((torch.from_numpy(z).float(),)).numpy()
    np.testing.assert_allclose(logits, head.logits(z), atol=1e-5)
    back = net.fitted_head()
    assert type(back) is type(head)
    np.testing.assert_allclose(back.logits(z), head.logits(z), atol=1e-5)


def test_a_bottleneck_of_another_form_is_no_head() -> None:
    with pytest.raises(DataError, match="expected Linear, BatchNorm1d, ReLU"):
        Net(nn.Identity(), nn.Sequential(nn.Linear(2, 2), nn.Tanh()), nn.Linear(2, 2)).fitted_head()


def test_both_domains_go_up_as_one_batch(net, batch) -> None:
    step = dan.build(net, dan.Options())
    passed = step.passed(batch)
    together = net.features((torch.cat([batch.source.inputs[0], batch.target.inputs[0]]),))
    torch.testing.assert_close(torch.cat([passed.z_s, passed.z_t]), together)
    assert passed.logits_s.shape == (10, 3)
    assert passed.logits_t.shape == (8, 3)
    torch.testing.assert_close(step.supervised(passed), nn.functional.cross_entropy(passed.logits_s, batch.y))


def test_the_trade_off_weighs_what_a_method_adds(net, batch) -> None:
    def loss(trade_off: float) -> float:
        return dan.build(copy.deepcopy(net), dan.Options(trade_off=trade_off))(batch, 0.0).item()

    assert loss(2.0) - loss(0.0) == pytest.approx(2 * (loss(1.0) - loss(0.0)), rel=1e-4)


def test_a_method_without_source_has_no_cross_entropy(net) -> None:
    step = DomainNet(net, AdaptOptions())
    batch = DomainLoader(None, ArrayLoader(np.ones((4, 6), np.float32), np.zeros(4))).load(np.arange(4), None)
    passed = step.passed(batch)
    assert passed.z_s is passed.logits_s is None
    assert float(step.supervised(passed)) == 0
    with pytest.raises(NotImplementedError):
        step(batch, 0.0)


def test_the_network_trains_at_a_tenth_and_the_rest_at_the_full_rate() -> None:
    net = Net.fresh(nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6)), 6, 3, bottleneck=8)
    step = dann.build(net, dann.Options(hidden=5))
    rates = {id(p): group.rate for group in step.groups() for p in group.params}
    below = {id(p) for p in net.network.parameters()}
    assert rates.keys() == {id(p) for p in step.parameters()}
    assert {rate for i, rate in rates.items() if i in below} == {0.1}
    assert {rate for i, rate in rates.items() if i not in below} == {1.0}
    undecayed = {id(p) for group in step.groups() if not group.decay for p in group.params}
    assert undecayed == {id(p) for p in step.parameters() if p.ndim == 1}
    frozen = dann.build(net, dann.Options(hidden=5, network_rate=0.0))
    assert not below & {id(p) for group in frozen.groups() for p in group.params}


def test_a_network_that_does_not_train_stays_in_eval_mode() -> None:
    net = Net.fresh(nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5)), 6, 3, bottleneck=8)
    step = dan.build(net, dan.Options())
    assert step.train().net.network[1].training
    net.network.requires_grad_(False)
    assert not step.train().net.network[1].training
    assert step.net.bottleneck.training


def test_computes_over_the_whole_target_in_order(net) -> None:
    step = dan.build(net, dan.Options()).train()
    x = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)
    step.begin(DomainLoader(ArrayLoader(x, np.zeros(300)), ArrayLoader(x, np.zeros(300))))
    found = step.over_target(lambda batch: step.probabilities(batch.inputs))
    assert step.training
    with torch.no_grad():
        expected = step.eval().probabilities((torch.from_numpy(x),)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
