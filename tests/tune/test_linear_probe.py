from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from torchgraft.core.errors import OptionError
from torchgraft.tune import linear_probe


def test_runs_on_the_block_it_is_told(dense_problem, make_problem):
    blocks = {
        "packaged/noise": np.random.default_rng(0).normal(size=(120, 5)).astype(np.float32),
        **dense_problem.blocks,
    }
    problem = make_problem(blocks, dense_problem.y)
    first, named = (linear_probe.fit(problem, linear_probe.Options(source=s)) for s in (None, "packaged/net"))
    assert first.parts[0].source == "packaged/noise"
    assert named.parts[0].source == "packaged/net"
    right = [(c.logits.argmax(axis=1) == problem.y[c.rows]).mean() for c in (first, named)]
    assert right[1] > right[0] + 0.3


@pytest.mark.parametrize("load", [load_digits, load_wine])
def test_level_of_scikit_learn(load, make_problem):
    z, y = load(return_X_y=True)
    z, y = z[:600], y[:600]
    problem = make_problem({"array": z.astype(np.float32)}, y)
    candidate = linear_probe.fit(problem, linear_probe.Options())
    reference = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    expected = (cross_val_predict(reference, z, y, cv=list(problem.folds)) == y).mean()
    assert (candidate.logits.argmax(axis=1) == y[candidate.rows]).mean() >= expected - 0.01


def test_balanced_finds_more_of_the_rare_class(blobs, make_problem):
    z, y = blobs(400, 5, 2, gap=1.2)
    keep = np.concatenate([np.flatnonzero(y == 0), np.flatnonzero(y == 1)[:25]])
    problem = make_problem({"packaged/net": z[keep]}, y[keep])
    found = []
    for weight in ("none", "balanced"):
        candidate = linear_probe.fit(problem, linear_probe.Options(class_weight=weight))
        rare = problem.y[candidate.rows] == 1
        found.append((candidate.logits.argmax(axis=1)[rare] == 1).mean())
    assert found[1] > found[0] + 0.1


def test_wrong_class_weight_is_told(dense_problem):
    with pytest.raises(OptionError, match="none or balanced"):
        linear_probe.fit(dense_problem, linear_probe.Options(class_weight="equal"))


def test_constant_features_and_separable_classes(make_problem):
    z = np.zeros((30, 6), dtype=np.float32)
    y = np.arange(30) % 3
    z[np.arange(30), y] = 1.0
    candidate = linear_probe.fit(make_problem({"packaged/net": z}, y), linear_probe.Options())
    assert (candidate.logits.argmax(axis=1) == y[candidate.rows]).all()
    nothing = linear_probe.fit(make_problem({"packaged/net": np.ones_like(z)}, y), linear_probe.Options())
    np.testing.assert_allclose(nothing.logits, nothing.logits.mean(), atol=1e-3)
