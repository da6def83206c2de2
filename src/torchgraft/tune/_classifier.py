"""A backbone, a neck and a linear head as one step of the training loop."""

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
from torchgraft.model import LinearHead, Tuned
from torchgraft.train.loss import ClassLoss
from torchgraft.train.step import Batch, Step

Penalty = Callable[["Classifier", Tensor, Batch], Tensor]
"""What a method adds to the loss, from the pooled features (B x D) of a batch: a scalar."""


class Classifier(Step):
    """logits = head(neck(network(x))), trained with a class loss and, where a method has one, a penalty.

    `network` is preprocessing, backbone and pooling (a copy: the backbone given stays as it is).
    """

    def __init__(self, backbone: Backbone, pooling: str, mapping: mappings.Mapping, classes: int) -> None:
        super().__init__()
        self.network = copy.deepcopy(compose(backbone, pooling))
        if any(isinstance(part, nn.Conv2d) for part in self.network.modules()):
            self.network = self.network.to(memory_format=torch.channels_last)
        self.neck = neck(mapping)
        self.head = nn.Linear(width(backbone, pooling), classes)
        self.loss: ClassLoss | None = None
        self.penalty: Penalty | None = None

    def start_from(self, head: LinearHead) -> None:
        """Take over a fitted head."""
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(np.asarray(head.weight, dtype=np.float32)))
            self.head.bias.copy_(torch.from_numpy(np.asarray(head.bias, dtype=np.float32)))

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
        return self.head.weight.device

    def fitted_head(self) -> LinearHead:
        """The head as arrays."""
        weight, bias = (p.detach().cpu().numpy().astype(np.float64) for p in (self.head.weight, self.head.bias))
        return LinearHead(weight, bias)

    def tuned(self, backbone: Backbone) -> Tuned:
        """The tensors of the backbone that differ from those it came with."""
        before, arrays = backbone.module.state_dict(), {}
        for name, tensor in self.network.module.state_dict().items():
            if not torch.equal(tensor.cpu(), before[name].cpu()):
                arrays[name] = tensor.detach().cpu().contiguous().numpy().copy()
        return Tuned(base=backbone.name, revision=backbone.revision, arrays=arrays)


def neck(mapping: mappings.Mapping) -> nn.Module:
    """A fitted mapping as a module whose gradient reaches the backbone: l2 or identity."""
    return _Length1() if mapping.kind == mappings.L2.kind else nn.Identity()


class _Length1(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return nn.functional.normalize(z, dim=1)
