"""`graft list`: rooms and their entries."""

from __future__ import annotations

import json

import pytest

from torchgraft.cli.list import ROOMS
from torchgraft.core import registry


def test_without_a_word_it_lists_what_can_be_listed(graft) -> None:
    done = graft("list")
    assert [line.split()[0] for line in done.out.splitlines()] == [
        "backbones",
        "methods",
        "alignments",
        "adaptations",
        "scores",
        "tasks",
        "providers",
        "readers",
        "verbs",
    ]


def test_methods_are_the_files_of_their_room(graft) -> None:
    assert json.loads(graft("list", "methods", "--json").out) == {"methods": registry.describe("tune")}
    lines = graft("list", "methods").out.splitlines()
    assert tuple(line.split()[0] for line in lines) == registry.names("tune")


def test_backbones_are_those_that_load_here(graft) -> None:
    from torchgraft.backbones import offers

    names = [offer.name for offer in offers()]
    assert "packaged/efficientnet_lite0" in names
    assert [one["name"] for one in json.loads(graft("list", "backbones", "--json").out)["backbones"]] == names
    shown = graft("list", "backbones").out
    assert all(name in shown for name in names)


def test_the_settings_of_a_method(graft) -> None:
    said = graft("list", "lp_ft").out
    assert said.startswith("lp_ft, one of the methods: The exact linear probe, then everything at a lower rate.\n")
    rows = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line}
    assert rows["layer_decay"] == ["float", "1.0"]
    assert rows["rotation"] == ["float", "|", "None", "None"]
    assert rows["augment"] == ["str", '"auto"']
    assert "`rotation`, up to so many degrees" in said, "docstrings that are inherited count too"
    entry = json.loads(graft("list", "lp_ft", "--json").out)["lp_ft"][0]
    assert {"name": "batch", "type": "int", "required": False, "default": 16} in entry["settings"]
    fields = registry.get("tune", "lp_ft").Options.__dataclass_fields__
    assert [one["name"] for one in entry["settings"]] == list(fields)


@pytest.mark.parametrize("room", ["tune", "align", "adapt"])
def test_every_method_alignment_and_adaptation_can_be_asked_for(graft, room: str) -> None:
    for name in registry.names(room):
        entries = {ROOMS[entry["room"]]: entry for entry in json.loads(graft("list", name, "--json").out)[name]}
        assert [one["name"] for one in entries[room]["settings"]] == list(
            registry.get(room, name).Options.__dataclass_fields__
        )


def test_a_name_of_two_rooms_and_one_without_settings(graft) -> None:
    said = graft("list", "pseudo_label").out
    assert "pseudo_label, one of the alignments: " in said
    assert "pseudo_label, one of the adaptations: " in said
    assert "It has no settings." in graft("list", "majority").out


def test_a_near_miss(graft) -> None:
    assert "Did you mean 'lp_ft'" in graft("list", "lpft").err
    done = graft("list", "method")
    assert done.code == 2
    assert "Did you mean 'methods'" in done.err
