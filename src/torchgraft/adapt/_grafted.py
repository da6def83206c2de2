"""A fitted graft as a network that can go on learning: its backbone, its mapping and its head, and the way back."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from torchgraft import backbones
from torchgraft.adapt.base import Net
from torchgraft.features import compose
from torchgraft.features import mapping as mappings
from torchgraft.model import Graft, LinearHead, MlpHead, Part, Tuned
from torchgraft.train.norm import norm_policy

WORKS = (
    "What works: photos, one image backbone with BatchNorm (such as packaged/efficientnet_lite0), and a linear or mlp "
    "head on its features, as `graft fit --method linear_probe` or lp_ft gives."
)


def unfit(graft: Graft) -> str:
    """Why a graft is not one backbone of photos with BatchNorm under a head with gradients; empty where it is."""
    wrong = [] if graft.modality == "image" else [f"it takes {graft.modality} samples"]
    if not isinstance(graft.head, LinearHead | MlpHead):
        wrong.append(f"its head is of the kind {graft.head.kind}")
    if len(graft.parts) != 1:
        names = ", ".join(part.source for part in graft.parts)
        wrong.append(f"it has {len(graft.parts)} sources of features ({names})" if names else "it looks at no feature")
    wrong += [fault for part in graft.parts if (fault := _fault_of_part(graft, part))]
    if not wrong and norm_policy(graft.loaded[graft.parts[0].source].module) == "none":
        wrong.append(f"{graft.parts[0].source} has no BatchNorm")
    return "; ".join(wrong)


def net_of(graft: Graft) -> Net:
    """A copy of the graft as a `Net` whose logits are the graft's, divided by its temperature. See `unfit` first."""
    part = graft.parts[0]
    network = copy.deepcopy(compose(graft.loaded[part.source], graft.backbones[part.source]["pooling"]))
    if any(isinstance(layer, nn.Conv2d) for layer in network.modules()):
        network = network.to(memory_format=torch.channels_last)
    return Net.of_head(_calibrated(graft), nn.Sequential(network, _module(part.mapping)))


def with_network(graft: Graft, net: Net, *, method: str) -> Graft:
    """The graft with the weights of a `Net` that `net_of` made and something below its head was trained of."""
    part = graft.parts[0]
    own = graft.tuned.get(part.source)
    base = backbones.load(own.base) if own else graft.loaded[part.source]
    module = net.network[0].module
    tuned = Tuned.of(base, module.module if isinstance(module, backbones.Levels) else module)
    about: Mapping[str, Any] = {
        **graft.backbones[part.source], "name": tuned.name, "base": base.name, "revision": tuned.digest
    }  # fmt: skip
    return replace(
        graft,
        parts=(Part(tuned.name, part.mapping),),
        backbones={tuned.name: about},
        tuned={tuned.name: tuned},
        method=method,
    )


def _fault_of_part(graft: Graft, part: Part) -> str:
    if part.source not in graft.backbones:
        return f"its features are of {part.source}, which is no backbone"
    strange = [kind for kind in _kinds(part.mapping) if kind not in _MODULES]
    return f"its features are mapped by {', '.join(strange)}" if strange else ""


def _kinds(mapping: mappings.Mapping) -> list[str]:
    if isinstance(mapping, mappings.Chain):
        return [kind for one in mapping.mappings for kind in _kinds(one)]
    return [mapping.kind]


def _calibrated(graft: Graft) -> LinearHead | MlpHead:
    """The head whose logits are the graft's, divided by its temperature."""
    head = graft.head
    weight, bias = head.weight / graft.temperature, head.bias / graft.temperature
    if isinstance(head, MlpHead):
        return MlpHead(head.inner, head.inner_bias, weight, bias)
    return LinearHead(weight, bias)


def _module(mapping: mappings.Mapping) -> nn.Module:
    """A fitted mapping through which gradients pass."""
    if isinstance(mapping, mappings.Chain):
        return nn.Sequential(*map(_module, mapping.mappings))
    return _MODULES[mapping.kind](mapping)


class _Length1(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return nn.functional.normalize(z, dim=1)


class _Scaled(nn.Module):
    """(z - mean) / scale."""

    def __init__(self, mapping: mappings.Standardise) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(mapping.mean))
        self.register_buffer("scale", torch.from_numpy(mapping.scale))

    def forward(self, z: Tensor) -> Tensor:
        return (z - self.mean) / self.scale


class _Projected(nn.Module):
    """(z - mean) P + offset."""

    def __init__(self, mapping: mappings.Affine | mappings.Projection) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(mapping.mean))
        self.register_buffer("projection", torch.from_numpy(np.ascontiguousarray(mapping.projection)))
        offset = mapping.offset if isinstance(mapping, mappings.Affine) else np.zeros(1, dtype=np.float32)
        self.register_buffer("offset", torch.from_numpy(offset))

    def forward(self, z: Tensor) -> Tensor:
        return (z - self.mean) @ self.projection + self.offset


_MODULES = {
    mappings.Identity.kind: lambda mapping: nn.Identity(),
    mappings.L2.kind: lambda mapping: _Length1(),
    mappings.Standardise.kind: _Scaled,
    mappings.Affine.kind: _Projected,
    mappings.PCA.kind: _Projected,
    mappings.LDA.kind: _Projected,
}
