"""Write docs/cli.md from the command line itself: what `graft --help` and `graft VERB --help` say, verb by verb.

`python scripts/cli_page.py` writes it; with `--check` it ends with 1 where the page on disk differs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from torchgraft.core import registry

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
START = """# Command line

Results go to stdout, everything else to stderr. The exit code is 0 when all went well, 2 for something that you can
mend (the message says how), 1 for a mistake of ours, 130 after Ctrl-C. This page is written by `scripts/cli_page.py`.
"""


def page() -> str:
    """The whole page."""
    parts = [made_with(), START, _block("graft --help", [])]
    for verb, line in registry.describe("cli").items():
        parts += [f"## graft {verb}\n\n{line}\n", _block(f"graft {verb} --help", [verb])]
    return "\n".join(parts)


def made_with() -> str:
    """The page's first line: the versions that draw the frames around the help."""
    return f"<!-- made with typer {version('typer')}, rich {version('rich')} -->"


def _block(typed: str, verb: list[str]) -> str:
    plain = {**os.environ, "COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1", "TERM": "dumb"}
    command = [sys.executable, "-m", "torchgraft", *verb, "--help"]
    said = subprocess.run(command, env=plain, capture_output=True, text=True, check=True).stdout
    lines = [line.rstrip() for line in said.strip("\n").splitlines()]
    shown = [line for before, line in zip(["", *lines], lines, strict=False) if line or before]
    return "\n".join(["```text", f"$ {typed}", *shown, "```\n"])


if __name__ == "__main__":
    if "--check" not in sys.argv:
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page():
        sys.exit(f"{PAGE} is out of date: run python scripts/cli_page.py")
