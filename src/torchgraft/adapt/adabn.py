"""BatchNorm with the statistics of the target in place of the source's; nothing is trained (AdaBN, Li et al. 2016)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from torchgraft.adapt._domains import DomainLoader
from torchgraft.adapt._norms import batch_norms, follow_target
from torchgraft.adapt.base import AdaptOptions, DomainNet, Net
from torchgraft.core.errors import DataError
from torchgraft.train.groups import Group

SOURCE = False


@dataclass(frozen=True, kw_only=True)
class Options(AdaptOptions):
    """What can be set; of `AdaptOptions` only `norm` and what chooses it have a meaning here.

    `prior`: N, how many samples the source's statistics count as (0: they are forgotten, as in the paper; 8 to 128
    help where the target has few samples).
    """

    prior: float = 0.0

    BOUNDS = (("prior", 0, 1e9),)


def blend(of_source: Tensor, of_target: Tensor, n: int, prior: float) -> Tensor:
    """(N of_source + n of_target) / (N + n): statistics of n target samples with a prior of N source samples.

    Equal statistics stay the same bits.

    N = 0 is AdaBN (Li et al., "Revisiting batch normalization for practical domain adaptation", 2016); N above 0 from
    Schneider et al., "Improving robustness against common corruptions by covariate shift adaptation", NeurIPS 2020,
    equation 3.
    """
    return torch.lerp(of_source, of_target, n / (prior + n))


class AdaBn(DomainNet):
    """A network whose statistics are estimated again before training, which then has nothing to do."""

    def begin(self, domains: DomainLoader) -> None:
        """Estimate the statistics. Raises `DataError` for a network without BatchNorm that may move."""
        super().begin(domains)
        layers = [layer for layer in batch_norms(self.net) if layer.running_mean is not None]
        before = [(layer.running_mean.clone(), layer.running_var.clone()) for layer in layers]
        if not follow_target(self.net, domains, self.device):
            raise DataError(
                "adabn changes the statistics of BatchNorm, and this network has none that may move. "
                "Use a network with BatchNorm, the option norm = 'train', or another method."
            )
        n = len(domains.target_rows)
        with torch.no_grad():
            for layer, (mean, var) in zip(layers, before, strict=True):
                layer.running_mean.copy_(blend(mean, layer.running_mean, n, self.options.prior))
                layer.running_var.copy_(blend(var, layer.running_var, n, self.options.prior))

    def groups(self) -> list[Group]:
        """Nothing trains."""
        return []


def build(net: Net, options: Options) -> AdaBn:
    """Give `net` the target's statistics."""
    return AdaBn(net, options)
