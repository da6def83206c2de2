"""docs/cli.md is what the command line says of itself."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from torchgraft.core import registry

TOP = Path(__file__).parent.parent
PAGE = (TOP / "docs" / "cli.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cli_page", TOP / "scripts" / "cli_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def fresh(script: ModuleType) -> str:
    return script.page()


def test_the_page_is_up_to_date(script: ModuleType, fresh: str) -> None:
    made_with = PAGE.partition("\n")[0]
    if made_with != script.made_with():
        pytest.skip(f"other versions draw the frames: the page has {made_with}, here is {script.made_with()}")
    assert fresh == PAGE, "run `python scripts/cli_page.py`"


def test_every_word_of_the_help_is_on_the_page_whatever_draws_the_frames(fresh: str) -> None:
    assert _words(fresh) == _words(PAGE), "run `python scripts/cli_page.py`"


def test_every_verb_has_a_section(fresh: str) -> None:
    for verb in registry.names("cli"):
        assert f"\n## graft {verb}\n" in fresh


def test_the_page_is_plain_and_narrow(fresh: str) -> None:
    assert "\x1b" not in fresh
    shown = [block for i, block in enumerate(fresh.split("```")) if i % 2]
    assert max(len(line) for block in shown for line in block.splitlines()) <= 100


def _words(page: str) -> list[str]:
    """The set of plain words and flags, sorted: no frames, no types (whose spelling is typer's), no versions."""
    body = page.partition("\n")[2]
    words = {word.strip(".,:;()[]`") for word in body.split()}
    return sorted(word for word in words if (word[:1].isalpha() and not word.isupper()) or word.startswith("--"))
