"""Which maps are levels: by hand, on networks of a few lines."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from torchgraft.backbones._level_places import Event, block_of, pick


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("features.4.0.block.1", "features.4.0"),
        ("layer2.0.conv1", "layer2.0"),
        ("model.blocks.11.expand_conv", "model.blocks.11"),
        ("model.s1.b1.conv", "model.s1"),
        ("inception3a.branch1", "inception3a"),
        ("bn1", "bn1"),
        ("stem", "stem"),
        ("blocks.15", "blocks.15"),
    ],
)
def test_a_block_is_the_first_numbered_part(name: str, block: str) -> None:
    assert block_of(name) == block


def _events(*rows: tuple[str, int, int]) -> list[Event]:
    return [Event(name, (1, c, n, n), torch.zeros(1, c, n, n), 0) for name, c, n in rows]


def test_the_inside_of_a_block_that_shrinks_is_no_level() -> None:
    events = _events(("blocks.0.conv", 8, 32), ("blocks.1.expand", 48, 32), ("blocks.1.shrink", 12, 16))
    parts = {event.name: nn.Identity() for event in events}
    assert {s: e.name for s, e in pick(events, 64, parts).items()} == {2: "blocks.0.conv", 4: "blocks.1.shrink"}


def test_a_function_belongs_to_the_module_before_it() -> None:
    events = _events(("features.1.conv", 8, 32), ("", 8, 32), ("features.2.conv", 8, 16))
    parts = {event.name: nn.Identity() for event in events}
    assert pick(events, 64, parts)[2] is events[1]


@pytest.mark.parametrize(("after", "last"), [(16, "blocks.0"), (4, "head.act"), (8, "head.act")])
def test_only_what_widens_is_left_out(after: int, last: str) -> None:
    events = _events(("blocks.0", 8, 32), ("head", after, 32), ("head.act", after, 32))
    parts = {"blocks.0": nn.Conv2d(3, 8, 3), "head": nn.Conv2d(8, after, 1), "head.act": nn.ReLU()}
    assert pick(events, 64, parts)[2].name == last


def test_maps_of_other_sizes_are_no_levels() -> None:
    events = _events(("a", 8, 64), ("b", 8, 31), ("c", 8, 1), ("d", 8, 8))
    assert list(pick(events, 64, {event.name: nn.Identity() for event in events})) == [8]


def test_a_map_knows_itself_unless_it_was_changed() -> None:
    z = torch.ones(1, 2, 3, 3)
    event = Event("a", tuple(z.shape), z, z._version)
    assert event.is_of(z)
    assert not event.is_of(z.clone())
    z.mul_(2)
    assert not event.is_of(z)
