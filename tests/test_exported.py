"""The shop window: small, sorted, every name really there."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import torchgraft as tg


def test_the_names_are_sorted() -> None:
    assert tg.__all__ == sorted(tg.__all__)
    assert len(set(tg.__all__)) == len(tg.__all__)
    assert dir(tg) == tg.__all__


@pytest.mark.parametrize("name", tg.__all__)
def test_every_name_is_there(name: str) -> None:
    value = getattr(tg, name)
    assert value is not None
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__doc__


def test_star_import_gives_them_all() -> None:
    names: dict[str, object] = {}
    exec("from torchgraft import *", names)
    assert set(tg.__all__) <= set(names)


def test_other_names_are_no_attributes() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'graft'"):
        tg.graft  # noqa: B018


@pytest.mark.parametrize(
    "first",
    [
        "import torchgraft.fit.options",
        "import torchgraft.fit",
        "from torchgraft.fit import fit",
        "from torchgraft.fit.run import Run",
        "import torchgraft.cli",
        "import torchgraft; torchgraft.fit; import torchgraft.fit.report",
    ],
)
def test_fit_can_be_called_whatever_was_imported_before(first: str) -> None:
    code = f"{first}\nimport torchgraft as tg\nassert callable(tg.fit)\nassert tg.fit.FitOptions is tg.FitOptions"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
