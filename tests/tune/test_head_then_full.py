from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from torchgraft.core.errors import OptionError
from torchgraft.train.loader import TextLoader
from torchgraft.train.optim import mixed
from torchgraft.train.schedule import cosine
from torchgraft.tune import head_then_full


def test_first_the_head_then_all_at_a_tenth(hard_text):
    candidate = head_then_full.fit(hard_text(), head_then_full.Options(rate=1e-2, epochs=4, batch=10))
    head, everything = candidate.history[0]["phases"]
    assert [phase["epochs"] for phase in (head, everything)] == [2, 2]
    assert head["name"].endswith(": head")
    assert everything["name"].endswith(": all layers")
    assert head["trained"] == 8 * 3 + 3
    assert everything["trained"] == everything["parameters"]
    assert {group["rate"] for group in head["groups"]} == {1e-2}
    assert {group["rate"] for group in everything["groups"]} == {1e-2 * 0.1}
    assert candidate.parts[0].mapping.kind == "identity"


def test_only_the_last_layer_moves(hard_text):
    options = head_then_full.Options(rate=1e-2, epochs=4, batch=10, last=1, head_epochs=1, unfrozen_rate=0.5)
    candidate = head_then_full.fit(hard_text(), options)
    assert [phase["epochs"] for phase in candidate.history[0]["phases"]] == [1, 3]
    (tuned,) = candidate.tuned.values()
    assert tuned.arrays
    assert all(name.startswith("blocks.1.") for name in tuned.arrays)


def test_frozen_batchnorm_stays_as_it_was(trained_photos):
    options = head_then_full.Options(rate=1e-2, epochs=4, batch=16, last=1, augment="none")
    candidate = head_then_full.fit(trained_photos(), options)
    (tuned,) = candidate.tuned.values()
    assert set(tuned.arrays) <= {"2.0.weight"}
    assert [phase["norm"] for phase in candidate.history[0]["phases"]] == ["frozen", "frozen"]
    with pytest.raises(OptionError, match="last 1 of 3 layers.*statistics of frozen layers would move"):
        head_then_full.fit(trained_photos(), head_then_full.Options(rate=1e-2, epochs=4, last=1, norm="train"))


def test_without_a_second_rate_it_is_the_head_alone(hard_text, alone):
    problem = alone(hard_text())
    options = head_then_full.Options(rate=1e-2, epochs=2, unfrozen_rate=1e-30, hidden=8)
    candidate = head_then_full.fit(problem, options)
    (tuned,) = candidate.tuned.values()
    assert all(np.abs(array).max() < 1e-25 for array in tuned.arrays.values())
    expected = candidate.head.logits(problem.blocks["test/text"])
    np.testing.assert_allclose(candidate.logits, expected, atol=1e-5, rtol=1e-5)


def test_options_out_of_range_are_told_together():
    with pytest.raises(OptionError, match=r"last expects.*unfrozen_rate expects.*head_epochs expects.*epochs expects"):
        head_then_full.Options(last=0, unfrozen_rate=0.0, head_epochs=-1, epochs=1)
    with pytest.raises(OptionError, match="epochs expects 0, or more than the head's, got 3"):
        head_then_full.Options(head_epochs=3, epochs=3)


def test_the_first_phase_is_a_linear_layer_on_the_features(hard_text, alone):
    """torch's own layer and AdamW on the frozen features, with the same batches and schedule."""
    problem = alone(hard_text())
    z, y = torch.from_numpy(problem.blocks["test/text"]), torch.from_numpy(problem.y)
    loader = TextLoader(problem.blocks["text"], problem.y, problem.resources.backbones["test/text"])
    torch.manual_seed(0)
    head = nn.Linear(8, 3)
    head.bias.data.fill_(float(np.log(1 / 3)))
    engine, schedule = torch.optim.AdamW(head.parameters(), weight_decay=0.0), cosine()
    for t in range(12):
        engine.param_groups[0]["lr"] = 1e-2 * schedule(t / 12)
        rows = torch.from_numpy(loader.plan(10, mixed(0, 0, 0, t // 6))[t % 6])
        engine.zero_grad()
        functional.cross_entropy(head(z[rows]), y[rows]).backward()
        nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        engine.step()
    options = head_then_full.Options(rate=1e-2, epochs=3, head_epochs=2, batch=10, unfrozen_rate=1e-30, decay=0.0)
    candidate = head_then_full.fit(problem, options)
    np.testing.assert_allclose(candidate.head.weight, head.weight.detach(), atol=1e-5)
    np.testing.assert_allclose(candidate.head.bias, head.bias.detach(), atol=1e-5)
