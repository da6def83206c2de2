"""AdvEnt and MinEnt: maps of information by hand and by numpy, two players whose gradients are those of turns."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from torchgraft.adapt import DomainBatch, Target, adapt
from torchgraft.adapt.advent import (
    AdventMaps,
    Options,
    advent,
    build,
    map_discriminator,
    min_entropy,
    self_information,
)
from torchgraft.train.dense_loss import dense_cross_entropy
from torchgraft.train.step import Batch


class _Small(nn.Module):
    """A network of maps: a convolution as levels, another as decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.decoder = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.levels(x))


def _pictures(n: int, *size: int, moved: float = 0.0) -> tuple[Tensor, Tensor]:
    """Pictures whose brightest channel is the class of a pixel."""
    y = torch.randint(0, 3, (n, *size))
    x = functional.one_hot(y, 3).permute(0, 3, 1, 2).float() + 0.2 * torch.randn(n, 3, *size) + moved
    return x, y


def _maps(options: Options) -> tuple[AdventMaps, DomainBatch]:
    torch.manual_seed(0)
    step = AdventMaps(_Small(), dense_cross_entropy, 3, options)
    (x_s, y), (x_t, _) = _pictures(2, 40, 36), _pictures(3, 33, 48, moved=0.5)
    return step, DomainBatch(Batch((x_s,), y, np.arange(2)), Target((x_t,), np.arange(3)))


def test_information_by_hand() -> None:
    """p = 1/2, 1/4, 1/4: -p log p is log 2 / 2 of each, over log 3."""
    logits = torch.tensor([0.5, 0.25, 0.25]).log().view(1, 3, 1, 1) + 7
    torch.testing.assert_close(self_information(logits).flatten(), torch.full((3,), math.log(2) / 2 / math.log(3)))
    assert min_entropy(logits).item() == pytest.approx(1.5 * math.log(2) / math.log(3), rel=1e-5)


def test_where_all_classes_are_as_likely_nothing_is_known() -> None:
    even = torch.zeros(2, 5, 4, 3)
    torch.testing.assert_close(self_information(even), torch.full((2, 5, 4, 3), 1 / 5))
    assert min_entropy(even).item() == pytest.approx(1)
    sure = torch.zeros(2, 5, 4, 3)
    sure[:, 2] = 1000
    assert self_information(sure).abs().max() == 0  # not NaN where p is 0


def test_information_is_the_formula_of_the_authors() -> None:
    """Their `prob_2_entropy` and `entropy_loss`, in numpy: logarithms to base 2."""
    logits = torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(0))
    p = logits.double().softmax(1).numpy()
    expected = -p * np.log2(p + 1e-30) / np.log2(4)
    np.testing.assert_allclose(self_information(logits).numpy(), expected, atol=1e-6)
    assert min_entropy(logits).item() == pytest.approx(-(p * np.log2(p + 1e-30)).sum() / (2 * 6 * 5 * np.log2(4)))


def test_losses_are_log_2_where_nothing_can_be_told() -> None:
    z = torch.randn(2, 3, 32, 32)
    tell = map_discriminator(3, 4)
    for p in tell.parameters():
        nn.init.zeros_(p)
    for loss in advent(z, z, tell):
        assert loss.item() == pytest.approx(math.log(2))


def test_losses_by_hand() -> None:
    """D reads I of the first class: 0 of a sure source pixel, log 2 / (2 log 2) = 1/2 of an even target pixel."""
    tell = nn.Linear(2, 1, bias=False)
    tell.weight.data = torch.tensor([[2 * math.log(3), 0.0]])
    of_network, of_discriminator = advent(torch.tensor([[100.0, 0.0]]), torch.zeros(1, 2), tell)
    assert of_network.item() == pytest.approx(-math.log(3 / 4), rel=1e-5)  # sigma(log 3) = 3/4
    assert of_discriminator.item() == pytest.approx((-math.log(1 / 2) - math.log(1 / 4)) / 2, rel=1e-5)


