"""What a deep adaptation method is given, and what it gives the loop.

A method is one file in this room. It offers:

- `Options`: a frozen, keyword-only dataclass on `AdaptOptions` (its docstring lists units and ranges);
- `SOURCE`: whether it needs labelled source data; one that does not starts from a fitted network;
- `build(net: Net, options: Options) -> DomainNet`: the step that trains `net`, with what else the method trains as
  sub-modules;
- its loss as a pure function, formula and paper in the docstring.

`DomainNet` says what a method can change: `transfer` for what it adds to the cross entropy, `forward` for a loss of its
own, `groups` for what trains, `begin` for what happens once before training (with all unlabelled data at hand, also in
`over_target`) and `before_epoch` for what happens again before each epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from torchgraft.adapt._domains import DomainBatch, DomainLoader, side_by_side
from torchgraft.core.errors import DataError, OptionError
from torchgraft.model import LinearHead, MlpHead
from torchgraft.train.groups import Group, parameter_groups
from torchgraft.train.loader import outputs
from torchgraft.train.loss import cross_entropy
from torchgraft.train.optim import OPTIMIZERS
from torchgraft.train.step import Batch, Step

MEASURE = 256
"""Samples of a batch without gradients."""


@dataclass(frozen=True, kw_only=True)
class AdaptOptions:
    """What can be set with every method.

    `rate`: learning rate at the start (above 0); it falls as (1 + 10 p)^(-3/4) over the planned steps. `epochs`: times
    that the larger domain is gone through (0: as many as make 600 updates, from 5 to 40). `batch`: samples of one
    update, half source and half target (at least 4). `width`: K, units of the bottleneck. `decay`: weight decay.
    `trade_off`: factor on what the method adds to the cross entropy (0 or more). `network_rate`: factor on the rate of
    the network below the bottleneck (0: it is frozen). `optimizer`: sgd (momentum 0.9, Nesterov) or adamw. `clip`:
    largest gradient norm (0: none). `norm`: BatchNorm policy of the network below, see `train.norm` (empty: `train`
    where the batch is large enough, else `frozen`); the method's own layers always train.

    A subclass adds to `BOUNDS` (name, least, greatest). Raises `OptionError`, with all that is wrong.
    """

    rate: float = 0.01
    epochs: int = 0
    batch: int = 64
    width: int = 256
    decay: float = 1e-3
    trade_off: float = 1.0
    network_rate: float = 0.1
    optimizer: str = "sgd"
    clip: float = 0.0
    norm: str = ""

    BOUNDS = (
        ("rate", 1e-9, 100), ("epochs", 0, 100_000), ("batch", 4, 1_000_000), ("width", 1, 65_536), ("decay", 0, 1),
        ("trade_off", 0, 1e6), ("network_rate", 0, 100), ("clip", 0, 1e9),
    )  # fmt: skip

    def __post_init__(self) -> None:
        bounds = [bound for kind in type(self).__mro__ for bound in vars(kind).get("BOUNDS", ())]
        wrong = [
            f"{name} expects a number in [{low:g}, {high:g}], got {value!r}"
            for name, low, high in bounds
            if not low <= (value := getattr(self, name)) <= high
        ]
        if self.optimizer not in OPTIMIZERS:
            wrong.append(f"optimizer expects {' or '.join(OPTIMIZERS)}, got {self.optimizer!r}")
        if wrong:
            raise OptionError("; ".join(wrong) + ".")


class Net(nn.Module):
    """logits = head(bottleneck(network(x))): what is adapted, and what is left when training is over.

    `network` is any module from inputs to B x D features (`nn.Identity()` on features that are at hand), `bottleneck`
    one from there to B x K, `head` a linear layer to B x C.
    """

    def __init__(self, network: nn.Module, bottleneck: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.network, self.bottleneck, self.head = network, bottleneck, head

    @classmethod
    def fresh(cls, network: nn.Module, width: int, n_classes: int, *, bottleneck: int = 256) -> Net:
        """A linear layer from the network's D = `width` features to K, BatchNorm, ReLU; then a linear head."""
        layers = nn.Sequential(nn.Linear(width, bottleneck), nn.BatchNorm1d(bottleneck), nn.ReLU())
        return cls(network, layers, nn.Linear(bottleneck, n_classes))

    @classmethod
    def of_head(cls, head: LinearHead | MlpHead, network: nn.Module | None = None) -> Net:
        """A network that computes what a fitted head does, for methods that start without source data.

        The hidden layer of an `MlpHead` is the bottleneck, without BatchNorm. Below a `LinearHead` it is a linear map
        from D to D that starts as the identity.
        """
        if isinstance(head, MlpHead):
            bottleneck: nn.Module = nn.Sequential(_linear(head.inner, head.inner_bias), nn.ReLU())
        else:
            width = head.weight.shape[1]
            bottleneck = _linear(np.eye(width), np.zeros(width))
        return cls(network or nn.Identity(), bottleneck, _linear(head.weight, head.bias))

    def features(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """B x K outputs of the bottleneck."""
        return self.bottleneck(self.network(*inputs))

    def logits(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """B x C logits."""
        return self.head(self.features(inputs))

    def fitted_head(self) -> LinearHead | MlpHead:
        """What stands above `network`, as arrays; BatchNorm with its running statistics becomes part of the layer.

        Raises `DataError` for a bottleneck that is neither of the two forms that `fresh` and `of_head` make.
        """
        layers = list(self.bottleneck) if isinstance(self.bottleneck, nn.Sequential) else [self.bottleneck]
        kinds = [type(layer) for layer in layers if not isinstance(layer, nn.BatchNorm1d)]
        if kinds not in ([nn.Linear], [nn.Linear, nn.ReLU]):
            raise DataError(f"a bottleneck of {self.bottleneck} is no head: expected Linear, BatchNorm1d, ReLU.")
        inner, inner_bias = _arrays(layers[0])
        for norm in (layer for layer in layers if isinstance(layer, nn.BatchNorm1d)):
            inner, inner_bias = _folded(inner, inner_bias, norm)
        weight, bias = _arrays(self.head)
        if kinds == [nn.Linear]:
            return LinearHead(weight @ inner, weight @ inner_bias + bias)
        return MlpHead(inner, inner_bias, weight, bias)


@dataclass(frozen=True, eq=False)
class Passed:
    """What a batch became on its way up: `z_s`, `z_t` (B x K) and logits (B x C) of both domains, and the batch.

    The source's are None where there is no source.
    """

    z_s: Tensor | None
    z_t: Tensor
    logits_s: Tensor | None
    logits_t: Tensor
    batch: DomainBatch


class DomainNet(Step):
    """Cross entropy on the source plus `trade_off` times what a method adds: the step that a method's file builds.

    Source and target go up together, so that BatchNorm sees one batch (Long et al. 2015).
    """

    def __init__(self, net: Net, options: AdaptOptions) -> None:
        super().__init__()
        self.net, self.options = net, options
        self.domains: DomainLoader | None = None

    def forward(self, batch: DomainBatch, progress: float) -> Tensor:
        """The mean loss of a batch."""
        passed = self.passed(batch)
        return self.supervised(passed) + self.options.trade_off * self.transfer(passed, progress)

    def passed(self, batch: DomainBatch) -> Passed:
        """Both domains through the network at once."""
        if batch.source is None:
            z = self.net.features(batch.target.inputs)
            return Passed(None, z, None, self.net.head(z), batch)
        z = self.net.features(side_by_side(batch.source.inputs, batch.target.inputs))
        logits, n = self.net.head(z), len(batch.source)
        return Passed(z[:n], z[n:], logits[:n], logits[n:], batch)

    def supervised(self, passed: Passed) -> Tensor:
        """Mean cross entropy on the source; 0 without one."""
        if passed.logits_s is None:
            return passed.logits_t.new_zeros(())
        return cross_entropy(passed.logits_s, passed.batch.y)

    def transfer(self, passed: Passed, progress: float) -> Tensor:
        """What the method adds, a scalar; `progress` in [0, 1] is the share of the planned steps that is done."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> DomainNet:
        """A network below of which nothing trains stays in eval mode: no dropout while only the rest learns."""
        super().train(mode)
        if mode and not any(p.requires_grad for p in self.net.network.parameters()):
            self.net.network.eval()
        return self

    def begin(self, domains: DomainLoader) -> None:
        """Called once before training with all that is trained on."""
        self.domains = domains

    def over_target(self, compute: Callable[[Batch], Tensor]) -> np.ndarray:
        """`compute` over the whole target, plain and in eval mode: Nt x ... float32 in the order of `target_rows`."""
        rows, before = self.domains.target_rows, self.training
        self.eval()
        try:
            return outputs(self.domains.target, rows, compute, batch=MEASURE, device=self.device)
        finally:
            self.train(before)

    def groups(self) -> list[Group]:
        """What trains: the network at `network_rate`, all else at the full rate. Empty: nothing does.

        Biases, other vectors and norms have no weight decay.
        """
        options, slow = self.options, []
        if options.network_rate and any(True for _ in self.net.network.parameters()):
            found = parameter_groups(self.net.network, nn.Identity(), decay=options.decay)
            slow = [replace(group, rate=group.rate * options.network_rate) for group in found]
        below = {id(p) for p in self.net.network.parameters()}
        rest = nn.ParameterList(p for p in self.parameters() if id(p) not in below)
        return [*slow, *parameter_groups(nn.Identity(), rest, decay=options.decay)]

    def features(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """B x K outputs of the bottleneck."""
        return self.net.features(inputs)

    def logits(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """B x C logits."""
        return self.net.logits(inputs)

    def probabilities(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """B x C softmax of the logits."""
        return torch.softmax(self.logits(inputs).float(), dim=1)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.net.head.weight.device


def _linear(weight: np.ndarray, bias: np.ndarray) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.asarray(weight, dtype=np.float32)))
        layer.bias.copy_(torch.from_numpy(np.asarray(bias, dtype=np.float32)))
    return layer


def _arrays(layer: nn.Linear) -> tuple[np.ndarray, np.ndarray]:
    weight, bias = (p.detach().cpu().numpy().astype(np.float64) for p in (layer.weight, layer.bias))
    return weight, bias


def _folded(weight: np.ndarray, bias: np.ndarray, norm: nn.BatchNorm1d) -> tuple[np.ndarray, np.ndarray]:
    """The layer gamma (V z + c - mean) / sqrt(var + eps) + beta as V and c of one linear layer."""
    mean, var, gamma, beta = (
        t.detach().cpu().numpy().astype(np.float64)
        for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    scale = gamma / np.sqrt(var + norm.eps)
    return weight * scale[:, None], (bias - mean) * scale + beta
