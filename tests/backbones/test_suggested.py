from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

from torchgraft import backbones
from torchgraft.backbones import Offer, _suggested, timm, transformers
from torchgraft.core.errors import OptionError

ALL = [one for known in _suggested.SUGGESTED.values() for one in known]
IMAGES = [one for one in ALL if one.modality == "image"]
PERMISSIVE = {"apache-2.0", "mit"}


def test_each_is_of_its_modality_and_one_class_of_sizes() -> None:
    found = [
        one
        for modality in _suggested.SUGGESTED
        for size in _suggested.SIZES
        for one in backbones.suggestions(modality, size)
    ]
    assert sorted(one.name for one in found) == sorted({one.name for one in ALL})
    limits = {"small": (0, 30e6), "medium": (30e6, 150e6), "large": (150e6, 500e6)}
    for size, (low, high) in limits.items():
        sizes = [one.size for one in backbones.suggestions("image", size)]
        assert 3 <= len(sizes) <= 5
        assert sizes == sorted(sizes)
        assert all(low <= bytes_ < high for bytes_ in sizes)
    assert [len(backbones.suggestions("text", size)) for size in limits] == [0, 4, 4]
    assert backbones.suggestions("image") == backbones.suggestions("image", "small")


def test_all_may_be_used_freely_and_are_named_as_providers_take_them() -> None:
    assert {one.licence for one in ALL} <= PERMISSIVE
    for one in ALL:
        provider = "timm/" if one.modality == "image" else "transformers/"
        assert one.name.startswith(provider)
        assert one.modality == "image" or one.imagenet is None
        assert one.imagenet is None or 70 < one.imagenet < 90
        # Weights are of 32 bits, or of 16; the classifier of pretraining is in the file, and not in the parameters.
        assert 1.95 < one.size / one.parameters < 12.1


def test_what_is_at_hand_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = backbones.suggestions("image", "medium")
    monkeypatch.setattr(backbones, "at_hand", lambda modality: [first.name])
    assert backbones.suggestions("image", "medium") == others


def test_timm_knows_them_with_weights_and_this_licence() -> None:
    library = timm.library()
    known = set(library.list_pretrained())
    for one in IMAGES:
        name = one.name.removeprefix("timm/")
        assert name in known
        assert library.models.get_pretrained_cfg(name).license == one.licence
        assert library.models.get_pretrained_cfg(name).hf_hub_id == one.name


@pytest.mark.parametrize("one", backbones.suggestions("image", "small"), ids=lambda one: one.name)
def test_what_is_said_is_true_of_the_network(one: Offer) -> None:
    with torch.device("meta"):
        model = timm.library().create_model(one.name.removeprefix("timm/"), pretrained=False)
    in_file = sum(z.numel() * z.element_size() for z in model.state_dict().values())
    assert one.size == pytest.approx(in_file, rel=0.01)
    cut = timm.cut(model, timm.preprocessing(model).size)
    assert one.width == cut.width
    assert one.parameters == sum(p.numel() for p in cut.module.parameters())


@pytest.mark.skipif(find_spec("transformers") is None, reason="needs transformers")
def test_text_encoders_have_the_parameters_of_their_architectures() -> None:
    library = transformers.library("x")
    small = {"hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536}
    roberta = {"vocab_size": 50265, "num_hidden_layers": 6, "max_position_embeddings": 514, "type_vocab_size": 2}
    mpnet = {"vocab_size": 30527, "max_position_embeddings": 514}
    with torch.device("meta"):
        built = {
            "granite": library.RobertaModel(library.RobertaConfig(**small, **roberta), add_pooling_layer=False),
            "mpnet": library.MPNetModel(library.MPNetConfig(**mpnet), add_pooling_layer=False),
            "arctic": library.BertModel(library.BertConfig(), add_pooling_layer=False),
            "multilingual": library.BertModel(library.BertConfig(**small, vocab_size=250_037), add_pooling_layer=False),
            "": library.BertModel(library.BertConfig(**small, vocab_size=30_522), add_pooling_layer=False),
        }
    for one in _suggested.SUGGESTED["text"]:
        model = next(model for word, model in built.items() if word in one.name)
        assert one.parameters == sum(p.numel() for p in model.parameters()), one.name
        assert one.width == model.config.hidden_size


def test_a_wrong_word_gets_a_near_miss_and_all_problems_at_once() -> None:
    with pytest.raises(OptionError) as error:
        backbones.suggestions("images", "smal")
    assert "modality expects image, text, got 'images'. Did you mean 'image'?" in str(error.value)
    assert "size expects small, medium, large, got 'smal'. Did you mean 'small'?" in str(error.value)


def test_asking_loads_no_heavy_library() -> None:
    code = (
        "import sys; from torchgraft import backbones; assert backbones.suggestions('image', 'large');"
        "print([m for m in ('torch', 'timm', 'transformers') if m in sys.modules])"
    )
    environment = {"HOME": "/nonexistent", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "[]"
