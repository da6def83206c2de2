"""Mappings and heads as modules, so that they are part of what is exported. In float32, as exported files have it."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from torchgraft.core.errors import OptionError
from torchgraft.features.mapping import L2, Affine, Chain, Identity, Mapping, Projection, Standardise
from torchgraft.model.heads import FusedHead, Head, LinearHead, MlpHead

_WHY_NOT = {
    "tfidf": "it looks words up in texts",
    "knn": "its head looks up the nearest stored samples",
}


def mapping_module(mapping: Mapping) -> nn.Module:
    """B x D -> B x D', as `mapping.transform`. Raises `OptionError`, with the reason, for a kind that has no module."""
    match mapping:
        case Identity():
            return nn.Identity()
        case L2():
            return Normalised()
        case Standardise():
            return Shifted(mapping.mean, scale=mapping.scale)
        case Affine():
            return Shifted(mapping.mean, projection=mapping.projection, offset=mapping.offset)
        case Projection():
            return Shifted(mapping.mean, projection=mapping.projection)
        case Chain():
            return nn.Sequential(*map(mapping_module, mapping.mappings))
    raise OptionError(_refusal("mapping", mapping.kind))


def head_module(head: Head) -> nn.Module:
    """B x D -> B x C logits, as `head.logits`. Raises `OptionError`, with the reason, for a kind that has no module."""
    match head:
        case LinearHead():
            return _linear(head.weight, head.bias)
        case MlpHead():
            return nn.Sequential(_linear(head.inner, head.inner_bias), nn.ReLU(), _linear(head.weight, head.bias))
        case FusedHead():
            return Fused(head).eval()
    raise OptionError(_refusal("head", head.kind))


def _refusal(what: str, kind: str) -> str:
    return f"the {what} '{kind}' has no form in ONNX ({_WHY_NOT.get(kind, 'it is of a kind this version lacks')})"


class Normalised(nn.Module):
    """z / ||z||_2, row by row; a row of zeros stays so."""

    def forward(self, z: Tensor) -> Tensor:
        """B x D rows of length 1."""
        return z / (z * z).sum(1, keepdim=True).sqrt().clamp(min=1e-12)


class Shifted(nn.Module):
    """((z - mean) / scale) P + offset, of which all but the mean may be missing."""

    def __init__(self, mean: np.ndarray, **more: np.ndarray) -> None:
        super().__init__()
        arrays = {"scale": None, "projection": None, "offset": None} | more
        for name, values in {"mean": mean, **arrays}.items():
            self.register_buffer(name, None if values is None else _tensor(values))

    def forward(self, z: Tensor) -> Tensor:
        """B x D' rows."""
        z = z - self.mean
        z = z if self.scale is None else z / self.scale
        z = z if self.projection is None else z @ self.projection
        return z if self.offset is None else z + self.offset


class Fused(nn.Module):
    """What `FusedHead` computes, for the same arrays."""

    def __init__(self, head: FusedHead) -> None:
        super().__init__()
        arrays = {name: _tensor(values) for name, values in head.arrays.items()}
        self.how, self.widths = head.how, list(head.widths)
        self.project = nn.ModuleList(
            _linear(head.arrays[f"project.{i}.weight"], head.arrays[f"project.{i}.bias"])
            for i in range(len(self.widths))
        )
        self.classes = _linear(head.arrays["classes.weight"], head.arrays["classes.bias"])
        for name in ("scores", "gamma", "query"):
            self.register_buffer(name, arrays.get(name))
        if self.how == "gru":
            own = {name.removeprefix("recurrent."): a for name, a in arrays.items() if name.startswith("recurrent.")}
            width = own["weight_hh_l0"].shape[1]
            self.recurrent = nn.GRU(own["weight_ih_l0"].shape[1], width, batch_first=True)
            self.recurrent.load_state_dict(own)

    def forward(self, z: Tensor) -> Tensor:
        """B x C logits."""
        sources = z.split(self.widths, dim=1)
        tokens = torch.stack([layer(one) for layer, one in zip(self.project, sources, strict=True)], dim=1)
        return self.classes(self._joined(tokens))

    def _joined(self, tokens: Tensor) -> Tensor:
        """B x L x K -> B x K."""
        if self.how == "mix":
            return self.gamma * (self.scores.softmax(0)[:, None] * tokens).sum(1)
        if self.how == "attention":
            weights = ((tokens * self.query).sum(2) / math.sqrt(self.query.shape[0])).softmax(1)
            return (weights[..., None] * tokens).sum(1)
        return self.recurrent(tokens)[0][:, -1]


def _linear(weight: np.ndarray, bias: np.ndarray) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": _tensor(weight), "bias": _tensor(bias)})
    return layer


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(values, dtype=np.float32))
