from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.special import softmax
from scipy.stats import entropy

from torchgraft.adapt import DomainLoader, adapt, shot
from torchgraft.train.loader import ArrayLoader, Subset


def test_is_least_where_each_sample_is_certain_and_all_classes_are_met() -> None:
    assert shot.shot(1e3 * torch.eye(4)).item() == pytest.approx(-math.log(4), rel=1e-5)
    assert shot.shot(torch.zeros(5, 4)).item() == pytest.approx(0, abs=1e-6)
    assert shot.shot(1e3 * torch.eye(4)[[0, 0]]).item() == pytest.approx(0, abs=1e-6), "collapsed: nothing gained"


def test_by_hand() -> None:
    """(3/4, 1/4) twice is 0; with labels 0 and 1 and beta 2, 2 * (-log 3/4 - log 1/4) / 2."""
    logits = torch.tensor([[0.75, 0.25], [0.75, 0.25]]).log()
    assert shot.shot(logits).item() == pytest.approx(0, abs=1e-6)
    found = shot.shot(logits, torch.tensor([0, 1]), beta=2.0)
    assert found.item() == pytest.approx(-math.log(0.75) - math.log(0.25), rel=1e-5)


def test_is_scipy_s_entropies() -> None:
    logits = np.random.default_rng(0).normal(size=(9, 5)) * 3
    p = softmax(logits, axis=1)
    expected = entropy(p, axis=1).mean() - entropy(p.mean(0))
    assert shot.shot(torch.from_numpy(logits)).item() == pytest.approx(expected, rel=1e-4)


def test_labels_by_hand() -> None:
    """The third sample is called class 0 by the head, but lies with the second in the direction of class 1."""
    z = np.array([[9.0, 0], [0, 9], [1, 8]], dtype=np.float32)
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], dtype=np.float32)
    assert shot.pseudo_labels(z, p).tolist() == [0, 1, 1]


def test_labels_are_those_of_a_plain_reference() -> None:
    rng = np.random.default_rng(0)
    z, p = rng.normal(size=(60, 7)) + 1, softmax(2 * rng.normal(size=(60, 4)), axis=1)
    f = np.concatenate([z, np.ones((60, 1))], axis=1)
    f = f / np.linalg.norm(f, axis=1, keepdims=True)
    y = cdist(f, (p.T @ f) / p.sum(0)[:, None], "cosine").argmin(1)
    hard = np.eye(4)[y]
    expected = cdist(f, (hard.T @ f) / hard.sum(0)[:, None], "cosine").argmin(1)
    np.testing.assert_array_equal(shot.pseudo_labels(z, p), expected)
    assert (expected != p.argmax(1)).any()


def test_rare_classes_can_be_left_out() -> None:
    rng = np.random.default_rng(0)
    z, p = rng.normal(size=(10, 3)), np.full((10, 3), 0.2)
    p[:7, 1], p[7:, 2] = 0.6, 0.6
    assert set(shot.pseudo_labels(z, p)) <= {1, 2}, "class 0 is nobody's most probable"
    assert set(shot.pseudo_labels(z, p, threshold=3)) == {1}
    assert set(shot.pseudo_labels(z, p, threshold=100)) == {1}, "the largest always stays"


def test_labels_go_to_the_rows_that_they_are_of(net, shift) -> None:
    rows = np.array([3, 50, 7, 110, 20, 80])
    step = shot.build(net, shot.Options(beta=1.0)).eval()
    domains = DomainLoader(None, Subset(ArrayLoader(shift.xt, None), rows))
    step.begin(domains)
    step.before_epoch(0)
    with torch.no_grad():
        z = net.features((torch.from_numpy(shift.xt[rows]),))
        p = torch.softmax(net.head(z), dim=1)
    y = torch.from_numpy(shot.pseudo_labels(z.numpy(), p.numpy()))
    batch = domains.load(rows[[2, 0, 5]], None)
    passed = step.passed(batch)
    torch.testing.assert_close(step(batch, 0.0), shot.shot(passed.logits_t, y[[2, 0, 5]], beta=1.0))


def test_without_beta_nothing_is_labelled(net, shift) -> None:
    step = shot.build(net, shot.Options(beta=0.0))
    step.begin(DomainLoader(None, ArrayLoader(shift.xt, None)))
    step.before_epoch(0)
    assert step.pseudo is None


def test_the_head_stays_and_the_target_is_learnt_without_source(shift, quick) -> None:
    plain = adapt("source_only", shift.xs, shift.ys, shift.xt, n_classes=3, options=quick)
    found = adapt("shot", None, None, shift.xt, n_classes=3, start=plain.net, options={"batch": 48})
    assert torch.equal(found.net.head.weight, plain.net.head.weight)
    assert torch.equal(found.net.head.bias, plain.net.head.bias)
    np.testing.assert_allclose(found.target_logits[0], plain.logits, atol=1e-5)
    assert (found.logits.argmax(1) == shift.yt).mean() > (plain.logits.argmax(1) == shift.yt).mean() + 0.1
    linear = adapt("shot", None, None, shift.xt, n_classes=3, start=plain.head, options={"batch": 48, "epochs": 1})
    assert linear.head.kind == "mlp"
