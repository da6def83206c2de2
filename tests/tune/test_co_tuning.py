from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from torchgraft import backbones, features
from torchgraft.core.errors import OptionError
from torchgraft.model import as_samples
from torchgraft.tune import Problem, co_tuning, lp_ft
from torchgraft.tune.base import Skip

QUICK = {"rate": 3e-3, "epochs": 2, "batch": 10}


def test_without_weight_it_is_lp_ft_to_the_bit(hard_text, alone):
    problem = alone(hard_text())
    ours = co_tuning.fit(problem, co_tuning.Options(lam=0.0, **QUICK))
    plain = lp_ft.fit(problem, lp_ft.Options(**QUICK))
    np.testing.assert_array_equal(ours.logits, plain.logits)
    np.testing.assert_array_equal(ours.head.weight, plain.head.weight)


def test_the_classifier_of_pretraining_trains_too(hard_text):
    problem = hard_text()
    before = [p.clone() for p in problem.resources.backbones["test/text"].classifier.parameters()]
    candidate = co_tuning.fit(problem, co_tuning.Options(layer_decay=0.5, **QUICK))
    (phase,) = candidate.history[0]["phases"]
    rates = {group["name"]: group["rate"] for group in phase["groups"]}
    assert rates["source classifier"] == rates["module.blocks.1"] == 3e-3 * 0.5
    assert phase["trained"] == phase["parameters"]
    after = problem.resources.backbones["test/text"].classifier.parameters()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True)), "the one of the backbone stays"


def test_the_relation_by_brute_force(hard_text):
    problem, rows = hard_text(), np.arange(45)
    backbone = problem.resources.backbones["test/text"]
    found = co_tuning.relation(problem, backbone, co_tuning.Options(source="test/text"), rows)
    with torch.no_grad():
        p = backbone.classifier(torch.from_numpy(problem.blocks["test/text"])).softmax(1).numpy()
    for c in range(3):
        members = [i for i in rows if problem.y[i] == c]
        np.testing.assert_allclose(found[c], p[members].mean(0), rtol=1e-5)


def test_the_penalty_by_brute_force(make_step, hard_text):
    step, batch = make_step()
    before = step(batch, 0.0)
    problem, options = hard_text(), co_tuning.Options(source="test/text", lam=2.3)
    rows = np.arange(60)
    co_tuning.add(step, problem, options, rows)
    related = co_tuning.relation(problem, problem.resources.backbones["test/text"], options, rows)
    with torch.no_grad():
        log_p = step.source(step.network(*batch.inputs)).log_softmax(1)
    expected = -2.3 * np.mean([float(related[batch.y[i]] @ log_p[i]) for i in range(8)])
    np.testing.assert_allclose((step(batch, 0.0) - before).item(), expected, rtol=1e-5)


def test_says_what_it_lacks(trained_photos, hard_text):
    assert "come without a classifier of pretraining" in co_tuning.applies(trained_photos())
    with pytest.raises(Skip, match="test/photo: its weights come without"):
        co_tuning.fit(trained_photos(), co_tuning.Options(source="test/photo"))
    problem = hard_text()
    pooled = replace(problem, resources=replace(problem.resources, poolings={"test/text": "cls"}))
    with pytest.raises(Skip, match="pretrained with pooling mean, its features are pooled with cls"):
        co_tuning.fit(pooled, co_tuning.Options())
    with pytest.raises(OptionError, match="lam expects .* temperature expects"):
        co_tuning.Options(lam=-1.0, temperature=0.0)


@pytest.mark.shared
def test_ants_are_ants_to_the_pretrained_classifier(shared_data):
    """Classes that ImageNet has too: bee is its class 309, ant its class 310."""
    name = "packaged/efficientnet_lite0"
    folder = shared_data / "hymenoptera" / "train"
    paths = [path for c in ("ants", "bees") for path in sorted((folder / c).glob("*.jpg"))[:12]]
    backbone = backbones.load(name)
    z = features.extract(as_samples(paths, "image"), backbone).z
    problem = Problem(blocks={name: z}, y=np.repeat([0, 1], 12), classes=("ants", "bees"), folds=())
    related = co_tuning.relation(problem, backbone, co_tuning.Options(source=name), np.arange(24))
    assert related.argmax(1).tolist() == [310, 309]
    np.testing.assert_allclose(related.sum(1), 1, rtol=1e-5)
