from __future__ import annotations

import pytest
import torch
from torch import nn

from torchgraft.backbones import torchvision
from torchgraft.core.errors import OptionError
from torchgraft.train.groups import Group, freeze_to, is_bias, layers, parameter_groups

torchvision.library()  # declares what timm needs where torchvision was built for another torch
timm = pytest.importorskip("timm")


class Trunk(nn.Module):
    """A wrapper as the backbones room has it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


class Block(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, width)
        self.fc2 = nn.Linear(width, width)


class Small(nn.Module):
    """Embeddings, three blocks, a final norm."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(3, 4))
        self.embeddings = nn.Embedding(7, 4)
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.norm = nn.LayerNorm(4)


def bare(model: nn.Module, *heads: str) -> nn.Module:
    for name in heads:
        setattr(model, name, nn.Identity())
    return Trunk(model)


def names_of(module: nn.Module) -> list[str]:
    """Names in layers, every parameter once."""
    found = layers(module)
    names = [name for _, part in found for name in part]
    assert sorted(names) == sorted(name for name, _ in module.named_parameters())
    labels = [label for label, _ in found]
    assert len(set(labels)) == len(labels)
    assert all(part for _, part in found)
    return labels


def test_embeddings_come_first_and_the_final_norm_last() -> None:
    assert names_of(Small()) == ["stem", "blocks.0", "blocks.1", "blocks.2", "norm"]
    assert layers(Small())[0][1] == ["position", "embeddings.weight"]


@pytest.mark.parametrize(
    ("architecture", "first", "second", "end", "count"),
    [
        ("efficientnet_lite0", "model.conv_stem.weight", "model.blocks.0.0", "end", 18),
        ("resnet18", "model.conv1.weight", "model.layer1.0", "model.layer4.1", 9),
        ("vit_tiny_patch16_224", "model.cls_token", "model.blocks.0", "model.norm", 14),
    ],
)
def test_timm_networks_say_it_themselves(architecture: str, first: str, second: str, end: str, count: int) -> None:
    module = bare(timm.create_model(architecture), "classifier", "fc", "head")
    labels = names_of(module)
    assert len(labels) == count
    assert layers(module)[0][1][0] == first
    assert labels[1] == second
    assert labels[-1] == end


def test_what_follows_the_blocks_of_efficientnet_is_its_own_layer() -> None:
    module = bare(timm.create_model("efficientnet_lite0"), "classifier")
    assert [name for name in layers(module)[-1][1] if name.endswith("weight")] == [
        "model.conv_head.weight",
        "model.bn2.weight",
    ]


def test_parameters_of_a_wrapper_stand_before_and_after_timm_s() -> None:
    module = bare(timm.create_model("resnet18"), "fc")
    module.after = nn.Linear(2, 2)
    module.register_parameter("scale", nn.Parameter(torch.ones(1)))
    found = layers(module)
    names_of(module)
    assert found[0][1] == ["scale"]
    assert found[-1][1] == ["after.weight", "after.bias"]


def test_norms_of_timm_s_vgg_go_with_their_convolution() -> None:
    module = bare(timm.create_model("vgg11_bn"), "head", "pre_logits")
    found = layers(module)
    assert found[1][1] == [
        "model.features.4.weight",
        "model.features.4.bias",
        "model.features.5.weight",
        "model.features.5.bias",
    ]


@pytest.mark.parametrize(
    ("architecture", "count", "second", "last"),
    [
        ("resnet18", 9, "model.layer1.0", "model.layer4.1"),
        ("vgg11_bn", 8, "model.features.4", "end"),
        ("alexnet", 5, "model.features.3", "model.features.10"),
        ("mobilenet_v2", 19, "model.features.1.conv", "model.features.18"),
        ("efficientnet_b0", 18, "model.features.1.0.block", "model.features.8"),
        ("vit_b_16", 14, "model.encoder.layers.encoder_layer_0", "model.encoder.ln"),
        ("densenet121", 63, "model.features.denseblock1.denselayer1", "model.features.norm5"),
        ("regnet_y_400mf", 17, "model.trunk_output.block1.block1-0", "model.trunk_output.block4.block4-5.f"),
        ("inception_v3", 12, "model.Mixed_5b", "model.Mixed_7c"),
        ("googlenet", 10, "model.inception3a", "model.inception5b"),
    ],
)
def test_torchvision_networks(architecture: str, count: int, second: str, last: str) -> None:
    with torch.device("cpu" if architecture.startswith("regnet") else "meta"):  # RegNet computes its own widths
        module = bare(torchvision.build(architecture), "fc", "classifier", "heads")
    labels = names_of(module)
    assert (len(labels), labels[1], labels[-1]) == (count, second, last)


