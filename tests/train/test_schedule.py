from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchgraft.core.errors import OptionError, UnknownName
from torchgraft.train import schedule


def test_constant_is_one() -> None:
    assert [schedule.constant()(p) for p in (0, 0.3, 1)] == [1, 1, 1]


@given(st.sampled_from(schedule.names()), st.floats(-1, 2))
def test_every_factor_is_in_zero_to_one(name: str, p: float) -> None:
    assert 0 <= schedule.named(name)(p) <= 1


@pytest.mark.parametrize("name", schedule.names())
def test_outside_is_the_nearer_end(name: str) -> None:
    f = schedule.named(name)
    assert (f(-3), f(7)) == (f(0), f(1))


def test_cosine_by_hand() -> None:
    f = schedule.cosine(warmup=0.2, end=0.1)
    assert f(0) == 0
    assert f(0.1) == pytest.approx(0.5)
    assert f(0.2) == pytest.approx(1)
    assert f(0.6) == pytest.approx(0.55)  # half way down: (1 + 0.1) / 2
    assert f(1) == pytest.approx(0.1)


def test_cosine_without_warmup_is_torch_s() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    torchs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    f = schedule.cosine(warmup=0.0)
    for i in range(20):
        assert f(i / 20) == pytest.approx(torchs.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        torchs.step()


def test_linear_by_hand() -> None:
    f = schedule.linear(warmup=0.5)
    assert [f(p) for p in (0, 0.25, 0.5, 0.75, 1)] == pytest.approx([0, 0.5, 1, 0.5, 0])
    assert schedule.linear(warmup=0)(0) == 1


def test_slanted_triangle_is_the_paper_s_over_steps() -> None:
    T, cut_frac, ratio = 200, 0.1, 32
    cut = int(T * cut_frac)
    f = schedule.slanted_triangle(cut_frac, ratio)
    for t in range(T + 1):
        q = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / cut_frac - 1))
        assert f(t / T) == pytest.approx((1 + q * (ratio - 1)) / ratio)
    assert f(0) == pytest.approx(1 / 32)
    assert f(0.1) == pytest.approx(1)
    assert f(1) == pytest.approx(1 / 32)


def test_inverse_is_dann_s() -> None:
    f = schedule.inverse()
    assert f(0) == 1
    assert f(1) == pytest.approx(11**-0.75)
    assert f(0.1) == pytest.approx(2**-0.75)


def test_steps_multiply() -> None:
    f = schedule.step(at=(0.5, 0.75), factor=0.1)
    assert [f(p) for p in (0, 0.49, 0.5, 0.75, 1)] == pytest.approx([1, 1, 0.1, 0.01, 0.01])
    assert schedule.step(at=0.6, factor=0.5)(0.6) == 0.5


def test_every_schedule_is_found_by_its_name() -> None:
    assert schedule.names() == ("constant", "cosine", "inverse", "linear", "slanted_triangle", "step")
    p = np.linspace(0, 1, 7)
    assert [schedule.named("cosine")(q) for q in p] == [schedule.cosine()(q) for q in p]


def test_a_mistyped_name_gets_a_near_miss() -> None:
    with pytest.raises(UnknownName, match=r"Did you mean 'cosine'"):
        schedule.named("cosin")


@pytest.mark.parametrize(
    "make",
    [
        lambda: schedule.cosine(warmup=1.0),
        lambda: schedule.cosine(end=2),
        lambda: schedule.linear(warmup=-0.1),
        lambda: schedule.slanted_triangle(cut=0),
        lambda: schedule.slanted_triangle(ratio=0.5),
        lambda: schedule.inverse(gamma=-1),
        lambda: schedule.step(at=1.5),
        lambda: schedule.step(factor=float("nan")),
    ],
)
def test_values_out_of_range_are_errors(make) -> None:
    with pytest.raises(OptionError, match="expects"):
        make()


def test_all_wrong_values_stand_in_one_error() -> None:
    with pytest.raises(OptionError, match=r"warmup expects .*; end expects"):
        schedule.cosine(warmup=3, end=-1)
