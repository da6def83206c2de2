from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from torchgraft.backbones import Network, transformers
from torchgraft.train.groups import is_bias
from torchgraft.tune import bitfit, linear_probe
from torchgraft.tune.base import Skip


def test_only_biases_and_the_head_move(hard_text, alone, shipped):
    problem = alone(hard_text())
    candidate = bitfit.fit(problem, bitfit.Options(rate=1e-2, epochs=3, batch=10))
    (tuned,) = candidate.tuned.values()
    assert tuned.arrays
    assert all(name.endswith(".bias") for name in tuned.arrays)
    (phase,) = candidate.history[0]["phases"]
    biases, head = 2 * (3 * 8 + 8), 8 * 3 + 3  # of query, value, dense and norm of two blocks
    assert phase["trained"] == biases + head
    if candidate.chosen["epochs"] == 3:
        np.testing.assert_allclose(shipped(problem, candidate), candidate.logits, atol=1e-3)


def test_betas_of_batchnorm_are_biases(trained_photos, alone):
    candidate = bitfit.fit(alone(trained_photos()), bitfit.Options(rate=1e-2, epochs=3, batch=16, augment="none"))
    (tuned,) = candidate.tuned.values()
    assert set(tuned.arrays) == {"0.1.bias", "1.1.bias", "2.1.bias"}
    assert candidate.history[0]["phases"][0]["norm"] == "affine"


def test_with_a_vanishing_rate_it_is_the_linear_probe(hard_text, alone):
    problem = alone(hard_text())
    heard = []
    resources = replace(problem.resources, on_leg=heard.append)
    with pytest.raises(Skip, match="no epoch at rate 1.0e-30 beats the linear probe"):
        bitfit.fit(replace(problem, resources=resources), bitfit.Options(rate=1e-30, epochs=2))
    probe = linear_probe.fit(problem, linear_probe.Options(source="test/text"))
    right = probe.head.logits(probe.parts[0].mapping.transform(problem.blocks["test/text"])).argmax(1) == problem.y
    assert {leg["accuracy"] for leg in heard[-1]["legs"]} == {right.mean()}


def test_a_network_without_biases_is_left_alone(trained_photos):
    problem = trained_photos()
    backbone = problem.resources.backbones["test/photo"]
    bare = replace(backbone, build=lambda: Network(module=nn.Conv2d(3, 6, 4, bias=False)))
    problem = replace(problem, resources=replace(problem.resources, backbones={"test/photo": bare}))
    assert bitfit.applies(problem) == "test/photo: its layers have no biases"
    with pytest.raises(Skip, match="no biases"):
        bitfit.fit(problem, bitfit.Options())


@pytest.mark.parametrize(("size", "share"), [("base", 0.0009), ("large", 0.0008)])
def test_the_share_of_biases_in_bert_is_the_paper_s(size, share):
    """Ben Zaken et al. 2022: 0.09 % of BERT-base and 0.08 % of BERT-large."""
    library = transformers.library("this test")
    large = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
    with torch.device("meta"):
        bert = library.BertModel(library.BertConfig(**(large if size == "large" else {})))
    sizes = {name: p.numel() for name, p in bert.named_parameters()}
    assert round(sum(n for name, n in sizes.items() if is_bias(name)) / sum(sizes.values()), 4) == share
