from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from torchgraft import features
from torchgraft.core.errors import OptionError
from torchgraft.model import LinearHead, MlpHead
from torchgraft.train.loader import TextLoader
from torchgraft.train.optim import mixed
from torchgraft.train.schedule import cosine
from torchgraft.tune import full


def test_everything_moves_at_one_rate_from_a_random_head(hard_text):
    problem = hard_text()
    candidate = full.fit(problem, full.Options(rate=1e-3, epochs=2, batch=10))
    (phase,) = candidate.history[0]["phases"]
    assert {group["rate"] for group in phase["groups"]} == {1e-3}
    assert phase["trained"] == phase["parameters"]
    assert candidate.parts[0].mapping.kind == "identity"
    assert isinstance(candidate.head, LinearHead)
    (tuned,) = candidate.tuned.values()
    names = set(dict(problem.resources.backbones["test/text"].module.named_parameters()))
    # softmax(q . k) knows no bias that all keys share
    assert set(tuned.arrays) <= names
    assert len(tuned.arrays) >= len(names) - 2
    assert candidate.chosen["of"] == 2


def test_with_a_vanishing_rate_it_is_a_random_head_on_frozen_features(hard_text, alone):
    problem = alone(hard_text())
    candidate = full.fit(problem, full.Options(rate=1e-30, epochs=2))
    (tuned,) = candidate.tuned.values()
    assert all(np.abs(array).max() < 1e-25 for array in tuned.arrays.values())  # biases of 0 that moved by the rate
    np.testing.assert_allclose(
        candidate.logits, candidate.head.logits(problem.blocks["test/text"]), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (0.5, 0.3, 0.2)),
        ({"class_weight": "balanced"}, (1 / 3, 1 / 3, 1 / 3)),
        ({"logit_adjustment": 1.0}, (1 / 3, 1 / 3, 1 / 3)),
    ],
)
def test_the_head_begins_at_the_class_frequencies(hard_text, alone, given, expected):
    problem = hard_text()
    y = np.repeat([0, 1, 2], [30, 18, 12])
    problem = alone(replace(problem, y=y))
    candidate = full.fit(problem, full.Options(rate=1e-30, epochs=1, **given))
    np.testing.assert_allclose(np.exp(candidate.head.bias) / np.exp(candidate.head.bias).sum(), expected, rtol=1e-5)


def test_a_hidden_layer_trains_and_is_shipped(hard_text, alone, shipped):
    problem = alone(hard_text())
    candidate = full.fit(problem, full.Options(rate=3e-3, epochs=3, batch=10, hidden=16, dropout=0.2))
    assert isinstance(candidate.head, MlpHead)
    assert candidate.head.inner.shape == (16, 8)
    if candidate.chosen["epochs"] == 3:
        np.testing.assert_allclose(shipped(problem, candidate), candidate.logits, atol=1e-4)
    with pytest.raises(OptionError, match=r"hidden expects a width.*dropout expects a share"):
        full.Options(hidden=-1, dropout=1.0)


def test_level_of_a_plain_training_loop(hard_text, alone):
    """The weights of ten lines of PyTorch, with the same head, batches, schedule and clipping."""
    problem = alone(hard_text())
    options = full.Options(rate=1e-3, epochs=2, batch=10, decay=0.0)
    backbone = problem.resources.backbones["test/text"]
    loader = TextLoader(problem.blocks["text"], problem.y, backbone)
    torch.manual_seed(0)
    network, head = features.compose(backbone, "mean"), nn.Linear(8, 3)
    head.bias.data.fill_(float(np.log(1 / 3)))
    reference = {name: p.clone() for name, p in network.state_dict().items()}
    for p in network.parameters():
        p.requires_grad_(True)
    network.train()
    parameters = [*network.parameters(), *head.parameters()]
    engine, schedule = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.0), cosine()
    try:
        for t in range(12):
            rows = loader.plan(10, mixed(0, 0, 0, t // 6))[t % 6]
            engine.param_groups[0]["lr"] = 1e-3 * schedule(t / 12)
            torch.manual_seed(mixed(1, 0, 0, t, 0))  # dropout draws what it draws in the loop
            batch = loader.load(rows, None)
            loss = functional.cross_entropy(head(network(*batch.inputs)), batch.y)
            engine.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            engine.step()
        expected = {name: p.detach().clone() for name, p in network.module.state_dict().items()}
    finally:
        network.load_state_dict(reference)
        network.eval().requires_grad_(False)
    candidate = full.fit(problem, options)
    assert candidate.chosen["epochs"] == 2
    (tuned,) = candidate.tuned.values()
    for name, array in tuned.arrays.items():
        np.testing.assert_allclose(array, expected[name], atol=2e-5, err_msg=name)
    np.testing.assert_allclose(candidate.head.weight, head.weight.detach(), atol=2e-5)
