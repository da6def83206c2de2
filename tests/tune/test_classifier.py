from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from torchgraft.features.mapping import L2, Identity
from torchgraft.model import LinearHead
from torchgraft.tune._classifier import Classifier, neck


def test_the_loss_by_hand(make_step):
    step, batch = make_step(L2())
    with torch.no_grad():
        z = step.network(*batch.inputs)
        logits = (z / z.norm(dim=1, keepdim=True)) @ step.head.weight.T + step.head.bias
        torch.testing.assert_close(step.logits(batch), logits)
        torch.testing.assert_close(step(batch, 0.0), functional.cross_entropy(logits, batch.y))
        step.penalty = lambda step, z, batch: z.sum()
        torch.testing.assert_close(step(batch, 0.0), functional.cross_entropy(logits, batch.y) + z.sum())


def test_necks_are_the_mappings():
    z = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(neck(L2())(z), L2().transform(z.numpy()), rtol=1e-6)
    assert torch.equal(neck(Identity())(z), z)


@pytest.mark.parametrize("hidden", [0, 6])
def test_the_head_as_arrays(make_step, hard_text, hidden):
    step, batch = make_step()
    backbone = hard_text().resources.backbones["test/text"]
    step = Classifier(backbone, "mean", Identity(), 3, hidden=hidden, dropout=0.5).eval()
    step.start_at(np.array([1.0, 2.0, 3.0]))
    head = step.fitted_head()
    assert head.bias.tolist() == [1.0, 2.0, 3.0]
    with torch.no_grad():
        z = step.network(*batch.inputs)
        np.testing.assert_allclose(head.logits(z.numpy()), step.logits(batch), atol=1e-6)
        if hidden:
            step.head.train()
            assert not torch.equal(step.logits(batch), step.logits(batch)), "half of the units drop out"


def test_starts_from_a_fitted_head(make_step):
    step, _ = make_step()
    head = LinearHead(np.arange(24.0).reshape(3, 8), np.array([1.0, 0.0, -1.0]))
    step.start_from(head)
    again = step.fitted_head()
    np.testing.assert_array_equal(again.weight, head.weight)
    np.testing.assert_array_equal(again.bias, head.bias)


def test_a_frozen_network_has_no_dropout(make_step):
    step, batch = make_step()
    step.network.requires_grad_(False)
    step.train()
    assert not step.network.training
    assert torch.equal(step.logits(batch), step.logits(batch))
    next(step.network.parameters()).requires_grad_(True)
    step.train()
    assert step.network.training


def test_tuned_holds_what_moved_and_the_backbone_stays(make_step, hard_text):
    step, _ = make_step()
    backbone = hard_text().resources.backbones["test/text"]
    assert not step.tuned(backbone).arrays
    with torch.no_grad():
        step.network.module.embedding.weight[3] += 1
    tuned = step.tuned(backbone)
    assert set(tuned.arrays) == {"embedding.weight"}
    assert (tuned.base, tuned.revision, tuned.name) == ("test/text", "1", "tuned/test/text")
    moved = tuned.arrays["embedding.weight"] - backbone.module.embedding.weight.numpy()
    np.testing.assert_allclose(moved.sum(axis=1), np.eye(40)[3] * 8, atol=1e-5)
