from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from torchgraft.adapt import DomainBatch, DomainLoader, Target
from torchgraft.adapt._domains import side_by_side
from torchgraft.core.errors import DataError
from torchgraft.train.loader import ArrayLoader, Subset
from torchgraft.train.step import Batch


def loaders(ns: int = 10, nt: int = 23) -> tuple[ArrayLoader, ArrayLoader]:
    """Both have labels; a sample's only feature is its position, those of the target from 100."""
    source, target = (np.arange(n, dtype=np.float32)[:, None] + start for n, start in ((ns, 0), (nt, 100)))
    return ArrayLoader(source, np.arange(ns) % 2, classes=2), ArrayLoader(target, np.arange(nt) % 2, classes=2)


def test_there_is_no_way_to_a_label_of_the_target() -> None:
    source, target = loaders()
    domains = DomainLoader(source, target, strong=target)
    batch = domains.load(np.array([0, 1, 10, 12]), None)
    assert {field.name for field in dataclasses.fields(Target)} == {"inputs", "rows", "strong"}
    for word in ("y", "labels", "classes"):
        with pytest.raises(AttributeError):
            getattr(batch.target, word)
        with pytest.raises(AttributeError):
            setattr(batch.target, word, torch.tensor([0, 0]))
    with pytest.raises(TypeError):
        Target(inputs=batch.target.inputs, rows=batch.target.rows, y=torch.tensor([0]))
    assert batch.y.tolist() == [0, 1]
    assert domains.target.load(np.array([0]), None).y is None
    assert not hasattr(domains.target, "y")
    assert domains.strong.load(np.array([0]), None).y is None


def test_half_a_batch_is_of_each_domain_and_the_source_stands_above() -> None:
    domains = DomainLoader(*loaders())
    plan = domains.plan(8, 0)
    assert len(plan) == 6  # 23 of the target, 4 at most in a batch
    assert len(domains) == 33
    for rows in plan:
        half = len(rows) // 2
        assert len(rows) <= 8
        assert (rows[:half] < 10).all()
        assert (rows[half:] >= 10).all()


@pytest.mark.parametrize(("ns", "nt"), [(10, 23), (23, 10), (3, 40), (12, 12)])
def test_an_epoch_goes_once_through_the_larger_domain_and_evenly_through_the_other(ns: int, nt: int) -> None:
    seen = np.bincount(np.concatenate(DomainLoader(*loaders(ns, nt)).plan(8, 3)), minlength=ns + nt)
    larger, smaller = (seen[:ns], seen[ns:]) if ns >= nt else (seen[ns:], seen[:ns])
    assert set(larger) == {1}
    assert smaller.max() - smaller.min() <= 1
    assert smaller.sum() == larger.sum()


@pytest.mark.parametrize("world", [2, 4])
def test_every_process_gets_as_much_of_each_domain(world: int) -> None:
    for rows in DomainLoader(*loaders(32, 64)).plan(16, 0):
        for rank in range(world):
            own = rows[rank::world]
            assert (own < 32).sum() == (own >= 32).sum() == 8 // world


def test_the_order_follows_the_seed() -> None:
    domains = DomainLoader(*loaders())
    one, same, other = (np.concatenate(domains.plan(8, seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    first, second = domains.plan(8, None), domains.plan(8, None)
    assert all((a == b).all() for a, b in zip(first, second, strict=True))


def test_without_a_source_all_is_target() -> None:
    domains = DomainLoader(None, loaders()[1])
    plan = domains.plan(8, 0)
    assert sorted(np.concatenate(plan)) == list(range(23))
    batch = domains.load(plan[0], None)
    assert batch.source is None
    assert batch.y is None
    assert len(batch) == len(plan[0])


def test_loads_what_was_planned() -> None:
    batch = DomainLoader(*loaders()).load(np.array([3, 9, 10, 32]), None)
    assert batch.source.inputs[0].ravel().tolist() == [3, 9]
    assert batch.target.inputs[0].ravel().tolist() == [100, 122]
    assert batch.target.rows.tolist() == [0, 22]
    assert len(batch) == 4


def test_subsets_keep_their_positions() -> None:
    source, target = loaders()
    domains = DomainLoader(Subset(source, np.array([1, 4, 9])), Subset(target, np.arange(5, 15)))
    rows = np.unique(np.concatenate(domains.plan(4, 0)))
    assert rows.tolist() == [1, 4, 9, *range(15, 25)]
    assert len(domains) == 13
    assert domains.target_rows.tolist() == list(range(5, 15))
    only = np.concatenate(domains.plan(4, 0, among=np.array([1, 2, 15, 16])))
    assert set(only) == {1, 15, 16}
    assert domains.plan(4, 0, among=np.array([1, 4]))[0].tolist() in ([1, 4], [4, 1])


def test_a_second_view_has_the_same_samples() -> None:
    source, target = loaders()
    domains = DomainLoader(source, target, strong=ArrayLoader(-target.z, None))
    batch = domains.load(np.array([0, 12]), None)
    assert batch.target.strong[0].ravel().tolist() == [-102]
    assert batch.target.inputs[0].ravel().tolist() == [102]


def test_moves_as_a_whole() -> None:
    source, target = loaders()
    batch = DomainLoader(source, target, strong=target).load(np.array([0, 12]), None)
    assert batch.to(torch.device("cpu")) is batch
    moved = batch.to(torch.device("meta"))
    tensors = (*moved.source.inputs, moved.y, *moved.target.inputs, *moved.target.strong)
    assert {x.device.type for x in tensors} == {"meta"}
    alone = DomainBatch(None, Target((torch.zeros(1, 1),), np.arange(1))).to(torch.device("meta"))
    assert alone.target.strong is None


def test_texts_of_unlike_length_are_filled() -> None:
    above, below = (torch.ones(2, 3, dtype=torch.int64),) * 2, (torch.ones(1, 5, dtype=torch.int64),) * 2
    ids, mask = side_by_side(above, below)
    assert ids.shape == mask.shape == (3, 5)
    assert mask.sum(1).tolist() == [3, 3, 5]
    with pytest.raises(RuntimeError):
        side_by_side((torch.zeros(1, 3),), (torch.zeros(1, 4),))


def test_what_cannot_be_used_is_said() -> None:
    source, target = loaders()
    with pytest.raises(DataError, match="source expects at least 2 samples, got 1; the strong view expects the"):
        DomainLoader(Subset(source, np.arange(1)), target, strong=loaders(nt=4)[1])
    with pytest.raises(DataError, match="a class for every sample"):
        DomainLoader(ArrayLoader(source.z, None), target)
    with pytest.raises(DataError, match="needs samples of the target"):
        DomainLoader(source, target).load(np.array([0, 1]), None)
    assert isinstance(DomainLoader(source, target).load(np.array([0, 10]), None).source, Batch)
