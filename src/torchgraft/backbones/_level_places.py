"""Which of the maps that a network makes on its way are its levels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from torch import Tensor, fx, nn

STRIDES = (2, 4, 8, 16, 32)

_BLOCK = re.compile(r".*?\d+[^.]*(?:\.\d+)*(?=\.|$)")
"""`features.4.0` of `features.4.0.block.1`, `layer2.0` of `layer2.0.conv1`: up to the first numbered part."""


@dataclass(frozen=True, eq=False)
class Event:
    """A map that the part `name` gave; `version` is torch's count of changes in place, when it was given.

    In a graph the map is that of a `node`; `name` is empty where the node is a function and no module.
    """

    name: str
    shape: tuple[int, ...]
    map: Tensor
    version: int
    node: fx.Node | None = None

    def is_of(self, z: Tensor) -> bool:
        """Whether z is this map again, unchanged: given on by the part that holds the part that made it."""
        return z.data_ptr() == self.map.data_ptr() and z._version == self.version and tuple(z.shape) == self.shape


def pick(events: Sequence[Event], size: int, parts: Mapping[str, nn.Module]) -> dict[int, Event]:
    """Stride -> the last map at that stride that is no inside of a block, for a square image of `size` pixels.

    A block is a numbered part. What is at stride 16 in a block that ends at stride 32 is its inside: widened channels
    on their way down. `parts` are the network's modules by name.
    """
    found: dict[int, Event] = {}
    for block in _without_widening(_blocks(events), parts):
        end = block[-1]
        stride = _stride(end.shape, size)
        if stride is not None:
            found[stride] = end
    return dict(sorted(found.items()))


def block_of(name: str) -> str:
    """The block that a part lies in, itself where it lies in none."""
    match = _BLOCK.match(name)
    return match[0] if match else name


def _stride(shape: Sequence[int], size: int) -> int | None:
    return next((s for s in STRIDES if tuple(shape[2:]) == (size // s, size // s)), None)


def _blocks(events: Sequence[Event]) -> list[list[Event]]:
    """Events in order, those of one block together; a function belongs to the block of the module before it."""
    keys, before = [], ""
    for event in events:
        before = block_of(event.name) if event.name else before
        keys.append(before)
    return [[event for _, event in group] for _, group in groupby(zip(keys, events, strict=True), key=lambda p: p[0])]


def _without_widening(blocks: list[list[Event]], parts: Mapping[str, nn.Module]) -> list[list[Event]]:
    """Without a last 1 x 1 convolution to more channels, and the norm and activation after it."""
    for i in range(len(blocks) - 1, 0, -1):
        convolutions = _convolutions(blocks[i], parts)
        if len(convolutions) == 1 and _widens(next(iter(convolutions))):
            return blocks[:i]
        if convolutions:
            break
    return blocks


def _convolutions(block: list[Event], parts: Mapping[str, nn.Module]) -> set[nn.Conv2d]:
    called = [parts[event.name] for event in block if event.name]
    return {part for module in called for part in module.modules() if isinstance(part, nn.Conv2d)}


def _widens(convolution: nn.Conv2d) -> bool:
    return convolution.kernel_size == (1, 1) and convolution.out_channels > convolution.in_channels
