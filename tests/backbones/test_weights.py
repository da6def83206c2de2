from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from torchgraft.backbones import _weights
from torchgraft.core.errors import UserError


class Armed:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".bin"])
def test_every_format_gives_the_same_float32_tensors(tmp_path: Path, suffix: str) -> None:
    state = {"a.weight": torch.tensor([1.0, 0.5], dtype=torch.float16), "n": torch.tensor([3])}
    path = tmp_path / f"w{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    read = _weights.read(path)
    assert read["a.weight"].dtype == torch.float32
    assert read["a.weight"].tolist() == [1.0, 0.5]
    assert read["n"].dtype == torch.int64


def test_a_training_checkpoint_gives_its_state_dict(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": {"module.w": torch.ones(2)}}, tmp_path / "c.pth")
    assert list(_weights.read(tmp_path / "c.pth")) == ["w"]


def test_a_file_that_needs_unpickling_is_refused_and_not_run(tmp_path: Path) -> None:
    armed = tmp_path / "ran"
    torch.save({"w": torch.ones(1), "extra": Armed(armed)}, tmp_path / "new.pt")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(Armed(armed)))
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)).save(str(tmp_path / "script.pt"))
    for name in ("new.pt", "raw.pt", "module.pt", "script.pt"):
        with pytest.raises(UserError, match=r"never unpickled.*safetensors\.torch\.save_file"):
            _weights.read(tmp_path / name)
    assert not armed.exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_damaged_files_get_a_message_with_their_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    state = {"w": torch.ones(1000)}
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    whole = path.read_bytes()
    for damaged in (b"", b"not weights at all", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=rf"w\{suffix} can't be read"):
            _weights.read(path)
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(UserError, match="can't be read"):
        _weights.read(tmp_path / "zip.pth")


def test_missing_wrong_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        _weights.read(tmp_path / "w.pth")
    (tmp_path / "w.txt").write_text("x")
    with pytest.raises(UserError, match=r"Expected one of \.safetensors"):
        _weights.read(tmp_path / "w.txt")
    torch.save({}, tmp_path / "e.pth")
    with pytest.raises(UserError, match="holds no weights"):
        _weights.read(tmp_path / "e.pth")
    torch.save([torch.ones(1)], tmp_path / "l.pth")
    with pytest.raises(UserError, match="no state dict"):
        _weights.read(tmp_path / "l.pth")


def test_fill_lists_all_that_does_not_fit() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    state = {
        "0.weight": torch.ones(3, 4),
        "0.bias": torch.ones(3),
        "1.weight": torch.ones(1, 3),
        "fc.bias": torch.ones(1),
    }
    with pytest.raises(UserError) as error:
        _weights.fill(module, state, "w.pth")
    message = str(error.value)
    assert "missing: 1.bias" in message
    assert "not expected: fc.bias" in message
    assert "0.weight (3, 4) for (3, 2)" in message


def test_fill_puts_every_tensor_in() -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    state = {name: torch.full_like(tensor, 7) for name, tensor in module.state_dict().items()}
    state.pop("1.num_batches_tracked")
    _weights.fill(module, state, "w.pth")
    assert all((tensor == 7).all() for name, tensor in module.state_dict().items() if name != "1.num_batches_tracked")


def test_revision_changes_with_weights_and_with_architecture(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"1")
    second.write_bytes(b"2")
    found = {_weights.revision("net", first), _weights.revision("net", second), _weights.revision("other", first)}
    assert len(found) == 3
    assert _weights.revision("net", first) in found


def test_count_reads_the_header_and_leaves_heads_out(tmp_path: Path) -> None:
    state = {"enc.w": torch.ones(3, 4), "enc.b": torch.ones(4), "pooler.w": torch.ones(9), "cls.w": torch.ones(5)}
    save_file(state, tmp_path / "m.safetensors")
    assert _weights.count(tmp_path / "m.safetensors") == 16
    (tmp_path / "m.safetensors").write_bytes(b"cut")
    assert _weights.count(tmp_path / "m.safetensors") is None
