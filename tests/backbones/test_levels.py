"""Maps at each stride: the right ones, the same as the network's own, dilated without moving what they saw."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from torchgraft import backbones
from torchgraft.backbones import Backbone, Levels, timm, torchvision
from torchgraft.core.errors import OptionError, UserError


def _settled(module: nn.Module) -> nn.Module:
    """Norms away from the identity, so that no map is zero."""
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.uniform_(-0.2, 0.2)
            part.running_var.uniform_(0.5, 1.5)
    return module.eval()


class _Halving(nn.Sequential):
    """Five blocks of a strided convolution and a plain one; ReLU changes the map of the norm in place."""

    def __init__(self, kernel: int = 3) -> None:
        widths = (3, 4, 5, 6, 7, 8)
        blocks = [
            nn.Sequential(
                nn.Conv2d(a, b, kernel, stride=2, padding=kernel // 2),
                nn.BatchNorm2d(b),
                nn.ReLU(inplace=True),
                nn.Conv2d(b, b, 3, padding=1),
            )
            for a, b in pairwise(widths)
        ]
        super().__init__(*blocks)


@pytest.fixture(scope="module")
def lite0() -> Backbone:
    return backbones.load("packaged/efficientnet_lite0")


def _by_hand(net: nn.Module, x: Tensor) -> list[Tensor]:
    z, found = net.act(net.bn0(net.conv_stem(x))), []
    for i, block in enumerate(net.blocks):
        z = block(z)
        if i in (0, 2, 4, 10, 15):
            found.append(z)
    return found


@pytest.mark.parametrize("shape", [(96, 96), (64, 160), (75, 101)])
def test_lite0_gives_the_last_block_of_each_stride(lite0: Backbone, shape: tuple[int, int]) -> None:
    levels = Levels.of(lite0)
    assert levels.strides == (2, 4, 8, 16, 32)
    assert levels.channels == (16, 24, 40, 112, 320), "the widening to 1280 is left out"
    x = torch.randn(2, 3, *shape)
    with torch.inference_mode():
        found, expected = levels(x), _by_hand(lite0.module, x)
    for z, wanted, stride in zip(found, expected, levels.strides, strict=True):
        assert z.shape[2:] == tuple(-(-n // stride) for n in shape)
        assert torch.equal(z, wanted)


def test_the_network_given_is_not_touched(lite0: Backbone) -> None:
    before = {name: z.clone() for name, z in lite0.module.state_dict().items()}
    levels = Levels.of(lite0, output_stride=8)
    with torch.no_grad():
        levels.module.conv_stem.weight.add_(1)
    assert lite0.module.blocks[11].depthwise_conv.stride == (2, 2)
    assert all(torch.equal(z, before[name]) for name, z in lite0.module.state_dict().items())
    assert levels.module.state_dict().keys() == before.keys()


@pytest.mark.parametrize(
    ("provider", "name", "channels"),
    [
        (timm, "resnet10t", (64, 64, 128, 256, 512)),
        (timm, "mobilenetv3_small_050", (16, 8, 16, 24, 48)),
        (torchvision, "mobilenet_v3_small", (16, 16, 24, 48, 96)),
        (torchvision, "shufflenet_v2_x0_5", (24, 24, 48, 96, 192)),
    ],
)
def test_networks_of_others(provider, name: str, channels: tuple[int, ...]) -> None:
    module = _settled(provider.cut(provider.build(name), 224).module)
    levels = Levels(module, 224)
    assert (levels.strides, levels.channels) == ((2, 4, 8, 16, 32), channels)
    x = torch.randn(2, 3, 96, 64)
    with torch.inference_mode():
        found = levels(x)
    assert [tuple(z.shape) for z in found] == [
        (2, c, 96 // s, 64 // s) for c, s in zip(channels, levels.strides, strict=True)
    ]
    assert levels.module.state_dict().keys() == module.state_dict().keys()
    _survives_copy_and_modes(levels, x, found)


def test_timm_agrees_where_it_names_the_levels_itself() -> None:
    torch.manual_seed(0)
    model = timm.build("resnet18").eval()
    own = Levels(timm.cut(copy.deepcopy(model), 224).module, 224)
    theirs = timm.library().create_model("resnet18", features_only=True).eval()
    theirs.load_state_dict(model.state_dict(), strict=False)
    x = torch.randn(1, 3, 96, 96)
    with torch.inference_mode():
        for z, wanted in zip(own(x), theirs(x), strict=True):
            torch.testing.assert_close(z, wanted)


def _survives_copy_and_modes(levels: Levels, x: Tensor, found: list[Tensor]) -> None:
    twin = copy.deepcopy(levels)
    assert twin.state_dict().keys() == levels.state_dict().keys()
    twin.train().requires_grad_(True)
    sum(z.mean() for z in twin(x)).backward()
    assert any(p.grad is not None for p in twin.parameters())
    assert all(p.grad is None for p in levels.parameters())
    twin.load_state_dict(levels.state_dict())
    twin.eval()
    with torch.inference_mode():
        for z, wanted in zip(twin(x), found, strict=True):
            torch.testing.assert_close(z, wanted)


def test_gradients_reach_all_that_the_levels_come_from() -> None:
    levels = Levels(_settled(_Halving()).requires_grad_(True), 64)
    sum(z.sum() for z in levels(torch.randn(2, 3, 64, 64))).backward()
    assert all(p.grad is not None for p in levels.parameters())


def test_a_map_that_is_changed_in_place_later_is_kept_as_it_was() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, 2, 1)
            self.next = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3, 2, 1))

        def forward(self, x: Tensor) -> Tensor:
            return self.next(self.conv(x))

    class Late(nn.Module):
        """A block that begins with a ReLU on what it is given."""

        def __init__(self) -> None:
            super().__init__()
            self.block1 = nn.Conv2d(3, 4, 3, 2, 1)
            self.block2 = Sum()
            self.block2.conv = nn.Conv2d(4, 4, 3, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.block2(nn.functional.relu_(self.block1(x)))

    net = Late().eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(Levels(net, 64)(x)[0], net.block1(x))


def test_two_threads_do_not_mix_their_maps(lite0: Backbone) -> None:
    levels = Levels.of(lite0)
    photos = [torch.randn(1, 3, 64, 64 + 32 * i) for i in range(6)]
    with torch.inference_mode():
        expected = [levels(x) for x in photos]

    def run(x: Tensor) -> list[Tensor]:
        with torch.inference_mode():
            return levels(x)

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(run, photos))
    for maps, wanted in zip(found, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(maps, wanted, strict=True))


def test_dilated_lite0_sees_what_it_saw_at_more_places(lite0: Backbone) -> None:
    plain, fine = Levels.of(lite0), Levels.of(lite0, output_stride=16)
    assert fine.strides == (2, 4, 8, 16, 16)
    x = torch.randn(1, 3, 960, 960)
    with torch.inference_mode():
        a, b = plain(x), fine(x)
    assert all(torch.equal(p, q) for p, q in zip(a[:4], b[:4], strict=True))
    # "same" padding of an even size samples the second of each two places
    middle = slice(14, 16)
    torch.testing.assert_close(
        b[4][:, :, 1::2, 1::2][:, :, middle, middle], a[4][:, :, middle, middle], atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("output_stride", [16, 8])
def test_dilated_torch_convolutions(output_stride: int) -> None:
    net = _settled(_Halving()).double()
    plain, fine = Levels(net, 64), Levels(net, 64, output_stride=output_stride)
    x = torch.randn(1, 3, 512, 512, dtype=torch.double)
    with torch.inference_mode():
        a, b = plain(x), fine(x)
    assert fine.strides == tuple(min(s, output_stride) for s in (2, 4, 8, 16, 32))
    for z, wanted, stride in zip(b, a, plain.strides, strict=True):
        step = max(1, stride // output_stride)
        torch.testing.assert_close(z[:, :, ::step, ::step][:, :, 4:-4, 4:-4], wanted[:, :, 4:-4, 4:-4])


def test_a_graph_can_be_dilated_too() -> None:
    module = _settled(torchvision.cut(torchvision.build("mobilenet_v3_small"), 224).module)
    fine = Levels(module, 224, output_stride=8)
    with torch.inference_mode():
        assert [z.shape[-1] for z in fine(torch.randn(1, 3, 64, 64))] == [32, 16, 8, 8, 8]


@pytest.mark.parametrize("name", ["convnext_atto", "resnet26d"])
def test_what_cannot_be_dilated_is_said(name: str) -> None:
    module = timm.cut(timm.build(name), 64).module
    with pytest.raises(UserError, match="odd size"):
        Levels(module, 64, output_stride=16)


def test_a_network_without_maps_is_refused_with_names_that_serve() -> None:
    with pytest.raises(UserError, match="packaged/efficientnet_lite0"):
        Levels(timm.cut(timm.build("vit_tiny_patch16_224"), 224).module, 224)


def test_a_backbone_of_tokens_is_refused_by_its_name(lite0: Backbone) -> None:
    with pytest.raises(UserError, match=r"^packaged/efficientnet_lite0 gives no maps"):
        Levels.of(replace(lite0, layout="tokens"))


def test_output_strides_are_named(lite0: Backbone) -> None:
    with pytest.raises(OptionError, match="32, 16, 8; got 4"):
        Levels.of(lite0, output_stride=4)


def test_it_can_be_exported(lite0: Backbone) -> None:
    levels, x = Levels.of(lite0), torch.randn(1, 3, 64, 64)
    exported = torch.export.export(levels, (x,), strict=False).module()
    for z, wanted in zip(exported(x), levels(x), strict=True):
        torch.testing.assert_close(z, wanted)


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        (timm, "resnet10t"),
        (timm, "mobilenetv3_small_050"),
        (torchvision, "mobilenet_v3_small"),
        (torchvision, "resnet18"),
    ],
)
def test_later_levels_are_made_from_an_earlier_one(provider, name: str) -> None:
    levels = Levels(_settled(provider.cut(provider.build(name), 224).module), 224).eval()
    x = torch.randn(2, 3, 96, 64)
    with torch.inference_mode():
        whole = levels(x)
        for count in range(1, len(whole)):
            assert levels.splits(count)
            torch.testing.assert_close(levels.after(whole[count - 1], count), whole[count:])


def test_lite0_splits_bit_for_bit(lite0: Backbone) -> None:
    levels, x = Levels.of(lite0).eval(), torch.randn(1, 3, 64, 160)
    with torch.inference_mode():
        whole = levels(x)
        assert all(torch.equal(a, b) for a, b in zip(levels.after(whole[2], 3), whole[3:], strict=True))
    assert not levels.splits(0)
    assert not levels.splits(5)


class _Beside(nn.Module):
    """A second branch goes past the first level."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 5, 3, 2, 1)
        self.past = nn.Conv2d(3, 5, 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)) + self.past(x)


def test_a_network_with_a_way_past_does_not_split() -> None:
    assert not Levels(_Beside(), 64).eval().splits(1)
