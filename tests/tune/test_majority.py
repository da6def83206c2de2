from __future__ import annotations

import numpy as np

from torchgraft.model.graft import assemble
from torchgraft.tune import majority


def test_hand_worked(make_problem):
    y = np.array([0, 0, 0, 1])
    problem = make_problem({"text": list("abcd")}, y, folds=((np.array([0, 1, 3]), np.array([2])),))
    candidate = majority.fit(problem, majority.Options())
    np.testing.assert_allclose(np.exp(candidate.logits), [[3 / 5, 2 / 5]])
    np.testing.assert_allclose(np.exp(candidate.head.bias), [4 / 6, 2 / 6])
    assert candidate.chosen == {"class": "class 0"}
    assert candidate.head.logits(assemble(candidate.parts, {"text": ["x", "y"]})).shape == (2, 2)


def test_uses_no_pretrained_network(dense_problem):
    assert majority.TRANSFER is False
    assert majority.applies(dense_problem) == ""
