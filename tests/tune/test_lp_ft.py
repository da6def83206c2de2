from __future__ import annotations

import copy
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import nn
from torch.nn import functional

from torchgraft import features
from torchgraft.train.loader import TextLoader
from torchgraft.train.optim import mixed
from torchgraft.train.schedule import cosine
from torchgraft.tune import linear_probe, lp_ft
from torchgraft.tune.base import Skip


def test_starts_at_the_exact_probe_and_is_better_in_the_end(hard_text):
    problem = hard_text(k=3)
    probe = linear_probe.fit(problem, linear_probe.Options(source="test/text"))
    candidate = lp_ft.fit(problem, lp_ft.Options(rate=1e-2, epochs=6, batch=10))
    starts = [history["legs"][0]["accuracy"] for history in candidate.history[:-1]]
    right = probe.logits.argmax(1) == problem.y[probe.rows]
    place = np.cumsum([0] + [len(held) for _, held in problem.folds])
    expected = [right[a:b].mean() for a, b in pairwise(place)]
    np.testing.assert_allclose(starts, expected)
    assert (candidate.logits.argmax(1) == problem.y[candidate.rows]).mean() > right.mean()
    assert candidate.parts[0].mapping.kind == "l2"


def test_without_a_rate_to_speak_of_it_stays_at_the_probe(hard_text):
    heard = []
    problem = hard_text()
    problem = replace(problem, resources=replace(problem.resources, on_leg=heard.append))
    with pytest.raises(Skip, match="beats the linear probe it starts from"):
        lp_ft.fit(problem, lp_ft.Options(rate=1e-30, epochs=2))
    losses = [leg["loss"] for leg in heard[-1]["legs"]]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-6)


def test_an_update_by_hand(trained_photos, alone):
    """Two updates with all samples: the first has rate 0, the second moves each weight by the rate, whatever its slope.

    AdamW's step is m / sqrt(v), which is the sign of a gradient that stays the same, and decays by rate * decay.
    """
    problem = alone(trained_photos())
    probe = linear_probe.fit(problem, linear_probe.Options(source="test/photo")).head
    candidate = lp_ft.fit(problem, lp_ft.Options(rate=1e-3, epochs=2, batch=24, decay=0.1, augment="none"))
    rate = 1e-3 * (1 + math.cos(math.pi * 4 / 9)) / 2  # half way, the first tenth being warm-up
    moved = candidate.head.weight - (1 - 0.1 * rate) * probe.weight
    z = problem.blocks["test/photo"] / np.linalg.norm(problem.blocks["test/photo"], axis=1, keepdims=True)
    slope = (softmax(probe.logits(z), axis=1) - np.eye(2)[problem.y]).T @ z
    np.testing.assert_allclose(moved, -rate * np.sign(slope), rtol=1e-2)  # slopes of 1e-6 feel AdamW's epsilon


def test_level_of_a_plain_training_loop(hard_text, alone):
    """The weights of ten lines of PyTorch that start at the same probe, on features of length 1."""
    problem = alone(hard_text())
    probe = linear_probe.fit(problem, linear_probe.Options(source="test/text")).head
    backbone = problem.resources.backbones["test/text"]
    loader = TextLoader(problem.blocks["text"], problem.y, backbone)
    network, head = copy.deepcopy(features.compose(backbone, "mean")).requires_grad_(True).train(), nn.Linear(8, 3)
    head.load_state_dict({"weight": torch.tensor(probe.weight), "bias": torch.tensor(probe.bias)})
    parameters = [*network.parameters(), *head.parameters()]
    engine, schedule = torch.optim.AdamW(parameters, weight_decay=0.0), cosine()
    for t in range(12):
        engine.param_groups[0]["lr"] = 1e-3 * schedule(t / 12)
        torch.manual_seed(mixed(1, 0, 0, t, 0))  # dropout draws what it draws in the loop
        batch = loader.load(loader.plan(10, mixed(0, 0, 0, t // 6))[t % 6], None)
        engine.zero_grad()
        functional.cross_entropy(head(functional.normalize(network(*batch.inputs))), batch.y).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        engine.step()
    candidate = lp_ft.fit(problem, lp_ft.Options(rate=1e-3, epochs=2, batch=10, decay=0.0))
    assert candidate.chosen["epochs"] == 2
    (tuned,) = candidate.tuned.values()
    expected = network.module.state_dict()
    for name, array in tuned.arrays.items():
        np.testing.assert_allclose(array, expected[name], atol=2e-5, err_msg=name)
    np.testing.assert_allclose(candidate.head.weight, head.weight.detach(), atol=2e-5)
