"""A backbone whose weights were trained further: the tensors that changed, and what they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from torchgraft import backbones
from torchgraft.backbones import Backbone, Network
from torchgraft.core.errors import ArtifactError
from torchgraft.core.files import digest


@dataclass(frozen=True, kw_only=True, eq=False)
class Tuned:
    """Weights of one's own for the backbone `base`, which had `revision` before.

    `arrays` maps names in the state of the backbone's module to the tensors that changed; the others are the base's.
    """

    base: str
    revision: str
    arrays: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, backbone: Backbone, module: Any) -> Tuned:
        """What of `module` (a torch module with the state of the backbone's, on any device) differs from it."""
        before, arrays = backbone.module.state_dict(), {}
        for name, tensor in module.state_dict().items():
            array = tensor.detach().cpu().contiguous().numpy()
            if not np.array_equal(array, before[name].cpu().numpy()):
                arrays[name] = array.copy()
        return cls(base=backbone.name, revision=backbone.revision, arrays=arrays)

    @classmethod
    def from_state(cls, config: Sequence[Mapping[str, str]], arrays: Mapping[str, np.ndarray]) -> dict[str, Tuned]:
        """Undo `state_of`."""
        return {
            one["source"]: cls(base=one["base"], revision=one["revision"], arrays=under(arrays, f"tuned.{i}."))
            for i, one in enumerate(config)
        }

    @property
    def name(self) -> str:
        """The source under which features of these weights go."""
        return f"tuned/{self.base}"

    @cached_property
    def digest(self) -> str:
        """Content hash of base and changes: the revision of the tuned backbone."""
        pieces: list[bytes | str] = [self.revision]
        for name in sorted(self.arrays):
            pieces += [name, np.ascontiguousarray(self.arrays[name]).tobytes()]
        return digest(pieces)

    def backbone(self, base: Backbone) -> Backbone:
        """The backbone with these weights. Its network is built when it is first needed.

        Raises `ArtifactError` where `base` has other weights than were trained further.
        """
        if base.revision != self.revision:
            raise ArtifactError(
                f"{base.name} has other weights here (revision {base.revision}) than those that were tuned "
                f"({self.revision}). Install the version it was fitted with, or fit again."
            )
        return replace(base, name=self.name, revision=self.digest, build=lambda: self._filled(base.build()))

    def _filled(self, network: Network) -> Network:
        import torch  # here, since features that are in the store need none

        state = network.module.state_dict()
        strange = [
            name for name, a in self.arrays.items() if name not in state or tuple(state[name].shape) != tuple(a.shape)
        ]
        if strange:
            raise ArtifactError(f"the tuned weights don't fit {self.base}: {strange[0]} is not one of its tensors.")
        with torch.no_grad():
            for name, a in self.arrays.items():
                state[name].copy_(torch.from_numpy(np.array(a)))
        return network


def state_of(tuned: Mapping[str, Tuned]) -> tuple[list[dict[str, str]], dict[str, np.ndarray]]:
    """What `Tuned.from_state` needs to make these again: plain values, and arrays under `tuned.0.`, `tuned.1.`, ..."""
    config = [{"source": source, "base": one.base, "revision": one.revision} for source, one in tuned.items()]
    arrays = {f"tuned.{i}.{name}": a for i, one in enumerate(tuned.values()) for name, a in one.arrays.items()}
    return config, arrays


def loaded(name: str, own: Tuned | None, expected: str) -> Backbone:
    """The backbone `name`, with the weights in `own` where it has some.

    Raises `ArtifactError` where its revision is not the `expected` one.
    """
    found = own.backbone(backbones.load(own.base)) if own else backbones.load(name)
    if found.revision != expected:
        raise ArtifactError(
            f"{name} has other weights here (revision {found.revision}) than the graft was fitted on "
            f"({expected}). Install the version it was fitted with, or fit again."
        )
    return found


def under(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