def test_a_traced_resnet_has_the_same_layers_as_its_original() -> None:
    model = torchvision.build("resnet18")
    traced = torchvision.cut(model, 64).module
    assert layers(traced) == layers(bare(torchvision.build("resnet18"), "fc"))


def text_model(kind: str) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    sizes = {
        "hidden_size": 8,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "vocab_size": 20,
    }
    if kind == "GPT2":
        config = transformers.GPT2Config(
            n_embd=8, n_layer=3, n_head=2, vocab_size=20, bos_token_id=None, eos_token_id=None
        )
        return Trunk(transformers.GPT2Model(config))
    more = {"embedding_size": 4} if kind == "Albert" else {}
    config = getattr(transformers, f"{kind}Config")(**sizes, **more)
    return Trunk(getattr(transformers, f"{kind}Model")(config))


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        ("Bert", ["model.embeddings", *(f"model.encoder.layer.{i}" for i in range(3)), "model.pooler.dense"]),
        ("GPT2", ["stem", "model.h.0", "model.h.1", "model.h.2", "model.ln_f"]),
        ("Albert", ["stem", "model.encoder.albert_layer_groups.0.albert_layers.0", "model.pooler"]),
    ],
)
def test_text_networks(kind: str, labels: list[str]) -> None:
    assert names_of(text_model(kind)) == labels


def test_tables_that_are_registered_late_are_the_input() -> None:
    module = nn.Module()
    module.blocks = nn.ModuleList(Block() for _ in range(2))
    module.positions = nn.Embedding(3, 4)
    module.norm = nn.LayerNorm(4)
    assert names_of(module) == ["positions", "blocks.0", "blocks.1", "norm"]


def test_a_network_without_a_chain_is_one_layer() -> None:
    assert names_of(Block()) == ["backbone"]
    assert layers(nn.Identity()) == []


def test_chains_in_chains_lie_end_to_end() -> None:
    stages = nn.Sequential(nn.Sequential(Block(), Block()), nn.Sequential(nn.ReLU(), Block()))
    assert names_of(stages) == ["0.0", "0.1", "1.1"]


def rates(groups: list[Group]) -> dict[str, float]:
    return {group.name: group.rate for group in groups}


def test_rates_fall_towards_the_input() -> None:
    groups = parameter_groups(Small(), nn.Linear(4, 2), decay=0.0, layer_decay=0.5, head_rate=10.0)
    assert rates(groups) == {
        "stem": 0.5**5,
        "blocks.0": 0.5**4,
        "blocks.1": 0.5**3,
        "blocks.2": 0.5**2,
        "norm": 0.5,
        "head": 10.0,
    }


def test_no_layer_decay_gives_every_layer_the_same_rate() -> None:
    assert {group.rate for group in parameter_groups(Small(), nn.Linear(4, 2), decay=0.1)} == {1.0}


def test_biases_and_norms_have_no_weight_decay() -> None:
    backbone, head = Small(), nn.Linear(4, 2)
    backbone.norm.weight = nn.Parameter(torch.ones(1, 4))  # a norm's weight of two dimensions is still a norm's
    name_of = {id(p): name for name, p in nn.ModuleDict({"b": backbone, "h": head}).named_parameters()}
    groups = parameter_groups(backbone, head, decay=0.05)
    decayed = {name_of[id(p)] for group in groups if group.decay for p in group.params}
    expected = {f"b.blocks.{i}.{fc}.weight" for i in range(3) for fc in ("fc1", "fc2")}
    assert decayed == expected | {"b.position", "b.embeddings.weight", "h.weight"}
    assert {group.decay for group in groups} == {0.0, 0.05}
    assert sum(len(group.params) for group in groups) == len(name_of)
    assert len(rates(groups)) == len(groups), "names differ, so that norms of gradients can be told apart"


