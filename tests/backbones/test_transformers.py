from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from torchgraft import backbones
from torchgraft.backbones import transformers
from torchgraft.core.errors import MissingExtra, UserError

hf = pytest.importorskip("transformers")
from tokenizers import Tokenizer, models, pre_tokenizers, processors  # noqa: E402

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrst")
SMALL = {"vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
BERT = hf.BertConfig(**SMALL, intermediate_size=32, max_position_embeddings=40)
FAMILIES = {
    "bert": BERT,
    "roberta": hf.RobertaConfig(**SMALL, intermediate_size=32, max_position_embeddings=42, pad_token_id=0),
    "albert": hf.AlbertConfig(**SMALL, embedding_size=8, intermediate_size=32, max_position_embeddings=40),
    "distilbert": hf.DistilBertConfig(
        vocab_size=len(WORDS), dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=40
    ),
    "gpt2": hf.GPT2Config(
        vocab_size=len(WORDS), n_embd=16, n_layer=2, n_head=2, n_positions=40, bos_token_id=3, eos_token_id=3
    ),
    "t5": hf.T5Config(vocab_size=len(WORDS), d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2),
}


def tokenizer(special: bool = True):
    """One token a letter; with [CLS] and [SEP] round it where the model has them."""
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if not special:
        return hf.PreTrainedTokenizerFast(tokenizer_object=words, eos_token="[SEP]")
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return hf.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]")


def save(folder: Path, family: str = "bert"):
    """Write a tiny network with its tokenizer; returns the network."""
    torch.manual_seed(0)
    model = hf.AutoModel.from_config(FAMILIES[family]).eval()
    model.save_pretrained(folder)
    tokenizer(special=family != "gpt2").save_pretrained(folder)
    return model


def batch(rows: list[list[int]], padding: int, *, left: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(len(row) for row in rows)
    pad = [longest - len(row) for row in rows]
    ids = [[padding] * n + row if left else row + [padding] * n for row, n in zip(rows, pad, strict=True)]
    mask = [[0] * n + [1] * len(row) if left else [1] * len(row) + [0] * n for row, n in zip(rows, pad, strict=True)]
    return torch.tensor(ids), torch.tensor(mask)


@pytest.mark.parametrize("family", FAMILIES)
def test_families_give_the_tokens_of_the_network_itself(tmp_path: Path, family: str) -> None:
    model = save(tmp_path, family)
    backbone = backbones.load(f"local/{tmp_path}")
    assert (backbone.layout, backbone.width, backbone.modality) == ("tokens", 16, "text")
    assert backbone.pooling == ("last" if family == "gpt2" else "mean")
    (row,) = backbone.tokenizer(["a b c"])
    ids, mask = batch([row], backbone.tokenizer.padding)
    encoder = model.get_encoder() if family == "t5" else model
    with torch.no_grad():
        expected = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        torch.testing.assert_close(backbone.module(ids, mask), expected)
    assert not backbone.module.training
    assert not any(parameter.requires_grad for parameter in backbone.module.parameters())
    assert not any("pooler" in name for name, _ in backbone.module.named_parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_changes_nothing(tmp_path: Path, family: str) -> None:
    save(tmp_path, family)
    backbone = backbones.load(f"local/{tmp_path}")
    rows = backbone.tokenizer(["a b c d e f", "g h"])
    alone = [backbone.module(*batch([row], backbone.tokenizer.padding))[0] for row in rows]
    z = backbone.module(*batch(rows, backbone.tokenizer.padding))
    torch.testing.assert_close(z[1, : len(rows[1])], alone[1], rtol=1e-4, atol=1e-5)
    if family == "gpt2":
        z = backbone.module(*batch(rows, backbone.tokenizer.padding, left=True))
        torch.testing.assert_close(z[1, -len(rows[1]) :], alone[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_trace_holds_for_other_sizes(tmp_path: Path, family: str) -> None:
    save(tmp_path, family)
    module = backbones.load(f"local/{tmp_path}").module
    small = batch([[4, 5, 6], [7]], 0)
    large = batch([[4, 5, 6, 7, 8, 9, 10], [11, 12], [13]], 0)
    with torch.no_grad():
        traced = torch.jit.trace(module, small, check_trace=False)
        torch.testing.assert_close(traced(*large), module(*large))


def test_texts_are_cut_at_what_the_network_can_take(tmp_path: Path) -> None:
    save(tmp_path, "bert")
    backbone = backbones.load(f"local/{tmp_path}")
    assert backbone.preprocessing.max_tokens == 40
    assert len(backbone.tokenizer(["a " * 100])[0]) == 40
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 12}))
    assert backbones.load(f"local/{tmp_path}").preprocessing.max_tokens == 12


def test_roberta_counts_its_positions_from_the_padding_id(tmp_path: Path) -> None:
    save(tmp_path, "roberta")
    backbone = backbones.load(f"local/{tmp_path}")
    assert backbone.preprocessing.max_tokens == 41
    rows = backbone.tokenizer(["a " * 100])
    assert backbone.module(*batch(rows, 0)).shape == (1, 41, 16)


@pytest.mark.parametrize(
    ("settings", "pooling"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_lasttoken": True}, "last"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode_max_tokens": True}, "mean"),
    ],
)
def test_a_stated_pooling_is_taken(tmp_path: Path, settings: dict, pooling: str) -> None:
    save(tmp_path)
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    assert backbones.load(f"local/{tmp_path}").pooling == pooling


