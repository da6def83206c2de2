from __future__ import annotations

import copy
import importlib.util

import numpy as np
import pytest
import torch
from torch import nn

from torchgraft import backbones
from torchgraft.backbones import timm, transformers
from torchgraft.core.errors import MissingExtra, OptionError
from torchgraft.tune import lora

if importlib.util.find_spec("peft") is None:
    pytest.skip("peft is not installed", allow_module_level=True)


@pytest.fixture
def adapted(make_step):
    """A classifier with additions that were moved away from 0, a batch, and its plain state from before."""
    step, batch = make_step()
    plain = copy.deepcopy(step.network.module)
    lora.add(step, lora.Options(r=2, alpha=6.0))
    for name, p in step.network.module.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(p, generator=torch.Generator().manual_seed(1))
    return step, batch, plain


def test_the_same_to_the_bit_at_the_start(make_step):
    step, batch = make_step()
    with torch.no_grad():
        before = step.logits(batch)
        lora.add(step, lora.Options())
        assert torch.equal(step.logits(batch), before)


def test_merging_changes_nothing_and_is_the_formula(adapted):
    step, batch, plain = adapted
    state = {name: p.detach().clone() for name, p in step.network.module.state_dict().items()}
    with torch.no_grad():
        before = step.logits(batch)
        lora.merge(step)
        torch.testing.assert_close(step.logits(batch), before, atol=1e-5, rtol=0)
    assert step.network.module.state_dict().keys() == plain.state_dict().keys()
    for name in lora.targets(plain):
        low, high = (state[f"{name}.lora_{which}.default.weight"] for which in "AB")
        expected = plain.get_submodule(name).weight + 6.0 / 2 * high @ low
        torch.testing.assert_close(step.network.module.get_submodule(name).weight, expected)


def test_merging_agrees_with_peft(adapted):
    """`merge_and_unload` of peft's own wrapper, given the same additions."""
    import peft

    step, _, plain = adapted
    config = peft.LoraConfig(r=2, lora_alpha=6.0, target_modules=lora.targets(plain))
    wrapped = peft.get_peft_model(plain, config)
    additions = {name: p for name, p in step.network.module.state_dict().items() if ".lora_" in name}
    wrapped.base_model.model.load_state_dict(additions, strict=False)
    expected = wrapped.merge_and_unload().state_dict()
    lora.merge(step)
    for name, p in step.network.module.state_dict().items():
        torch.testing.assert_close(p, expected[name])


@pytest.mark.parametrize(("stabilised", "scale"), [(False, 8 / 4), (True, 8 / 4**0.5)])
def test_the_scale(make_step, stabilised, scale):
    step, _ = make_step()
    lora.add(step, lora.Options(r=4, alpha=8.0, rank_stabilised=stabilised))
    assert step.network.module.blocks[0].attention.query.scaling["default"] == scale


def test_only_attention_and_the_head_move(hard_text, alone, shipped):
    problem = alone(hard_text())
    candidate = lora.fit(problem, lora.Options(rate=3e-3, epochs=3, batch=10, r=2))
    (tuned,) = candidate.tuned.values()
    assert set(tuned.arrays) == {f"blocks.{i}.attention.{part}.weight" for i in (0, 1) for part in ("query", "value")}
    (phase,) = candidate.history[0]["phases"]
    assert phase["trained"] == 4 * 2 * (8 + 8) + 8 * 3 + 3
    if candidate.chosen["epochs"] == 3:
        np.testing.assert_allclose(shipped(problem, candidate), candidate.logits, atol=1e-3)


def test_goes_on_from_a_checkpoint(hard_text, tmp_path):
    """The second call finds the checkpoints of the first one, at their ends, and gives the same bits."""
    options = lora.Options(rate=3e-3, epochs=2, batch=10)
    one, two = (lora.fit(hard_text(folder=tmp_path), options) for _ in range(2))
    np.testing.assert_array_equal(one.logits, two.logits)
    for ours, theirs in zip(one.tuned.values(), two.tuned.values(), strict=True):
        assert ours.digest == theirs.digest


def test_what_is_added_to(trained_photos):
    photo = trained_photos().resources.backbones["test/photo"].module
    assert lora.targets(photo) == ["1.0"]
    vit = timm.build("vit_tiny_patch16_224")
    assert lora.targets(vit) == [f"blocks.{i}.attn.{part}" for i in range(12) for part in ("qkv", "proj")]
    whole = nn.ModuleDict({"self_attention": nn.MultiheadAttention(8, 2), "mlp": nn.Linear(8, 8)})
    assert lora.targets(whole) == ["mlp"]
    assert lora.targets(nn.Conv2d(3, 3, 3)) == []


def test_linear_layers_the_other_way_round(make_step):
    library = transformers.library("a test")
    torch.manual_seed(0)
    config = library.GPT2Config(vocab_size=20, n_positions=8, n_embd=8, n_layer=1, n_head=2)
    step, _ = make_step()
    step.network.module = library.GPT2Model(config).eval()
    ids = torch.arange(6)[None]
    with torch.no_grad():
        before = step.network.module(ids).last_hidden_state
        lora.add(step, lora.Options(r=2))
        assert torch.equal(step.network.module(ids).last_hidden_state, before)
        for name, p in step.network.module.named_parameters():
            if "lora_B" in name:
                p.normal_(0, 0.1)
        moved = step.network.module(ids).last_hidden_state
        lora.merge(step)
        torch.testing.assert_close(step.network.module(ids).last_hidden_state, moved, atol=1e-5, rtol=1e-5)
    assert (moved - before).abs().max() > 1e-3


def test_says_what_it_lacks(hard_text, monkeypatch):
    problem = hard_text()
    assert lora.applies(problem) == ""
    find = importlib.util.find_spec
    monkeypatch.setattr(lora, "find_spec", lambda name: None if name == "peft" else find(name))
    assert "pip install 'torchgraft[lora]'" in lora.applies(problem)
    with pytest.raises(MissingExtra, match="method lora needs peft"):
        lora.fit(problem, lora.Options())
    with pytest.raises(OptionError, match="r expects .* alpha expects .* lora_dropout expects"):
        lora.Options(r=0, alpha=0.0, lora_dropout=1.0)


def test_attention_of_the_packaged_text_encoder():
    name = "packaged/minilm_l6"
    if name not in backbones.at_hand("text"):
        pytest.skip(f"{name} is not installed")
    parts = ("self.query", "self.key", "self.value", "output.dense")
    expected = [f"model.encoder.layer.{i}.attention.{part}" for i in range(6) for part in parts]
    assert lora.targets(backbones.load(name).module) == expected
