import numpy as np
import pytest
from scipy import sparse

from torchgraft.evaluate import _resample
from torchgraft.evaluate._resample import interval, signed_sums, sums


def test_a_draw_has_as_many_samples_as_the_set():
    assert np.array_equal(sums(np.ones((37, 1)), draws=50), np.full((50, 1), 37.0))


def test_draws_scatter_like_the_standard_error():
    values = np.random.default_rng(0).normal(size=(400, 2))
    drawn = sums(values, draws=4000) / 400
    assert drawn.std(0) == pytest.approx(values.std(0) / 20, rel=0.05)
    assert drawn.mean(0) == pytest.approx(values.mean(0), abs=0.005)


def test_sparse_and_dense_agree():
    columns = sparse.random(60, 5, 0.3, random_state=0, format="csr")
    assert sums(columns, draws=20) == pytest.approx(sums(columns.toarray(), draws=20))


def test_chunks_give_every_draw(monkeypatch):
    monkeypatch.setattr(_resample, "_CHUNK", 100)
    drawn = sums(np.arange(30.0)[:, None], draws=11)
    assert drawn.shape == (11, 1) and len(np.unique(drawn)) > 5


def test_signs_are_shared_by_the_columns():
    drawn = signed_sums(np.stack([np.ones(25), 2 * np.ones(25)], axis=1), draws=300)
    assert np.array_equal(2 * drawn[:, 0], drawn[:, 1])
    assert abs(drawn[:, 0].mean()) < 1 and drawn[:, 0].std() == pytest.approx(5, rel=0.15)


def test_an_interval_holds_its_value():
    found = interval(5.0, np.linspace(0, 1, 101))
    assert (found.low, found.high) == pytest.approx((0.025, 5.0))