def test_the_identity_of_the_tokenizer_is_part_of_the_preprocessing(tmp_path: Path) -> None:
    save(tmp_path)
    first = backbones.load(f"local/{tmp_path}")
    path = tmp_path / "tokenizer.json"
    path.write_text(path.read_text().replace('"a": 4', '"zz": 4'))
    second = backbones.load(f"local/{tmp_path}")
    assert first.preprocessing.tokenizer != second.preprocessing.tokenizer
    assert first.revision == second.revision


def test_half_weights_become_float32(tmp_path: Path) -> None:
    save(tmp_path)
    path = tmp_path / "model.safetensors"
    save_file({name: z.half() for name, z in load_file(path).items()}, path, metadata={"format": "pt"})
    module = backbones.load(f"local/{tmp_path}").module
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}


def test_weights_with_gaps_are_refused(tmp_path: Path) -> None:
    save(tmp_path)
    path = tmp_path / "model.safetensors"
    state = load_file(path)
    del state["encoder.layer.1.output.dense.weight"]
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"incomplete. Missing: encoder.layer.1.output.dense.weight"):
        backbones.load(f"local/{tmp_path}")


def test_folders_that_cannot_be_loaded(tmp_path: Path) -> None:
    save(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match="the network can't be loaded"):
        backbones.load(f"local/{tmp_path}")
    (tmp_path / "model.safetensors").unlink()
    torch.save({"w": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"need unpickling.*save_pretrained\(FOLDER\) writes safetensors"):
        backbones.load(f"local/{tmp_path}")


def test_folders_without_a_tokenizer_or_with_another_one(tmp_path: Path) -> None:
    hf.AutoModel.from_config(BERT).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"Expected config.json, the tokenizer's files"):
        backbones.load(f"local/{tmp_path}")
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="no tokenizer can be loaded"):
        backbones.load(f"local/{tmp_path}")
    longer = tokenizer()
    longer.add_tokens(["more"])
    longer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="the tokenizer has 25 tokens, the network knows 24"):
        backbones.load(f"local/{tmp_path}")


def test_code_of_a_folder_is_never_run(tmp_path: Path) -> None:
    save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoModel": "mine.Mine", "AutoConfig": "mine.MineConfig"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(UserError, match=r"can(no|')t? ?be loaded|can't be loaded|can be loaded"):
        backbones.load(f"local/{tmp_path}")
    assert not (tmp_path / "ran").exists()


def test_an_image_network_is_pointed_to_timm(tmp_path: Path) -> None:
    config = hf.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32
    )
    hf.AutoModel.from_config(config).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"no text encoder.*use timm/NAME"):
        backbones.load(f"local/{tmp_path}")


def test_the_cache_is_offered_and_loaded(snapshot) -> None:
    folder = snapshot("org/tiny-bert")
    save(folder)
    (folder / "README.md").write_text("---\nlanguage: en\nlicense: mit\n---\n# Tiny\n")
    (offer,) = transformers.names()
    backbone = backbones.load("transformers/org/tiny-bert")
    assert (offer.name, offer.width, offer.parameters) == (backbone.name, backbone.width, backbone.parameters)
    assert offer.licence == backbone.licence == "mit"
    assert offer.size == (folder / "model.safetensors").stat().st_size


def test_damaged_weights_and_other_modalities_in_the_cache_are_not_offered(snapshot) -> None:
    broken, hearing = snapshot("org/broken"), snapshot("org/hearing")
    save(broken)
    (broken / "model.safetensors").write_bytes(b"cut")
    save(hearing)
    (hearing / "preprocessor_config.json").write_text("{}")
    assert transformers.names() == []


def test_offline_without_weights() -> None:
    assert transformers.names() == []
    with pytest.raises(UserError, match=r"'transformers/google-bert/bert-base-uncased' is not on this machine"):
        backbones.load("transformers/google-bert/bert-base-uncased")


def test_without_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(transformers.importlib.sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r"needs transformers.*torchgraft\[text\]"):
        backbones.load("transformers/gpt2")


def test_loading_is_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save(tmp_path)
    capfd.readouterr()
    level = hf.utils.logging.get_verbosity()
    backbones.load(f"local/{tmp_path}")
    assert capfd.readouterr() == ("", "")
    assert hf.utils.logging.get_verbosity() == level