def test_gradients_are_those_of_two_players_in_turns() -> None:
    """As the authors train: D with fixed weights for the network, then the network's maps detached for D."""
    step, batch = _maps(Options(trade_off=0.3, entropy=0.2, hidden=4))
    step.eval().network.decoder.weight.data *= 10  # sure answers: else no unit of D is far from 0
    other = copy.deepcopy(step)
    step(batch, 0.5).backward()

    logits_s, logits_t = other.network(*batch.source.inputs), other.network(*batch.target.inputs)
    p = logits_t.softmax(1)
    maps = -p * torch.log2(p + 1e-30) / math.log2(3)
    told = other.discriminator(maps)
    fooled = functional.binary_cross_entropy(told.sigmoid(), torch.ones_like(told))
    whole = functional.cross_entropy(logits_s, batch.y) + 0.3 * fooled + 0.2 * maps.sum(1).mean()
    of_network = torch.autograd.grad(whole, list(other.network.parameters()))
    own = 0.0
    for logits, domain in ((logits_s, 1.0), (logits_t, 0.0)):
        p = logits.detach().softmax(1)
        told = other.discriminator(-p * torch.log2(p + 1e-30) / math.log2(3)).sigmoid()
        own = own + functional.binary_cross_entropy(told, torch.full_like(told, domain)) / 2
    of_discriminator = torch.autograd.grad(own, list(other.discriminator.parameters()))
    for p, expected in zip(step.network.parameters(), of_network, strict=True):
        torch.testing.assert_close(p.grad, expected, atol=1e-6, rtol=1e-3)
    for p, expected in zip(step.discriminator.parameters(), of_discriminator, strict=True):
        torch.testing.assert_close(p.grad, expected, atol=1e-6, rtol=1e-3)


def test_the_discriminator_is_the_paper_s_but_for_its_width() -> None:
    made = map_discriminator(11, 64)
    found = [layer for layer in made if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in found] == [64, 128, 256, 512, 1]
    assert {(layer.kernel_size, layer.stride, layer.padding) for layer in found} == {((4, 4), (2, 2), (1, 1))}
    assert map_discriminator(11, 4)(torch.zeros(2, 11, 96, 64)).shape == (2, 1, 3, 2)
    assert map_discriminator(11, 4)(torch.zeros(2, 11, 12, 40)).shape == (2, 1, 1, 1)


def test_without_a_discriminator_it_is_min_ent() -> None:
    step, batch = _maps(Options(trade_off=0, entropy=0.7))
    step.eval()
    assert not list(step.discriminator.parameters())
    logits_s, logits_t = step.network(*batch.source.inputs), step.network(*batch.target.inputs)
    expected = dense_cross_entropy(logits_s, batch.y) + 0.7 * min_entropy(logits_t)
    assert step(batch, 0.0).item() == pytest.approx(expected.item(), rel=1e-6)


def test_what_trains_of_a_network_of_maps() -> None:
    step, _ = _maps(Options(network_rate=0.1, hidden=4))
    rates = {id(p): group.rate for group in step.groups() for p in group.params}
    assert {rates[id(p)] for p in step.network.levels.parameters()} == {0.1}
    rest = [*step.network.decoder.parameters(), *step.discriminator.parameters()]
    assert {rates[id(p)] for p in rest} == {1.0}
    still, _ = _maps(Options(network_rate=0, hidden=4))
    for p in still.network.levels.parameters():
        p.requires_grad_(False)
    assert len([p for group in still.groups() for p in group.params]) == 2 + 10
    assert not still.train().network.levels.training and still.network.decoder.training


def test_maps_of_the_domains_come_nearer() -> None:
    """The target is paler, so it is answered less surely; against D as surely as before, or nearly."""

    def trained(options: Options) -> float:
        step, _ = _maps(options)
        optimizer = torch.optim.Adam(step.parameters(), 5e-3)
        for i in range(80):
            torch.manual_seed(i)
            (x_s, y), (x_t, _) = _pictures(4, 32, 32), _pictures(4, 32, 32)
            batch = DomainBatch(Batch((x_s,), y, np.arange(4)), Target((0.4 * x_t,), np.arange(4)))
            optimizer.zero_grad()
            step.eval()(batch, 0.0).backward()
            optimizer.step()
        with torch.no_grad():
            return (min_entropy(step.network(0.4 * x_t)) - min_entropy(step.network(x_s))).item()

    plain, adapted = trained(Options(trade_off=1e-9, hidden=8)), trained(Options(trade_off=1.0, hidden=8))
    assert plain > 0.2 and adapted < plain - 0.1


def test_samples_are_maps_of_one_place(net, batch) -> None:
    step = build(net, Options(hidden=16, trade_off=0.5, entropy=0.1)).eval()
    passed = step.passed(batch)
    of_network, of_discriminator = advent(passed.logits_s, passed.logits_t, step.discriminator)
    expected = step.supervised(passed) + 0.5 * of_network + of_discriminator + 0.1 * min_entropy(passed.logits_t)
    assert step(batch, 0.3).item() == pytest.approx(expected.item(), rel=1e-6)


def test_is_better_than_the_source_alone_where_the_target_is_moved(shift, quick) -> None:
    plain, found = (
        adapt(name, shift.xs, shift.ys, shift.xt, n_classes=3, options=quick) for name in ("source_only", "advent")
    )
    assert (found.logits.argmax(1) == shift.yt).mean() > (plain.logits.argmax(1) == shift.yt).mean() + 0.1
