from __future__ import annotations

import json
import math

import pytest
import torch
from safetensors.torch import save_file

from torchgraft.core.errors import ArtifactError
from torchgraft.train import checkpoint


def test_what_is_written_comes_back_to_the_bit(tmp_path) -> None:
    shared = torch.arange(6.0)
    state = {
        "a": {"w": torch.randn(3, 2).to(torch.bfloat16), "view": shared[2:4], "same": shared, "empty": torch.zeros(0)},
        0: [1, 2.5, None, True, "text", 0.1 + 0.2, math.inf], "mask": torch.tensor([True, False]),
        "nested": [{"deep": [torch.tensor(7)]}], "nothing": {}, "list": [],
    }  # fmt: skip
    file = tmp_path / "one.safetensors"
    checkpoint.save(file, state)
    found = checkpoint.load(file)
    assert found[0] == state[0]
    assert found["nothing"] == {} and found["list"] == []
    assert torch.equal(found["nested"][0]["deep"][0], torch.tensor(7))
    assert found["a"]["w"].dtype == torch.bfloat16
    assert all(torch.equal(found["a"][name], tensor) for name, tensor in state["a"].items())
    assert torch.equal(found["mask"], state["mask"])
    assert json.dumps(list(found)) == json.dumps(list(state))


def test_what_was_loaded_no_longer_hangs_on_the_file(tmp_path) -> None:
    file = tmp_path / "one.safetensors"
    checkpoint.save(file, {"z": torch.ones(1000)})
    found = checkpoint.load(file)["z"]
    file.write_bytes(b"\0" * file.stat().st_size)
    found.add_(1)
    assert bool((found == 2).all())


def test_a_keyword_of_the_format_may_be_a_key(tmp_path) -> None:
    file = tmp_path / "one.safetensors"
    state = {"tensor": {"pairs": 1}, "pairs": {"tensor": [2]}}
    checkpoint.save(file, state)
    assert checkpoint.load(file) == state


def test_the_file_before_stays_when_writing_fails(tmp_path) -> None:
    file = tmp_path / "one.safetensors"
    checkpoint.save(file, {"a": 1})
    with pytest.raises(TypeError):
        checkpoint.save(file, {"a": object()})
    assert checkpoint.load(file) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["one.safetensors"]


@pytest.mark.parametrize("state", ["no json", "[1]", "3", '{"pairs": [[1]]}', '{"pairs": [["a", {"tensor": "gone"}]]}'])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path, state) -> None:
    file = tmp_path / "other.safetensors"
    save_file({"w": torch.ones(2)}, file, metadata={"state": state})
    with pytest.raises(ArtifactError, match=r"other\.safetensors can't be read as a checkpoint.*Delete it"):
        checkpoint.load(file)


def test_weights_without_a_state_and_cut_files_are_named(tmp_path) -> None:
    file = tmp_path / "weights.safetensors"
    save_file({"w": torch.ones(200)}, file)
    with pytest.raises(ArtifactError, match="weights"):
        checkpoint.load(file)
    for size in (0, 4, 100, file.stat().st_size - 1):
        cut = tmp_path / f"cut-{size}.safetensors"
        cut.write_bytes(file.read_bytes()[:size])
        with pytest.raises(ArtifactError, match=f"cut-{size}"):
            checkpoint.load(cut)
