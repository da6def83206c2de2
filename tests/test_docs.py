"""The documentation is held to the files: its pages, its links, its code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from torchgraft.core import registry

TOP = Path(__file__).parent.parent
DOCS = TOP / "docs"
PAGES = sorted(DOCS.glob("*.md"))
NAV = re.findall(r"^\s+-(?: [^:\n]+:)? (\S+\.md)$", (TOP / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_navigation_names_every_page_once() -> None:
    assert NAV
    assert sorted(NAV) == [page.name for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        assert not anchor or anchor in _anchors(file), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_begin_with_one_title(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_parses_and_its_imports_exist(page: Path) -> None:
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        imports = [n for n in ast.walk(ast.parse(block)) if isinstance(n, ast.Import | ast.ImportFrom)]
        exec(compile(ast.Module(imports, []), page.name, "exec"), {})


@pytest.mark.parametrize(("page", "room"), [(room, room) for room in ("tune", "rank", "backbones", "data", "tasks")])
def test_a_room_s_page_names_every_entry(page: str, room: str) -> None:
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    for name in registry.names(room):
        assert f"`{name}`" in text, f"docs/{page}.md lacks `{name}`"


def _anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}
