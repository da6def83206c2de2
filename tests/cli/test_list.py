"""`graft list`: rooms and their entries."""

from __future__ import annotations

import json

from torchgraft.core import registry


def test_without_a_word_it_lists_what_can_be_listed(graft) -> None:
    done = graft("list")
    assert [line.split()[0] for line in done.out.splitlines()] == [
        "backbones",
        "methods",
        "alignments",
        "adaptations",
        "scores",
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


def test_a_near_miss(graft) -> None:
    done = graft("list", "method")
    assert done.code == 2
    assert "Did you mean 'methods'" in done.err
