"""The README is held to the files: its tree, and its commands."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

TOP = Path(__file__).parent.parent
README = (TOP / "README.md").read_text(encoding="utf-8")


def test_the_tree_is_the_one_on_disk() -> None:
    spec = importlib.util.spec_from_file_location("tree", TOP / "scripts" / "tree.py")
    tree = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tree)
    assert tree.written(README) == README, "run `python scripts/tree.py --write`"


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (TOP / target).exists(), target


def test_the_two_commands_are_in_the_makefile() -> None:
    makefile = (TOP / "Makefile").read_text(encoding="utf-8")
    for goal in re.findall(r"`make (\w+)`", README):
        assert re.search(rf"^{goal}:", makefile, re.MULTILINE), goal
