"""`graft doctor`: what it looks at, and what it says where something is wrong."""

from __future__ import annotations

import json

from torchgraft.cli import doctor


def test_json_lists_every_check(graft) -> None:
    done = graft("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(done.out)["checks"]}
    assert done.code == 0
    assert {"python", "torch", "packaged weights", "engine torch", "feature store", "memory"} <= set(checks)
    assert checks["engine torch"]["state"] == "ok"
    assert "agrees" in checks["engine torch"]["detail"]
    assert all(check["cure"] for check in checks.values() if check["state"] == "bad")


def test_a_store_that_cannot_be_written_is_bad_and_has_a_cure(graft, monkeypatch, tmp_path) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TORCHGRAFT_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(doctor, "CHECKS", (doctor.store,))
    done = graft("doctor")
    assert done.code == 2
    assert "a part of the path is a file" in done.out
    assert "export TORCHGRAFT_CACHE" in done.out


def test_missing_extras_are_off_with_the_command_that_installs_them(monkeypatch) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    states = {check.name: check for look in (doctor.torchvision, doctor.tables) for check in look()}
    assert {check.state for check in states.values()} == {"off"}
    assert states["parquet tables"].cure == "pip install 'torchgraft[parquet]'"


def test_an_engine_that_fails_is_told_of(monkeypatch) -> None:
    from torchgraft import features

    def broken(*args, **values):
        raise RuntimeError("libfoo.so is missing\nand more")

    monkeypatch.setattr(features, "extract", broken)
    found = {check.name: check for check in doctor.engines()}
    assert found["engine torch"].state == "bad"
    assert found["engine torch"].detail == "libfoo.so is missing"
