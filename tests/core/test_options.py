"""Options: built from plain values, written as TOML, read back."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchgraft.core.errors import OptionError
from torchgraft.core.options import build, from_toml, seconds, to_toml


@dataclass(frozen=True, kw_only=True)
class Baking:
    dough: str
    heat: float = 220.0
    loaves: int = 1
    seeds: tuple[str, ...] = ()
    note: str | None = None
    steam: bool = False


def test_values_become_the_dataclass() -> None:
    assert build(Baking, {"dough": "rye", "heat": 200, "seeds": ["flax"]}) == Baking(
        dough="rye", heat=200.0, seeds=("flax",)
    )
    assert isinstance(build(Baking, {"dough": "rye", "heat": 200}).heat, float)


def test_all_problems_stand_in_one_message() -> None:
    with pytest.raises(OptionError) as caught:
        build(Baking, {"dough": 3, "loafs": 2, "heat": "hot", "loaves": True, "seeds": "flax"}, where="run.toml")
    message = str(caught.value)
    assert message.startswith("run.toml: ")
    assert "no option 'loafs'. Did you mean 'loaves'" in message
    assert "dough expects text, got 3" in message
    assert "heat expects a number, got 'hot'" in message
    assert "loaves expects a whole number, got True" in message
    assert "seeds expects a list of text, got 'flax'" in message


def test_a_missing_option_is_named() -> None:
    with pytest.raises((OptionError, TypeError), match="dough"):
        build(Baking, {"heat": 200})


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(
    st.builds(
        Baking,
        dough=_TEXT,
        heat=st.floats(allow_nan=False, allow_infinity=False),
        loaves=st.integers(-(2**53), 2**53),
        seeds=st.lists(_TEXT, max_size=3).map(tuple),
        note=st.none() | _TEXT,
        steam=st.booleans(),
    )
)
def test_toml_gives_back_what_was_written(tmp_path_factory, options: Baking) -> None:
    path = tmp_path_factory.mktemp("toml") / "run.toml"
    to_toml(path, {"fit": options})
    assert build(Baking, from_toml(path)["fit"]) == options


def test_sections_and_paths(tmp_path: Path) -> None:
    to_toml(tmp_path / "run.toml", {"a": {"where": Path("x/y"), "skip": None}, "b": {"n": (1, 2)}})
    assert tomllib.loads((tmp_path / "run.toml").read_text()) == {"a": {"where": "x/y"}, "b": {"n": [1, 2]}}


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "does not exist"), (b"a = ", "not a readable TOML"), (b"\xff", "not a readable TOML")],
)
def test_files_that_are_no_options(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "run.toml").write_bytes(content)
    with pytest.raises(OptionError, match=message):
        from_toml(tmp_path / "run.toml")


@pytest.mark.parametrize(("text", "value"), [("90", 90), ("90s", 90), (" 10m ", 600), ("1.5h", 5400), ("0.5 m", 30)])
def test_times_by_hand(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "soon", "0", "0m", "-5", "5d", "1e3", "10 m s", "nan", "inf"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(OptionError, match="--budget expects a time like 90s, 10m or 1h"):
        seconds(text)
