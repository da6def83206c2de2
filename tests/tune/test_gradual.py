from __future__ import annotations

from math import floor

import numpy as np
import pytest

from torchgraft.core.errors import OptionError
from torchgraft.tune import gradual


def test_a_layer_more_in_every_phase(hard_text):
    candidate = gradual.fit(hard_text(), gradual.Options(rate=1e-2, epochs=6, batch=10))
    phases = candidate.history[0]["phases"]
    assert [phase["name"].rpartition(": ")[2] for phase in phases] == [
        "head", "head and last 1", "head and last 2", "all layers",
    ]  # fmt: skip
    assert [phase["epochs"] for phase in phases] == [1, 1, 1, 3]
    embedding, block, head = 40 * 8, 3 * (8 * 8 + 8) + 16, 8 * 3 + 3
    assert [phase["trained"] for phase in phases] == [
        head,
        head + block,
        head + 2 * block,
        head + 2 * block + embedding,
    ]
    rates = {group["name"].removesuffix(" (no decay)"): group["rate"] for group in phases[-1]["groups"]}
    expected = {"head": 1e-2, "module.blocks.1": 1e-2 / 2.6, "module.blocks.0": 1e-2 / 2.6**2}
    assert rates == pytest.approx(expected | {"module.embedding": 1e-2 / 2.6**3})
    for phase in phases:
        assert {g["name"]: g["rate"] for g in phase["groups"]}.items() <= {
            g["name"]: g["rate"] for g in phases[-1]["groups"]
        }.items()


def test_one_slanted_triangle_over_all_phases(hard_text, alone):
    """The formula of the paper, step by step: T steps, cut after the first tenth, ratio 32."""
    candidate = gradual.fit(alone(hard_text()), gradual.Options(rate=1e-2, epochs=5, batch=12))
    total = 5 * 5
    cut = total * 0.1
    expected = []
    for t in range(total):
        p = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / 0.1 - 1))
        expected.append(1e-2 * (1 + p * (32 - 1)) / 32)
    assert floor(cut) == 2
    np.testing.assert_allclose([rate for _, _, rate in candidate.history[0]["curve"]], expected, rtol=1e-9)


def test_few_epochs_unfreeze_several_layers_at_once(hard_text):
    candidate = gradual.fit(hard_text(), gradual.Options(rate=1e-2, epochs=3, batch=10))
    names = [phase["name"].rpartition(": ")[2] for phase in candidate.history[0]["phases"]]
    assert names == ["head", "head and last 2", "all layers"]


@pytest.mark.parametrize(("asked", "used"), [("auto", "affine"), ("train", "train")])
def test_batchnorm_is_frozen_until_everything_trains_and_keeps_its_statistics_then(trained_photos, asked, used):
    candidate = gradual.fit(trained_photos(), gradual.Options(rate=1e-2, epochs=3, batch=16, norm=asked))
    assert [phase["norm"] for phase in candidate.history[0]["phases"]] == ["frozen", "frozen", used]


def test_options_out_of_range():
    with pytest.raises(OptionError, match="epochs expects 0, or 2 and more, got 1"):
        gradual.Options(epochs=1)
    with pytest.raises(OptionError, match="cut expects"):
        gradual.Options(cut=1.0)


def test_with_a_vanishing_rate_it_is_a_random_head_on_frozen_features(hard_text, alone):
    problem = alone(hard_text())
    candidate = gradual.fit(problem, gradual.Options(rate=1e-30, epochs=4))
    (tuned,) = candidate.tuned.values()
    assert all(np.abs(array).max() < 1e-25 for array in tuned.arrays.values())  # biases of 0 that moved by the rate
    expected = candidate.head.logits(problem.blocks["test/text"])
    np.testing.assert_allclose(candidate.logits, expected, atol=1e-5, rtol=1e-5)
