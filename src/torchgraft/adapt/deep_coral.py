"""Features whose covariances agree (Deep CORAL, Sun and Saenko 2016)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from torchgraft.adapt.base import AdaptOptions, DomainNet, Net, Passed

SOURCE = True


@dataclass(frozen=True, kw_only=True)
class Options(AdaptOptions):
    """What can be set; see `AdaptOptions` for the rest.

    `trade_off`: the paper chooses it so that both losses are alike at the end; since the loss is divided by K^2, the
    wider the bottleneck the larger. `means`: add the mean squared difference of the means too, which the paper does
    not and some libraries do.
    """

    trade_off: float = 10.0
    means: bool = False


def deep_coral(z_s: Tensor, z_t: Tensor) -> Tensor:
    """||C_s - C_t||_F^2 / (4 K^2) of n x K and m x K features (n, m at least 2), covariances with n - 1; a scalar.

    Sun and Saenko, "Deep CORAL: correlation alignment for deep domain adaptation", ECCV workshops 2016, equation 1.
    """
    gap = covariance(z_s) - covariance(z_t)
    return gap.square().sum() / (4 * z_s.shape[1] ** 2)


def covariance(z: Tensor) -> Tensor:
    """K x K covariance of N x K features, divided by N - 1."""
    centred = z.float() - z.float().mean(dim=0)
    return centred.T @ centred / (len(z) - 1)


class DeepCoral(DomainNet):
    """The distance of the covariances of the bottleneck's features."""

    def transfer(self, passed: Passed, progress: float) -> Tensor:
        """`deep_coral`, at full weight from the first step."""
        loss = deep_coral(passed.z_s, passed.z_t)
        if self.options.means:
            loss = loss + (passed.z_s.mean(dim=0) - passed.z_t.mean(dim=0)).square().mean()
        return loss


def build(net: Net, options: Options) -> DeepCoral:
    """Train `net` with the distance of its features' covariances."""
    return DeepCoral(net, options)
