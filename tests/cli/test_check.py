"""`graft check`: findings as a list and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture
def table(tmp_path: Path) -> Path:
    lines = [f"the {word} number {i},{word}" for i in range(12) for word in ("cat", "dog")]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["text,label", *lines, lines[0]]), encoding="utf-8")
    return path


def test_says_what_it_found(graft, table: Path) -> None:
    done = graft("check", table)
    assert done.code == 0
    assert "usable text samples" in done.out.splitlines()[0]
    assert "2 classes" in done.out.splitlines()[0]
    assert "duplicate" in done.out


def test_json(graft, table: Path) -> None:
    found = json.loads(graft("check", table, "--json").out)
    assert found["data"]["classes"] == ["cat", "dog"]
    assert "duplicate" in {finding["kind"] for finding in found["findings"]}
    assert all({"kind", "severity", "count", "message", "action", "examples"} == set(f) for f in found["findings"])


def test_strict_ends_with_2_where_a_finding_is_an_error(graft, table: Path, monkeypatch) -> None:
    from torchgraft import data

    plain = graft("check", table, "--strict")
    assert plain.code == 0
    error = data.Finding(kind="leak", severity="error", count=1, message="a leak")
    monkeypatch.setattr(data, "check", lambda samples, progress: (samples, (error,)))
    assert graft("check", table, "--strict").code == 2
    assert graft("check", table).code == 0


def test_a_missing_folder(graft, tmp_path: Path) -> None:
    done = graft("check", tmp_path / "nowhere")
    assert done.code == 2
    assert "does not exist" in done.err
