"""A backbone, a neck and a head as one step of the training loop."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from torchgraft.backbones import Backbone
from torchgraft.features import compose
from torchgraft.features import mapping as mappings
from torchgraft.features.pooling import width
from torchgraft.model import LinearHead, MlpHead, Tuned
from torchgraft.train.loss import ClassLoss
from torchgraft.train.step import Batch, Step

Penalty = Callable[["Classifier", Tensor, Batch], Tensor]
"""What a method adds to the loss, from the pooled features (B x D) of a batch: a scalar."""


class Classifier(Step):
    """logits = head(neck(network(x))), trained with a class loss and, where a method has one, a penalty.

    `network` is preprocessing, backbone and pooling (a copy: the backbone given stays as it is). The head is linear, or
    with `hidden` a layer of so many ReLU units, of which `dropout` are dropped in training, before it.
    """

    def __init__(
        self,
        backbone: Backbone,
        pooling: str,
        mapping: mappings.Mapping,
        classes: int,
        *,
        hidden: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.network = copy.deepcopy(compose(backbone, pooling))
        if any(isinstance(part, nn.Conv2d) for part in self.network.modules()):
            self.network = self.network.to(memory_format=torch.channels_last)
        self.neck = neck(mapping)
        self.head = _head(width(backbone, pooling), classes, hidden, dropout)
        self.loss: ClassLoss | None = None
        self.penalty: Penalty | None = None

    def start_from(self, head: LinearHead) -> None:
        """Take over a fitted head; for a linear one."""
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(np.asarray(head.weight, dtype=np.float32)))
            self.head.bias.copy_(torch.from_numpy(np.asarray(head.bias, dtype=np.float32)))

    def start_at(self, bias: np.ndarray) -> None:
        """Set the classes' biases (C,) of a random head."""
        with torch.no_grad():
            self._last.bias.copy_(torch.from_numpy(bias))

    def forward(self, batch: Batch, progress: float) -> Tensor:
        """The mean loss of a batch."""
        z = self.network(*batch.inputs)
        loss = self.loss(self.head(self.neck(z)), batch.y)
        return loss if self.penalty is None else loss + self.penalty(self, z, batch)

    def logits(self, batch: Batch) -> Tensor:
        """B x C logits."""
        return self.head(self.neck(self.network(*batch.inputs)))

    def train(self, mode: bool = True) -> Classifier:
        """A network of which nothing trains stays in eval mode: no dropout while only the head learns."""
        super().train(mode)
        if mode and not any(p.requires_grad for p in self.network.parameters()):
            self.network.eval()
        return self

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._last.weight.device

    def fitted_head(self) -> LinearHead | MlpHead:
        """The head as arrays."""
        if isinstance(self.head, nn.Linear):
            return LinearHead(*_arrays(self.head))
        return MlpHead(*_arrays(self.head[0]), *_arrays(self._last))

    @property
    def _last(self) -> nn.Linear:
        return self.head if isinstance(self.head, nn.Linear) else self.head[-1]

    def tuned(self, backbone: Backbone) -> Tuned:
        """The tensors of the backbone that differ from those it came with."""
        return Tuned.of(backbone, self.network.module)


def _head(width: int, classes: int, hidden: int, dropout: float) -> nn.Module:
    if not hidden:
        return nn.Linear(width, classes)
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, classes))


def _arrays(layer: nn.Linear) -> tuple[np.ndarray, np.ndarray]:
    weight, bias = (p.detach().cpu().numpy().astype(np.float64) for p in (layer.weight, layer.bias))
    return weight, bias


def neck(mapping: mappings.Mapping) -> nn.Module:
    """A fitted mapping as a module whose gradient reaches the backbone: l2 or identity."""
    return _Length1() if mapping.kind == mappings.L2.kind else nn.Identity()


class _Length1(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return nn.functional.normalize(z, dim=1)