@pytest.mark.parametrize(("last", "labels"), [(0, []), (1, ["norm"]), (2, ["blocks.2", "norm"]), (99, None)])
def test_the_last_layers_alone(last: int, labels: list[str] | None) -> None:
    found = list(rates(parameter_groups(Small(), nn.Linear(4, 2), decay=0.0, last=last)))
    assert found == [*(labels if labels is not None else [label for label, _ in layers(Small())]), "head"]


def test_rates_do_not_change_with_how_many_layers_train() -> None:
    everything = rates(parameter_groups(Small(), nn.Linear(4, 2), decay=0.0, layer_decay=0.7))
    part = rates(parameter_groups(Small(), nn.Linear(4, 2), decay=0.0, layer_decay=0.7, last=2))
    assert part == {name: everything[name] for name in part}


def test_bitfit_trains_biases_and_the_head() -> None:
    backbone, head = Small(), nn.Linear(4, 2)
    groups = parameter_groups(backbone, head, decay=0.0, only=is_bias)
    freeze_to(groups, backbone)
    trained = {name for name, p in backbone.named_parameters() if p.requires_grad}
    assert trained == {name for name, _ in backbone.named_parameters() if name.endswith("bias")}
    assert set(groups[-1].params) == set(head.parameters())


@pytest.mark.parametrize(
    ("name", "answer"), [("a.bias", True), ("attn.in_proj_bias", True), ("bias.weight", False), ("a.weight", False)]
)
def test_names_of_biases(name: str, answer: bool) -> None:
    assert is_bias(name) is answer


def test_shared_parameters_stand_once() -> None:
    backbone = Small()
    backbone.blocks[1].fc1.weight = backbone.blocks[0].fc1.weight
    head = nn.Linear(4, 7)
    head.weight = backbone.embeddings.weight
    groups = parameter_groups(backbone, head, decay=0.1)
    ids = [id(p) for group in groups for p in group.params]
    assert len(ids) == len(set(ids))
    assert id(head.weight) in {id(p) for p in groups[0].params}
    names_of(backbone)


def test_freezing_goes_both_ways_and_forgets_gradients() -> None:
    backbone, head = Small(), nn.Linear(4, 2)
    whole = nn.ModuleDict({"backbone": backbone, "head": head})
    for p in whole.parameters():
        p.grad = torch.ones_like(p)
    freeze_to(parameter_groups(backbone, head, decay=0.0, last=0), whole)
    assert {name for name, p in whole.named_parameters() if p.requires_grad} == {"head.weight", "head.bias"}
    assert all(p.grad is None for p in backbone.parameters())
    assert head.weight.grad is not None
    freeze_to(parameter_groups(backbone, head, decay=0.0), whole)
    assert all(p.requires_grad for p in whole.parameters())


def test_an_optimizer_takes_the_groups() -> None:
    groups = parameter_groups(Small(), nn.Linear(4, 2), decay=0.1, layer_decay=0.5)
    given = [{"params": g.params, "lr": 1e-3 * g.rate, "weight_decay": g.decay} for g in groups]
    optimizer = torch.optim.AdamW(given)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-3 / 32)


def test_all_wrong_values_stand_in_one_error() -> None:
    with pytest.raises(OptionError) as error:
        parameter_groups(Small(), nn.Linear(4, 2), decay=-1, layer_decay=0, head_rate=float("nan"), last=-2)
    assert all(word in str(error.value) for word in ("decay expects", "layer_decay", "head_rate", "last"))


def test_nothing_to_train_is_an_error() -> None:
    with pytest.raises(OptionError, match="nothing is left to train"):
        parameter_groups(Small(), nn.Identity(), decay=0.0, last=0)
