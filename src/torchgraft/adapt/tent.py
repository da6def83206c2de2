"""BatchNorm's scale and shift trained for certain predictions, also while predicting (TENT, Wang et al. 2021)."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from torchgraft.adapt._entropy import entropy
from torchgraft.adapt._norms import batch_norms, follow_target
from torchgraft.adapt.base import AdaptOptions, DomainNet, Net, Passed
from torchgraft.core.errors import DataError
from torchgraft.train.groups import Group
from torchgraft.train.norm import set_norm
from torchgraft.train.optim import optimizer

SOURCE = False


@dataclass(frozen=True, kw_only=True)
class Options(AdaptOptions):
    """What can be set; see `AdaptOptions` for the rest.

    The rate is the authors' (Adam, no weight decay), the same in all layers, and constant in a stream; `batch` is how
    many samples are normalised together, of which TENT needs many.
    """

    rate: float = 1e-3
    epochs: int = 1
    batch: int = 200
    decay: float = 0.0
    optimizer: str = "adamw"


def tent(logits: Tensor) -> Tensor:
    """mean_b H(p_b) of B x C logits, in nats; a scalar from 0 to log C.

    Wang et al., "Tent: fully test-time adaptation by entropy minimization", ICLR 2021.
    """
    return entropy(logits).mean()


def affine(net: nn.Module) -> list[nn.Parameter]:
    """Gamma and beta of every BatchNorm whose policy lets them train.

    Raises `DataError` where there are none.
    """
    found = [p for layer in batch_norms(net) for p in (layer.weight, layer.bias) if isinstance(p, nn.Parameter)]
    if not found:
        raise DataError(
            "tent trains BatchNorm alone, and this network has none that may move. Use a network with BatchNorm, "
            "the option norm = 'train', or another method, such as shot."
        )
    return found


class Tent(DomainNet):
    """One pass over the target at hand: its statistics, then entropy down with the statistics of each batch."""

    def __init__(self, net: Net, options: Options) -> None:
        super().__init__(net, options)
        affine(net)

    def before_epoch(self, epoch: int) -> None:
        """Before the first, the running statistics become the target's, from which they are measured later."""
        if not epoch:
            follow_target(self.net, self.domains, self.device)

    def train(self, mode: bool = True) -> Tent:
        """Only BatchNorm is ever in training mode: no dropout."""
        super().train(False)
        self.training = mode
        for layer in batch_norms(self.net):
            layer.train(mode)
        return self

    def transfer(self, passed: Passed, progress: float) -> Tensor:
        """`tent` of the target."""
        return tent(passed.logits_t)

    def groups(self) -> list[Group]:
        """Gamma and beta."""
        return [_group(self.net, self.options)]


class Stream:
    """A network that adapts to what it predicts, batch by batch; the one that is given stays as it is.

    `stream(inputs)` gives the B x C logits from before the update that the same batch brings, with the batch's own
    statistics. A batch of one sample has none, and one whose entropy is not finite has none that serve: it is
    predicted with the statistics of those before, and nothing changes. `reset()` forgets everything seen. Raises
    `DataError` for a network without BatchNorm.
    """

    def __init__(self, net: Net, options: Options | None = None) -> None:
        self.options = options or Options()
        self.net = copy.deepcopy(net).eval()
        set_norm(self.net, "train")
        self.net.requires_grad_(False)
        for p in affine(self.net):
            p.requires_grad_(True)
        self._start = copy.deepcopy(self.net.state_dict())
        self.reset()

    def __call__(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """B x C logits, without gradient; then one update."""
        if len(inputs[0]) < 2:
            return self._as_it_is(inputs)
        norms = batch_norms(self.net)
        before = [copy.deepcopy(layer.state_dict()) for layer in norms]
        for layer in norms:
            layer.train()
        with torch.enable_grad():
            logits = self.net.logits(inputs)
            loss = tent(logits)
        if not torch.isfinite(loss):
            for layer, state in zip(norms, before, strict=True):
                layer.load_state_dict(state)
            return self._as_it_is(inputs)
        loss.backward()
        self._optimizer.step()
        self._optimizer.zero_grad()
        return logits.detach()

    def _as_it_is(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Logits with the statistics of what came before."""
        with torch.no_grad():
            return self.net.eval().logits(inputs)

    def reset(self) -> None:
        """Back to the network that was given, and an optimizer that knows nothing."""
        self.net.load_state_dict(self._start)
        self._optimizer = optimizer(self.options.optimizer, [_group(self.net, self.options)], self.options.rate)


def _group(net: Net, options: Options) -> Group:
    return Group(name="BatchNorm", params=tuple(affine(net)), rate=1.0, decay=options.decay)


def build(net: Net, options: Options) -> Tent:
    """Train BatchNorm of `net`. Raises `DataError` where it has none that may train."""
    return Tent(net, options)
