"""Features of both domains with the same mean in a space of kernels (DAN, Long et al. 2015)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from torchgraft.adapt._kernels import gaussian_kernels, unbiased_mmd
from torchgraft.adapt.base import AdaptOptions, DomainNet, Net, Passed

SOURCE = True


@dataclass(frozen=True, kw_only=True)
class Options(AdaptOptions):
    """What can be set; see `AdaptOptions`."""


def dan(z_s: Tensor, z_t: Tensor) -> Tensor:
    """The unbiased multi-kernel MMD^2 of n x K and m x K features (n, m at least 2); a scalar, at times below 0.

    k = sum_a exp(-d^2 / (2 a mean(d^2))) over a = 2^-3 to 2^1 (Long et al., "Learning transferable features with deep
    adaptation networks", ICML 2015, with equal weights for the kernels).
    """
    return unbiased_mmd(gaussian_kernels(torch.cat([z_s, z_t])), len(z_s))


class Dan(DomainNet):
    """MMD of the bottleneck's features."""

    def transfer(self, passed: Passed, progress: float) -> Tensor:
        """`dan`, at full weight from the first step."""
        return dan(passed.z_s, passed.z_t)


def build(net: Net, options: Options) -> Dan:
    """Train `net` with the discrepancy of its bottleneck's features."""
    return Dan(net, options)
