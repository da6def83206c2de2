from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
import torch
from torch.nn import functional

from torchgraft.core.errors import OptionError
from torchgraft.train.loader import ArrayLoader, Subset
from torchgraft.tune._pairs import ClassBatches, cosine, supcon

THREE = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
Y = torch.tensor([0, 0, 1])


@pytest.fixture
def some() -> tuple[torch.Tensor, torch.Tensor]:
    """12 random vectors of 4 classes, one of which has a single member."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(12, 5, generator=generator), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 3])


def test_supcon_by_hand() -> None:
    # each of the two alike sees one partner at similarity 1 and one stranger at 0; the third has no partner
    t = 0.5
    expected = -math.log(math.exp(1 / t) / (math.exp(1 / t) + 1))
    assert float(supcon(THREE, Y, t)) == pytest.approx(expected, rel=1e-6)


def test_supcon_is_its_formula(some) -> None:
    z, y = some
    u, t, terms = functional.normalize(z.double(), dim=1), 0.2, []
    for i in range(len(y)):
        partners = [p for p in range(len(y)) if p != i and y[p] == y[i]]
        below = sum(math.exp(float(u[i] @ u[a]) / t) for a in range(len(y)) if a != i)
        if partners:
            terms.append(-sum(math.log(math.exp(float(u[i] @ u[p]) / t) / below) for p in partners) / len(partners))
    assert float(supcon(z, y, t)) == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_supcon_of_identical_partners_far_from_the_rest_is_the_log_of_their_number() -> None:
    z = torch.eye(3).repeat_interleave(4, dim=0)
    assert float(supcon(z, torch.arange(3).repeat_interleave(4), 0.02)) == pytest.approx(math.log(3), abs=1e-5)


def test_cosine_by_hand() -> None:
    assert float(cosine(THREE, Y)) == pytest.approx(0.0, abs=1e-6)
    leaning = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])  # similarities: 1/sqrt(2) alike, 0 and 1/sqrt(2) not
    expected = ((1 - math.sqrt(0.5)) ** 2 + (0 + 0.5) / 2) / 2
    assert float(cosine(leaning, Y)) == pytest.approx(expected, rel=1e-5)


def test_cosine_is_the_mean_squared_error_of_as_many_pairs_of_both_kinds(some) -> None:
    z, y = some
    pairs = [(i, j) for i in range(len(y)) for j in range(i)]
    alike = [pair for pair in pairs if y[pair[0]] == y[pair[1]]]
    unlike = [pair for pair in pairs if y[pair[0]] != y[pair[1]]]
    balanced = alike * len(unlike) + unlike * len(alike)
    target = torch.tensor([1.0] * (len(alike) * len(unlike)) + [0.0] * (len(alike) * len(unlike)))
    first, second = (z[[pair[k] for pair in balanced]] for k in (0, 1))
    expected = functional.mse_loss(functional.cosine_similarity(first, second), target)
    assert float(cosine(z, y)) == pytest.approx(float(expected), rel=1e-5)


def test_identical_texts_of_one_class_have_no_loss() -> None:
    z, y = torch.ones(5, 3), torch.zeros(5, dtype=torch.long)
    assert float(cosine(z, y)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("loss", [supcon, cosine])
@pytest.mark.parametrize("y", [[0], [0, 1, 2], [0, 0, 0], [0, 0, 1]])
def test_gradients_are_finite_whatever_pairs_there_are(loss, y) -> None:
    z = torch.randn(len(y), 4, generator=torch.Generator().manual_seed(1), requires_grad=True)
    value = loss(z, torch.tensor(y))
    value.backward()
    value = float(value.detach())
    assert math.isfinite(value)
    assert torch.isfinite(z.grad).all()
    if len(set(y)) == len(y) and loss is supcon:
        assert value == 0


def test_a_step_down_the_gradient_brings_partners_nearer(some) -> None:
    z, y = some[0].clone().requires_grad_(True), some[1]
    for loss in (supcon, cosine):
        before = loss(z, y)
        (gradient,) = torch.autograd.grad(before, z)
        with torch.no_grad():
            assert loss(z - 0.05 * gradient, y) < before


def test_temperature_has_to_be_above_0(some) -> None:
    with pytest.raises(OptionError, match="above 0, got 0"):
        supcon(*some, 0)


def loader(y: np.ndarray) -> ClassBatches:
    return ClassBatches(ArrayLoader(np.zeros((len(y), 1), dtype=np.float32), y), y)


@pytest.mark.parametrize(
    ("counts", "batch"), [((8,) * 6, 24), ((7, 6, 7, 6, 6, 6), 24), ((2,) * 70, 16), ((90, 10), 20), ((1, 5, 3), 4)]
)
def test_every_sample_comes_once_and_nearly_all_have_a_partner(counts, batch) -> None:
    y = np.repeat(np.arange(len(counts)), counts)
    plan = loader(y).plan(batch, 3)
    np.testing.assert_array_equal(np.sort(np.concatenate(plan)), np.arange(len(y)))
    assert max(map(len, plan)) <= batch + max(counts) // 2 + 2
    lonely = [row for rows in plan for row in rows if (y[rows] == y[row]).sum() == 1]
    assert len(lonely) == sum(count == 1 for count in counts)


def test_with_samples_enough_every_batch_has_all_classes() -> None:
    y = np.arange(48) % 6
    for seed in range(5):
        plan = loader(y).plan(24, seed)
        assert [np.bincount(y[rows], minlength=6).tolist() for rows in plan] == [[4] * 6] * 2


def test_plans_follow_the_seed_and_keep_to_the_rows_asked_for() -> None:
    y, rows = np.arange(60) % 5, np.arange(0, 60, 2)
    some = Subset(loader(y), rows)
    first, same, other = (some.plan(10, seed) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(first, same, strict=True))
    assert any(sorted(a) != sorted(b) for a, b in zip(first, other, strict=True))
    np.testing.assert_array_equal(np.sort(np.concatenate(first)), rows)
    np.testing.assert_array_equal(np.concatenate(some.plan(10, None)), rows)
    assert loader(y).plan(10, 1, np.array([], dtype=int)) == []


def test_a_plan_takes_memory_in_the_samples_not_in_their_pairs() -> None:
    peaks = []
    for n in (20_000, 80_000):
        y = np.arange(n) % 100
        batches = loader(y)
        tracemalloc.start()
        batches.plan(24, 0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 6 * peaks[0]
    assert peaks[1] < 80_000**2 / 8
