"""The application: every verb with its help, light to load, version, mistakes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from torchgraft import __version__
from torchgraft.core import registry


def test_help_lists_every_verb_with_its_line(graft) -> None:
    done = graft("--help")
    assert done.code == 0
    for verb, line in registry.describe("cli").items():
        assert verb in done.out
        assert line.split()[0] in done.out


@pytest.mark.parametrize("verb", registry.names("cli"))
def test_every_verb_teaches_with_examples(graft, verb: str) -> None:
    done = graft(verb, "--help")
    assert done.code == 0
    assert f"graft {verb}" in done.out
    assert "Examples" in done.out
    assert all(line.startswith(("graft ", "echo ")) for line in registry.get("cli", verb).EXAMPLES)


@pytest.mark.parametrize("arguments", [["--help"], ["fit", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from torchgraft.cli import app\n"
        f"try: app()({arguments!r}, prog_name='graft')\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'numpy', 'sklearn', 'PIL', 'timm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_python_m_torchgraft_is_graft() -> None:
    done = subprocess.run([sys.executable, "-m", "torchgraft", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"torchgraft {__version__}"


@pytest.mark.parametrize("arguments", [("frobnicate",), ("fit", "--sede", "3"), ("fit", "x", "--seed", "three")])
def test_usage_mistakes_end_with_2(graft, arguments) -> None:
    done = graft(*arguments)
    assert done.code == 2
    assert done.out == ""
