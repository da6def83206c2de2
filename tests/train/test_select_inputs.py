from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from torchgraft.core.errors import DataError
from torchgraft.train._select_inputs import Inputs

GOOD = np.array([[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]])


def message(*calls, least=1):
    given = Inputs(least=least)
    for method, *arguments in calls:
        getattr(given, method)(*arguments)
    with pytest.raises(DataError) as caught:
        given.check()
    return str(caught.value)


def test_good_inputs_come_back_as_float64():
    given = Inputs()
    p = given.probabilities("p", GOOD.astype(np.float32))
    assert p.dtype == np.float64
    assert np.array_equal(p, GOOD)
    assert given.labels("y", [0.0, 1, 1], 2).dtype == np.int64
    assert given.flags("right", [True, False]).tolist() == [1, 0]
    assert given.amounts("w", [0, 2]).tolist() == [0, 2]
    assert given.frequencies("prior", [0.5, 0.5], p).tolist() == [0.5, 0.5]
    assert given.features("z", [[1, 2]]).tolist() == [[1, 2]]
    given.check()


def test_rows_are_brought_to_sum_1():
    p = Inputs().probabilities("p", [[0.2504, 0.75]])
    assert p.sum() == pytest.approx(1, abs=1e-15)
    assert p[0, 0] == pytest.approx(0.2504 / 1.0004)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([[0.5, 0.6]], "1 of 1 rows are no probabilities"),
        ([[1.2, -0.2]], "softmax of logits"),
        ([[0.5, np.nan], [0.5, 0.5]], "1 of 2 samples hold NaN"),
        ([[1.0]], "2 or more columns"),
        ([0.5, 0.5], r"got shape (2,)"),
        (np.empty((0, 3)), r"got shape (0, 3)"),
        ([["a", "b"]], "a dense array of numbers, got list"),
        ([[0.5, 0.5], [1.0]], "a dense array of numbers, got list"),
        (sparse.csr_matrix(GOOD), "got csr_matrix"),
        (None, "got NoneType"),
    ],
)
def test_faulty_probabilities(value, words):
    assert words in message(("probabilities", "p_t", value))
    assert message(("probabilities", "p_t", value)).startswith("p_t")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (("labels", "y_s", [0, 3], 3), "y_s expects class indices in 0..2, got 0 to 3"),
        (("labels", "y_s", [0.5, 1], 3), "0..2, got 0.5 to 1"),
        (("labels", "y_s", [-1, 1], 3), "got -1 to 1"),
        (("amounts", "losses", [1, -2]), "losses expects numbers of 0 or more, got -2"),
        (("amounts", "losses", [1, np.inf]), "1 of 2 samples hold NaN or infinite"),
        (("flags", "before", [0, 2]), "true or false for each sample, got 2"),
        (("frequencies", "prior_s", [0.5, 0.6], GOOD), "prior_s expects 2 class frequencies"),
        (("frequencies", "prior_s", [1.0], GOOD), "sum to 1, got 1: [1.0]"),
        (("frequencies", "prior_s", [1.5, -0.5], GOOD), "sum to 1"),
        (("frequencies", "prior_s", "even", GOOD), "got str"),
    ],
)
def test_other_faults(call, words):
    assert words in message(call)


def test_all_faults_stand_in_one_message():
    given = Inputs(least=2)
    p = given.probabilities("p_t", [[0.5, 0.9], [0.5, 0.5]])
    z, other = given.features("z_t", np.ones((3, 2))), given.features("z_s", np.ones((4, 5)))
    given.amounts("weights", [1.0])
    given.same_rows("p_t", "z_t")
    given.same_width(z_t=z, z_s=other, p=p)
    with pytest.raises(DataError) as caught:
        given.check()
    faults = str(caught.value).split("; ")
    assert [words in str(caught.value) for words in ("p_t: 1 of 2", "weights expects 2 samples or more, got 1")]
    assert "expected the same number of samples, got p_t 2, z_t 3" in faults
    assert faults[-1] == "expected the same number of columns, got z_t 2, z_s 5."
