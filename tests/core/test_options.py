"""Options: every problem at once, near misses, TOML and back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from torchgraft.core.errors import OptionError
from torchgraft.core.options import build, from_toml, latency, seconds, size, to_toml


@dataclass(frozen=True, kw_only=True)
class Example:
    name: str
    note: str | None = None
    count: int = 1
    rate: float = 0.5
    on: bool = False
    tags: tuple[str, ...] = ()


def test_all_problems_stand_in_one_message() -> None:
    with pytest.raises(OptionError) as caught:
        build(Example, {"nam": "a", "count": "3", "rate": True, "on": 1, "tags": ["a", 2]}, where="run.toml")
    message = str(caught.value)
    assert message.startswith("run.toml: no option 'nam'. Did you mean 'name'?")
    for problem in (
        "count expects a whole number, got '3'",
        "rate expects a number, got True",
        "on expects true or false, got 1",
        "tags expects a list of text, got ['a', 2]",
        "name is missing; expected text",
    ):
        assert problem in message


@pytest.mark.parametrize(
    ("values", "field", "expected"),
    [
        ({"rate": 1}, "rate", 1.0),
        ({"tags": ["a", "b"]}, "tags", ("a", "b")),
        ({"note": None}, "note", None),
        ({"note": "x"}, "note", "x"),
    ],
)
def test_values_become_the_type_of_the_field(values: dict, field: str, expected: object) -> None:
    value = getattr(build(Example, {"name": "a", **values}), field)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize("values", [{"count": True}, {"count": 1.0}, {"note": 3}, {"tags": "ab"}, {"name": None}])
def test_wrong_types_are_refused(values: dict) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(values))} expects"):
        build(Example, {"name": "a", **values})


def test_an_optional_field_is_called_by_its_type() -> None:
    with pytest.raises(OptionError, match="note expects text, got 3"):
        build(Example, {"name": "a", "note": 3})


_text = st.text(st.characters(codec="utf-8"))
_examples = st.builds(
    Example,
    name=_text,
    note=st.none() | _text,
    count=st.integers(-(2**63), 2**63 - 1),
    rate=st.floats(allow_nan=False),
    on=st.booleans(),
    tags=st.lists(_text, max_size=3).map(tuple),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(example=_examples)
def test_toml_and_back(tmp_path: Path, example: Example) -> None:
    to_toml(tmp_path / "run.toml", {"fit": example, "more": {"path": Path("a b"), "none": None}})
    read = from_toml(tmp_path / "run.toml")
    assert build(Example, read["fit"]) == example
    assert read["more"] == {"path": "a b"}


def test_none_is_left_out(tmp_path: Path) -> None:
    to_toml(tmp_path / "run.toml", {"fit": Example(name="a")})
    assert "note" not in (tmp_path / "run.toml").read_text()
    to_toml(tmp_path / "run.toml", {"fit": replace(Example(name="a"), note="")})
    assert from_toml(tmp_path / "run.toml")["fit"]["note"] == ""


def test_text_that_is_not_unicode_is_named(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"not Unicode text: 'name = .*\\udce9'"):
        to_toml(tmp_path / "run.toml", {"fit": Example(name="caf\udce9")})
    assert not (tmp_path / "run.toml").exists()


def test_a_missing_file_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"does not exist. Expected the run.toml"):
        from_toml(tmp_path / "run.toml")


@pytest.mark.parametrize("data", [b"[fit", b"a = \xff", b"\x00\x01"])
def test_a_damaged_file_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "run.toml").write_bytes(data)
    with pytest.raises(OptionError, match="not a readable TOML file"):
        from_toml(tmp_path / "run.toml")


def test_a_folder_is_no_run_file(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="not a readable TOML file"):
        from_toml(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"), [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), (" 2 m ", 120), ("0.5", 0.5)]
)
def test_times(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize(
    "text", ["", "soon", "-1", "0", "0.0h", "1d", "1m30s", "1e3", ".5", "nan", "inf", "10 minutes"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(OptionError, match="--limit expects a time like 90s, 10m or 1h"):
        seconds(text, option="--limit")


@pytest.mark.parametrize(("text", "seconds"), [("20ms", 0.02), (" 1.5s ", 1.5), ("", float("inf"))])
def test_latency(text: str, seconds: float) -> None:
    assert latency(text) == pytest.approx(seconds)


@pytest.mark.parametrize(("text", "n"), [("20MB", 2e7), ("1.5gb", 1.5e9), ("900 KB", 9e5), ("", float("inf"))])
def test_size(text: str, n: float) -> None:
    assert size(text) == n


@pytest.mark.parametrize("text", ["20", "ms", "-1ms", "0ms", "20 minutes"])
def test_latency_needs_a_unit(text: str) -> None:
    with pytest.raises(OptionError, match="like 20ms"):
        latency(text)


@pytest.mark.parametrize("text", ["20", "MB", "0MB", "big"])
def test_size_needs_a_unit(text: str) -> None:
    with pytest.raises(OptionError, match="like 20MB"):
        size(text)
