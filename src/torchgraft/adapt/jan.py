"""Features and predictions with the same joint mean in a space of kernels (JAN, Long et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from torchgraft.adapt._kernels import gaussian_kernel, gaussian_kernels, unbiased_mmd
from torchgraft.adapt.base import AdaptOptions, DomainNet, Net, Passed

SOURCE = True


@dataclass(frozen=True, kw_only=True)
class Options(AdaptOptions):
    """What can be set; see `AdaptOptions` for the rest. `sigma`: bandwidth of the kernel on probabilities."""

    sigma: float = 0.92

    BOUNDS = (("sigma", 1e-6, 1e6),)


def jan(z_s: Tensor, z_t: Tensor, p_s: Tensor, p_t: Tensor, *, sigma: float = 0.92) -> Tensor:
    """The unbiased joint MMD^2 of features (n x K, m x K) and probabilities (n x C, m x C); a scalar.

    The kernel is the product over layers: DAN's on the features times exp(-d^2 / (2 sigma^2)) on the probabilities
    (Long et al., "Deep transfer learning with joint adaptation networks", ICML 2017, equation 9 without its adversary).
    """
    kernel = gaussian_kernels(torch.cat([z_s, z_t])) * gaussian_kernel(torch.cat([p_s, p_t]), sigma)
    return unbiased_mmd(kernel, len(z_s))


class Jan(DomainNet):
    """Joint MMD of the bottleneck's features and the softmax."""

    def transfer(self, passed: Passed, progress: float) -> Tensor:
        """`jan`, at full weight from the first step."""
        p_s, p_t = (torch.softmax(logits.float(), dim=1) for logits in (passed.logits_s, passed.logits_t))
        return jan(passed.z_s, passed.z_t, p_s, p_t, sigma=self.options.sigma)


def build(net: Net, options: Options) -> Jan:
    """Train `net` with the joint discrepancy of its features and predictions."""
    return Jan(net, options)
