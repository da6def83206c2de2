from __future__ import annotations

import pytest

from torchgraft.core.errors import ArtifactError
from torchgraft.core.journal import Journal


def test_a_decision_is_taken_once_and_survives_the_process(tmp_path) -> None:
    path = tmp_path / "journal.json"
    assert Journal(path).once("epochs", lambda: 4) == 4
    again = Journal(path)
    assert again.once("epochs", lambda: 9) == 4
    assert again.once("engine", lambda: {"name": "torch", "rate": 0.1}) == {"name": "torch", "rate": 0.1}
    assert Journal(path).entries == {"epochs": 4, "engine": {"name": "torch", "rate": 0.1}}


def test_without_a_file_it_remembers_while_it_lives() -> None:
    journal = Journal()
    assert (journal.once("a", lambda: 1), journal.once("a", lambda: 2)) == (1, 1)
    assert Journal().once("a", lambda: 2) == 2


def test_what_could_not_be_decided_is_not_written(tmp_path) -> None:
    def fails() -> int:
        raise RuntimeError("no clock")

    journal = Journal(tmp_path / "journal.json")
    with pytest.raises(RuntimeError):
        journal.once("epochs", fails)
    assert journal.once("epochs", lambda: 3) == 3


def test_a_damaged_file_is_named(tmp_path) -> None:
    path = tmp_path / "journal.json"
    path.write_text('{"epochs": 4')
    with pytest.raises(ArtifactError, match=r"journal\.json"):
        Journal(path)
