"""Who may run: what is here, what was asked for, and what the limits leave."""

from __future__ import annotations

from dataclasses import replace

import pytest

from torchgraft.backbones import Offer
from torchgraft.core.errors import OptionError
from torchgraft.fit import _candidates
from torchgraft.fit._candidates import Limits, candidates, limits_of
from torchgraft.fit.options import RankOptions

SMALL = Offer(name="packaged/small", modality="image", width=1, parameters=2, size=8_000_000, licence="Apache-2.0")
BIG = replace(SMALL, name="packaged/big", parameters=9, size=36_000_000, licence="cc-by-nc-4.0")
FAR = Offer(name="timm/far", modality="image", width=1, parameters=5, size=20_000_000, licence="mit")


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_candidates.backbones, "offers", lambda modality: [BIG, SMALL])
    monkeypatch.setattr(_candidates.backbones, "suggestions", lambda modality, size: [FAR])


def test_auto_is_what_needs_no_download_smallest_first() -> None:
    found, skipped = candidates("image", "auto", Limits())
    assert list(found) == ["packaged/small", "packaged/big"]
    assert not skipped


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (Limits(size=10e6), "its size is 36 MB, asked for are 10 MB at most"),
        (Limits(licence="permissive"), "its licence is cc-by-nc-4.0"),
    ],
)
def test_limits_leave_out_and_say_why(limits: Limits, why: str) -> None:
    found, skipped = candidates("image", "auto", limits)
    assert list(found) == ["packaged/small"]
    assert skipped[0].name == "packaged/big"
    assert why in skipped[0].reason


def test_what_is_not_known_counts_against_it() -> None:
    assert "unknown" in Limits(licence="permissive").refuse(replace(SMALL, licence="unknown"))
    assert "is not known" in Limits(size=1e6).refuse(replace(SMALL, size=0))
    assert not Limits().refuse(replace(SMALL, size=0, licence="unknown"))


def test_nobody_left_is_told_with_every_reason() -> None:
    with pytest.raises(OptionError, match=r"packaged/big: its size is 36 MB.*packaged/small: its size is 8 MB"):
        candidates("image", "auto", Limits(size=1e6))


def test_downloads_are_listed_with_their_size_before_anything_is_fetched() -> None:
    with pytest.raises(OptionError, match=r"would fetch 20 MB:\n  timm/far  20 MB, mit\nAdd --yes"):
        candidates("image", "auto", Limits(), download="small")
    found, _ = candidates("image", "auto", Limits(), download="small", yes=True)
    assert list(found) == ["packaged/small", "timm/far", "packaged/big"]


def test_names_that_are_listed_are_not_loaded() -> None:
    found, _ = candidates("image", " packaged/big,,packaged/small ", Limits())
    assert set(found) == {"packaged/small", "packaged/big"}
    with pytest.raises(OptionError, match="--backbones expects auto or names"):
        candidates("image", ",", Limits())


def test_limits_of_options() -> None:
    options = RankOptions(data="x", max_size="20MB", max_latency="20ms", licence="permissive")
    assert limits_of(options) == Limits(size=20e6, latency=0.02, licence="permissive")
    assert limits_of(RankOptions(data="x")) == Limits()
