from __future__ import annotations

import errno
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import errors

from torchgraft.backbones import _hub
from torchgraft.core.errors import StorageError, UserError


def answer(kind: type[Exception]) -> Exception:
    """An error of the hub without the response that its constructor asks for."""
    return kind.__new__(kind, "refused")


def test_repositories_are_those_with_a_complete_reference(snapshot, hub_cache: Path) -> None:
    here = snapshot("org/net")
    (hub_cache / "models--half--done" / "refs").mkdir(parents=True)
    (hub_cache / "datasets--org--data").mkdir()
    assert list(_hub.repositories()) == [("org/net", here)]


def test_the_cache_comes_first(snapshot) -> None:
    here = snapshot("org/net")
    (here / "second.bin").write_bytes(b"x")
    assert _hub.file("org/net", ("first.bin", "second.bin"), backbone="b") == here / "second.bin"
    assert _hub.folder("org/net", ("*",), backbone="b", complete=lambda folder: True) == here


def test_offline_the_message_says_what_to_do() -> None:
    for call in (
        lambda: _hub.file("org/net", ("w.safetensors",), backbone="timm/net"),
        lambda: _hub.folder("org/net", ("*",), backbone="timm/net", complete=lambda folder: True),
    ):
        with pytest.raises(UserError, match=r"'timm/net' is not on this machine.*can't be reached.*local/FOLDER"):
            call()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (errors.GatedRepoError, "Accept them on its page"),
        (errors.RepositoryNotFoundError, "has no model 'org/net'"),
        (errors.HFValidationError, "has no model"),
    ],
)
def test_what_the_hub_answers(monkeypatch: pytest.MonkeyPatch, kind: type[Exception], message: str) -> None:
    def refuse(repository: str, allow_patterns: list[str]) -> str:
        raise answer(kind)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(UserError, match=message):
        _hub.file("org/net", ("a.safetensors", "b.bin"), backbone="x")


def test_a_download_goes_on_to_the_next_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def download(repository: str, allow_patterns: list[str]) -> str:
        if allow_patterns == ["b.bin"]:
            (tmp_path / "b.bin").write_bytes(b"x")
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert _hub.file("org/net", ("a.safetensors", "b.bin"), backbone="x") == tmp_path / "b.bin"
    (tmp_path / "b.bin").unlink()
    with pytest.raises(UserError, match=r"has none of a.safetensors, c.bin"):
        _hub.file("org/net", ("a.safetensors", "c.bin"), backbone="x")


def test_json_that_is_missing_or_broken_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    assert _hub.read_json(path) == {}
    for text, expected in (("{", {}), ("[1]", {}), ('{"a": 1}', {"a": 1})):
        path.write_text(text)
        assert _hub.read_json(path) == expected


def test_a_full_disk_is_a_storage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(repository: str, allow_patterns: list[str]) -> str:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    with pytest.raises(StorageError, match="the disk is full"):
        _hub.file("org/net", ("a",), backbone="x")
