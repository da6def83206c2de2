"""The room as a function."""

from __future__ import annotations

from pathlib import Path

import pytest

import torchgraft as tg
from torchgraft.core.errors import OptionError


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tg.FitOptions]:
    """What `fit` was called with."""
    calls: list[tg.FitOptions] = []
    monkeypatch.setattr(tg.fit, "fit", lambda options, *, progress: calls.append(options))
    return calls


def test_keywords_become_options(asked: list[tg.FitOptions]) -> None:
    tg.fit(Path("photos"), budget="2m", out=Path("runs/a"))
    assert asked == [tg.FitOptions(target="photos", budget="2m", out="runs/a")]


def test_ready_options_are_taken_as_they_are(asked: list[tg.FitOptions]) -> None:
    options = tg.FitOptions(target="photos", seed=3)
    tg.fit(options)
    assert asked[0] is options


def test_ready_options_and_keywords_do_not_mix(asked: list[tg.FitOptions]) -> None:
    with pytest.raises(OptionError, match="hold all options already; got seed, budget"):
        tg.fit(tg.FitOptions(target="photos"), seed=3, budget="1m")
    assert not asked


def test_every_wrong_keyword_is_named(asked: list[tg.FitOptions]) -> None:
    with pytest.raises(OptionError, match=r"no option 'bugdet'. Did you mean 'budget'.*seed expects a whole number"):
        tg.fit("photos", bugdet="2m", seed="1")
    assert not asked
