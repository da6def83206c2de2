"""Two domains of three classes: the target is turned, stretched and moved, so that the source's rule fails on it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from torchgraft.adapt import DomainBatch, Net, Target
from torchgraft.train.step import Batch

QUICK = {"width": 32, "epochs": 12, "batch": 48}
"""Options of a training that takes a second."""


def shifted(n: int = 120, d: int = 6, *, seed: int = 0) -> SimpleNamespace:
    """Source `xs`, `ys`, target `xt` and `yt`, which only the tests' scores see."""
    rng = np.random.default_rng(seed)
    centres = 2.2 * np.linalg.qr(rng.normal(size=(d, d)))[0][:3]
    ys, yt = np.arange(n) % 3, np.arange(n + 9) % 3
    xs = centres[ys] + 0.5 * rng.normal(size=(len(ys), d))
    xt = (centres[yt] + 0.5 * rng.normal(size=(len(yt), d))) * np.linspace(0.7, 1.4, d) + 1.6 * centres[0]
    return SimpleNamespace(xs=xs.astype(np.float32), ys=ys, xt=xt.astype(np.float32), yt=yt)


@pytest.fixture(scope="session")
def shift() -> SimpleNamespace:
    """`shifted`."""
    return shifted()


@pytest.fixture
def quick() -> dict:
    """`QUICK`, to be added to."""
    return dict(QUICK)


@pytest.fixture
def net() -> Net:
    """An identity on 6 features, a bottleneck of 8, 3 classes."""
    torch.manual_seed(0)
    return Net.fresh(nn.Identity(), 6, 3, bottleneck=8)


@pytest.fixture
def batch() -> DomainBatch:
    """10 source samples of 3 classes and 8 of the target."""
    generator = torch.Generator().manual_seed(1)
    x_s, x_t = torch.randn(10, 6, generator=generator), torch.randn(8, 6, generator=generator) + 1
    return DomainBatch(Batch((x_s,), torch.arange(10) % 3, np.arange(10)), Target((x_t,), np.arange(8)))


@pytest.fixture
def two() -> tuple[Tensor, Tensor]:
    """Features of two domains, 9 x 4 and 7 x 4."""
    generator = torch.Generator().manual_seed(2)
    return torch.randn(9, 4, generator=generator), 1 + torch.randn(7, 4, generator=generator)
