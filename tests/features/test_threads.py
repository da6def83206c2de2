"""Threads over batches: order kept, never far ahead, errors passed on, torch's threads given back."""

from __future__ import annotations

import threading

import pytest
import torch

from torchgraft.features._threads import cores, in_order, one_thread_each


def test_results_come_in_order_from_several_threads() -> None:
    seen = set()

    def step(i: int) -> int:
        seen.add(threading.get_ident())
        return i * i

    assert list(in_order(step, range(50), 3)) == [i * i for i in range(50)]
    assert threading.get_ident() not in seen


def test_it_stays_a_few_items_ahead() -> None:
    begun = []
    results = in_order(lambda i: i, (begun.append(i) or i for i in range(1000)), 2)
    assert next(results) == 0
    assert len(begun) <= 6
    results.close()


def test_an_error_reaches_who_takes_the_results() -> None:
    with pytest.raises(ZeroDivisionError):
        list(in_order(lambda i: 1 // i, [1, 0, 1], 2))


def test_torch_gets_its_threads_back() -> None:
    before = torch.get_num_threads()
    with one_thread_each():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
    assert 1 <= cores() <= 16
