"""The silent listener takes everything and says nothing."""

from __future__ import annotations

import pytest

from torchgraft.core.progress import SILENT, Bar, Progress


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    SILENT.say("a line")
    with SILENT.bar("work", 3) as bar:
        bar.advance()
        bar.advance(2)
    assert capsys.readouterr() == ("", "")
    assert isinstance(bar, Bar)
    assert type(SILENT) is Progress


def test_errors_inside_a_bar_pass() -> None:
    with pytest.raises(RuntimeError, match="stop"), SILENT.bar("work", 3):
        raise RuntimeError("stop")
