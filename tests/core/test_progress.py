"""The silent listener."""

from __future__ import annotations

import pytest

from torchgraft.core.progress import SILENT, Bar


def test_silence(capsys: pytest.CaptureFixture) -> None:
    SILENT.say("hello")
    with SILENT.bar("counting", 3) as bar:
        bar.advance()
        bar.advance(2)
    assert isinstance(bar, Bar)
    assert capsys.readouterr() == ("", "")


def test_an_error_passes_through_a_bar() -> None:
    with pytest.raises(KeyError), SILENT.bar("counting", 3):
        raise KeyError("x")
