from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchgraft.core.errors import DataError, OptionError
from torchgraft.train.mix import MixOptions, box, mix


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(n: int = 8, size: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Sample i is a plain picture of the value i, of its own class."""
    x = torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1).expand(n, size, size, 3).clone()
    return x, torch.eye(n)


@pytest.mark.parametrize("options", [MixOptions(), MixOptions(mixup=1, cutmix=1, probability=0)])
def test_off_gives_back_what_came(options: MixOptions) -> None:
    x, y = batch()
    found = mix(x, y, options, seeded())
    assert found[0] is x and found[1] is y


@given(
    n=st.integers(1, 9),
    mixup=st.sampled_from([0.0, 0.2, 1.0]),
    cutmix=st.sampled_from([0.0, 0.3, 1.0]),
    probability=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 2**20),
)
def test_labels_are_shares_of_the_pixels(n: int, mixup: float, cutmix: float, probability: float, seed: int) -> None:
    x, y = batch(n)
    before = x.clone()
    mixed, soft = mix(x, y, MixOptions(mixup=mixup, cutmix=cutmix, probability=probability), seeded(seed))
    assert torch.equal(x, before)
    assert torch.allclose(soft.sum(1), torch.ones(n)) and soft.min() >= 0
    # a plain picture i mixed with j has the mean l i + (1 - l) j, whether by mixup or CutMix
    assert torch.allclose(mixed.float().mean((1, 2, 3)), soft @ torch.arange(n).float(), atol=1e-4)
    assert torch.allclose(soft.sum(0).sum(), torch.tensor(float(n)))


def test_mixup_is_linear_in_samples_and_labels() -> None:
    x, y = torch.randn(6, 5, generator=seeded(1)), torch.eye(6)
    mixed, soft = mix(x, y, MixOptions(mixup=0.4), seeded())
    assert torch.allclose(mixed, soft @ x, atol=1e-6)
    assert (soft > 0).sum(1).max() == 2


def test_mixup_draws_from_the_beta_distribution() -> None:
    n = 2000
    _, soft = mix(torch.zeros(n, 1), torch.eye(n), MixOptions(mixup=0.4), seeded())
    kept = soft.diagonal()[soft.diagonal() < 1].double().numpy()
    assert len(kept) > n - 10
    assert scipy.stats.kstest(kept, scipy.stats.beta(0.4, 0.4).cdf).pvalue > 0.01


def test_cutmix_keeps_types_and_pastes_one_rectangle() -> None:
    x, y = batch(16)
    mixed, soft = mix(x, y, MixOptions(cutmix=1.0), seeded())
    assert mixed.dtype == torch.uint8
    for i, picture in enumerate(mixed):
        foreign = (picture != i).any(-1)
        rows, columns = foreign.any(1).sum(), foreign.any(0).sum()
        assert int(foreign.sum()) == int(rows * columns)
        assert float(soft[i, i]) == pytest.approx(1 - float(foreign.float().mean()))


def test_cutmix_rectangle_by_hand() -> None:
    # a quarter kept out of 8 x 8: sides 8 * sqrt(0.75) = 6.9, cut to 6
    assert box(8, 8, 0.25, 0.5, 0.5) == (1, 7, 1, 7)
    # centred on the corner, a quarter of it is left: 3 x 3
    assert box(8, 8, 0.25, 0.0, 0.0) == (0, 3, 0, 3)
    assert box(8, 8, 1.0, 0.3, 0.3) == (2, 2, 2, 2)
    assert box(8, 8, 0.0, 0.5, 0.5) == (0, 8, 0, 8)


def test_share_of_mixed_samples() -> None:
    n = 1000
    _, soft = mix(torch.zeros(n, 1), torch.eye(n), MixOptions(mixup=1.0, probability=0.3), seeded())
    assert (soft.diagonal() < 1).float().mean() == pytest.approx(0.3, abs=0.05)


def test_both_are_drawn_by_even_chance() -> None:
    x, y = batch(200, 6)
    mixed, _ = mix(x, y, MixOptions(mixup=1.0, cutmix=1.0), seeded())
    blended = (mixed != mixed.round()).flatten(1).any(1)
    assert 0.35 < blended.float().mean() < 0.6


def test_the_same_generator_state_gives_the_same_batch() -> None:
    x, y = batch()
    options = MixOptions(mixup=0.3, cutmix=1.0)
    torch.manual_seed(1)
    np.random.seed(1)
    first = mix(x, y, options, seeded(5))
    torch.manual_seed(2)
    np.random.seed(2)
    second = mix(x, y, options, seeded(5))
    third = mix(x, y, options, seeded(6))
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    assert not torch.equal(first[1], third[1])


def test_soft_labels_may_be_mixed_again() -> None:
    x, _ = batch(4)
    smooth = torch.full((4, 5), 0.2)
    _, soft = mix(x, smooth, MixOptions(mixup=1.0), seeded())
    assert torch.allclose(soft, smooth)


def test_wrong_options_and_input_are_named() -> None:
    with pytest.raises(OptionError, match=r"mixup expects.*-1.*cutmix expects.*nan.*probability expects.*2"):
        MixOptions(mixup=-1, cutmix=float("nan"), probability=2)
    x, y = batch(4)
    with pytest.raises(DataError, match="one_hot"):
        mix(x, torch.arange(4), MixOptions(mixup=1), seeded())
    with pytest.raises(DataError, match="4 x C"):
        mix(x, y[:3], MixOptions(mixup=1), seeded())
    with pytest.raises(DataError, match="cutmix expects pictures"):
        mix(torch.zeros(4, 7), y, MixOptions(cutmix=1), seeded())
