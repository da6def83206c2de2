"""Output maps that a discriminator can't tell apart by domain, or just surer ones (AdvEnt and MinEnt, Vu et al. 2019).

Not features are aligned but what is said: how sure the answers of each class are, and where. So it serves labels of
pixels (maps, by their layout) as well as labels of whole samples, of which a map has one place.

The paper trains two players with an optimiser each. Here one step holds both losses, and each has gradients for its own
player alone: the same gradients as in turns.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from torchgraft.adapt._adversary import domain_loss
from torchgraft.adapt._domains import DomainBatch
from torchgraft.adapt.base import AdaptOptions, DomainNet, Net
from torchgraft.train.groups import Group, parameter_groups
from torchgraft.train.norm import set_norm
from torchgraft.train.step import Step

SOURCE = True

Supervised = Callable[[Tensor, Tensor], Tensor]
"""Logits B x C x H x W and labels B x H x W -> a scalar."""


@dataclass(frozen=True, kw_only=True)
class Options(AdaptOptions):
    """What can be set; see `AdaptOptions` for the rest.

    `trade_off`: lambda_adv, on the network's part of the adversarial loss (the paper's 0.001 is for 120 000 updates; 0:
    no discriminator). `entropy`: lambda_ent, on the entropy of the target's predictions (MinEnt; 0 or more; the paper's
    is 0.001, with `trade_off` 0). `hidden`: units of each of the discriminator's two layers, or of maps the channels of
    its first convolution.
    """

    trade_off: float = 0.1
    entropy: float = 0.0
    hidden: int = 64

    BOUNDS = (("entropy", 0, 1e6), ("hidden", 1, 65_536))


def self_information(logits: Tensor) -> Tensor:
    """I_c = -p_c log p_c / log C of logits B x C x ..., p their softmax over classes; of the same shape, 0 or more.

    Where all classes are as likely every I_c is 1 / C; the sum over classes is the entropy as a share of log C (Vu et
    al., "ADVENT: Adversarial entropy minimization for domain adaptation in semantic segmentation", CVPR 2019,
    equations 2 and 4).
    """
    log_p = torch.log_softmax(logits.float(), dim=1)
    return -(log_p.exp() * log_p) / math.log(max(logits.shape[1], 2))


def min_entropy(logits: Tensor) -> Tensor:
    """The mean over samples and places of sum_c I_c: MinEnt, a scalar in [0, 1] (equation 3)."""
    return self_information(logits).sum(1).mean()


def advent(logits_s: Tensor, logits_t: Tensor, tell: nn.Module) -> tuple[Tensor, Tensor]:
    """The two players' losses (equations 6 and 5); `tell` gives logits of being from the source.

    The network's, mean -log sigma(D(I_t)): the target is to pass for the source; no gradient reaches D. And the
    discriminator's, 1/2 (mean -log sigma(D(I_s)) + mean -log(1 - sigma(D(I_t)))); none reaches the network. Where
    nothing can be told (D = 0) both are log 2.
    """
    i_s, i_t = self_information(logits_s), self_information(logits_t)
    as_it_is = {name: p.detach() for name, p in tell.named_parameters()}
    passed_for = functional_call(tell, as_it_is, (i_t,))
    of_network = functional.binary_cross_entropy_with_logits(passed_for, torch.ones_like(passed_for))
    return of_network, domain_loss(tell(i_s.detach()), tell(i_t.detach()))


def map_discriminator(classes: int, width: int) -> nn.Sequential:
    """B x C x H x W to B x 1 x h x w: five convolutions 4 x 4 of stride 2, leaky ReLU of slope 0.2 between them.

    Channels are `width`, 2, 4 and 8 times it. DCGAN's, as in the paper with `width` 64, where on a small network it
    costs as much as the network; 16 costs an eighth. Maps of less than 32 places a side are filled up with zeros.
    """
    widths = (classes, width, 2 * width, 4 * width, 8 * width)
    layers: list[nn.Module] = [_FilledUp()]
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, stride=2, padding=1))


class _FilledUp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        height, width = (max(32 - side, 0) for side in x.shape[-2:])
        return functional.pad(x, (0, width, 0, height)) if height or width else x


def _added(logits_s: Tensor, logits_t: Tensor, tell: nn.Module, options: Options) -> Tensor:
    """What comes on top of the supervised loss: both players' losses, MinEnt's, or all."""
    total = logits_t.new_zeros((), dtype=torch.float32)
    if options.trade_off:
        of_network, of_discriminator = advent(logits_s, logits_t, tell)
        total = total + options.trade_off * of_network + of_discriminator
    return total + options.entropy * min_entropy(logits_t) if options.entropy else total


class Advent(DomainNet):
    """A discriminator of how sure a network is of each class of whole samples; without BatchNorm, as on maps."""

    def __init__(self, net: Net, options: Options) -> None:
        super().__init__(net, options)
        classes, hidden = net.head.out_features, options.hidden
        layers = (nn.Linear(classes, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, hidden), nn.LeakyReLU(0.2))
        self.discriminator = nn.Sequential(*layers, nn.Linear(hidden, 1)) if options.trade_off else nn.Identity()

    def forward(self, batch: DomainBatch, progress: float) -> Tensor:
        """Cross entropy, and both players' losses: `trade_off` is for the network's alone."""
        passed = self.passed(batch)
        return self.supervised(passed) + _added(passed.logits_s, passed.logits_t, self.discriminator, self.options)


class AdventMaps(Step):
    """The same for labels of pixels: `network` gives B x C x H x W logits, `supervised` their loss on the source.

    Source and target may have other sizes. `network.levels` and `network.decoder` are what trains (see
    `model.scene_network`), the levels' BatchNorm with the statistics that it has.
    """

    def __init__(self, network: nn.Module, supervised: Supervised, classes: int, options: Options) -> None:
        super().__init__()
        self.network, self.supervised, self.options = network, supervised, options
        self.discriminator = map_discriminator(classes, options.hidden) if options.trade_off else nn.Identity()

    def forward(self, batch: DomainBatch, progress: float) -> Tensor:
        """The supervised loss of the source's scenes, and both players' losses."""
        logits_s, logits_t = self.network(*batch.source.inputs), self.network(*batch.target.inputs)
        return self.supervised(logits_s, batch.y) + _added(logits_s, logits_t, self.discriminator, self.options)

    def train(self, mode: bool = True) -> AdventMaps:
        """A network of which nothing trains stays in eval mode."""
        super().train(mode)
        if mode and not any(p.requires_grad for p in self.network.levels.parameters()):
            self.network.levels.eval()
        return self

    def groups(self) -> list[Group]:
        """The network's levels at `network_rate` (0: frozen), its decoder and the discriminator at the full rate."""
        options, levels = self.options, self.network.levels
        set_norm(levels, options.norm or ("affine" if options.network_rate else "frozen"))
        rest = nn.ModuleList([self.network.decoder, self.discriminator])
        slow = parameter_groups(levels, nn.Identity(), decay=options.decay) if options.network_rate else []
        scaled = [Group(name=g.name, params=g.params, rate=g.rate * options.network_rate, decay=g.decay) for g in slow]
        return [*scaled, *parameter_groups(nn.Identity(), rest, decay=options.decay)]


def build(net: Net, options: Options) -> Advent:
    """Train `net` against a discriminator of its predictions."""
    return Advent(net, options)
