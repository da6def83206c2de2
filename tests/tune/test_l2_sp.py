from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.func import functional_call

from torchgraft.core.errors import OptionError
from torchgraft.tune import l2_sp, lp_ft

QUICK = {"rate": 3e-3, "epochs": 2, "batch": 10}


def test_without_weights_it_is_lp_ft_to_the_bit(hard_text, alone):
    problem = alone(hard_text())
    ours = l2_sp.fit(problem, l2_sp.Options(alpha=0.0, beta=0.0, **QUICK))
    plain = lp_ft.fit(problem, lp_ft.Options(decay=0.0, **QUICK))
    np.testing.assert_array_equal(ours.logits, plain.logits)
    np.testing.assert_array_equal(ours.head.weight, plain.head.weight)


def test_the_penalty_by_hand(make_step):
    step, batch = make_step()
    before = step(batch, 0.0)
    step.network.requires_grad_(True)
    l2_sp.add(step, l2_sp.Options(alpha=0.5, beta=0.1))
    head = sum(p.detach().square().sum() for p in step.head.parameters())
    torch.testing.assert_close(step(batch, 0.0) - before, 0.1 / 2 * head)
    with torch.no_grad():
        step.network.module.embedding.weight[39] += 2.0  # a word that the batch has not: the class loss stays
    torch.testing.assert_close(step(batch, 0.0) - before, 0.1 / 2 * head + 0.5 / 2 * 8 * 2.0**2)


def test_weights_stay_nearer_to_where_they_were(hard_text, alone):
    problem = alone(hard_text())
    start = problem.resources.backbones["test/text"].module.state_dict()
    moved = []
    for alpha in (0.0, 10.0):
        candidate = l2_sp.fit(problem, l2_sp.Options(alpha=alpha, beta=0.0, **QUICK))
        (tuned,) = candidate.tuned.values()
        moved.append(sum(np.square(a - start[name].numpy()).sum() for name, a in tuned.arrays.items()))
    assert moved[1] < 0.5 * moved[0]


def test_no_weight_decay_unless_asked():
    assert l2_sp.Options().decay == 0
    with pytest.raises(OptionError, match=r"alpha expects a number of 0 or more, got -1.*beta expects"):
        l2_sp.Options(alpha=-1.0, beta=-1.0)


def test_level_of_torch_s_weight_decay_on_what_has_moved(make_step):
    """Decay of theta - theta_0 is the penalty on it: SGD on the difference, with torch's `weight_decay`, agrees."""
    step, batch = make_step()
    step.network.requires_grad_(True)
    start = {f"network.{name}": p.detach().clone() for name, p in step.network.named_parameters()}
    moved = {name: torch.zeros_like(p, requires_grad=True) for name, p in start.items()}
    decayed = torch.optim.SGD(moved.values(), lr=0.1, weight_decay=0.5)
    plain = torch.optim.SGD(step.network.parameters(), lr=0.1)
    for _ in range(5):  # first the reference, whose step has no penalty
        decayed.zero_grad()
        functional_call(step, {name: start[name] + moved[name] for name in start}, (batch, 0.0)).backward()
        decayed.step()
    l2_sp.add(step, l2_sp.Options(alpha=0.5, beta=0.0))
    for _ in range(5):
        plain.zero_grad()
        step(batch, 0.0).backward()
        plain.step()
    for name, p in step.network.named_parameters():
        torch.testing.assert_close(p, start[f"network.{name}"] + moved[f"network.{name}"], atol=1e-5, rtol=1e-4)
