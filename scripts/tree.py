"""Print the tree of the package, one line a file, from the files' own first docstring lines; or renew README's copy.

`python scripts/tree.py` prints it; `python scripts/tree.py --write` puts it between the markers in README.md.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

TOP = Path(__file__).parent.parent
PACKAGE = TOP / "src" / "torchgraft"
START, END = "<!-- tree -->", "<!-- /tree -->"
ROOMS = (
    *("core", "data backbones", "features", "model", "train"),
    *("tune align adapt rank", "evaluate", "tasks", "fit", "serve", "cli"),
)
FLOORS = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms.split()}


def tree() -> str:
    """The rooms from the lowest floor up, with one line for each file."""
    lines = ["src/torchgraft/"]
    for room in sorted(FLOORS, key=lambda name: (FLOORS[name], name)):
        lines.append(f"  {room + '/':<26}{FLOORS[room]}  {first_line(PACKAGE / room / '__init__.py')}")
        files = [p for p in sorted((PACKAGE / room).glob("*.py")) if p.stem != "__init__"]
        lines += [f"    {path.name:<26}{first_line(path)}" for path in files]
    return "\n".join(lines)


def first_line(path: Path) -> str:
    """The first sentence line of a file's docstring, without its full stop."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0].rstrip(".")


def written(readme: str) -> str:
    """README's text with the tree renewed between the markers."""
    before, rest = readme.split(START)
    return f"{before}{START}\n```\n{tree()}\n```\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    if "--write" in sys.argv:
        path = TOP / "README.md"
        path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(tree())
