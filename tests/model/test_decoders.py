"""Decoders: the linear one by its definition, those of segmentation_models_pytorch by shape, size and place."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from torchgraft.core.errors import MissingExtra, OptionError, UnknownName, UserError
from torchgraft.model.decoders import bring, decoder, pixel_features

_SMP = pytest.mark.skipif(find_spec("segmentation_models_pytorch") is None, reason="segmentation is not installed")
CHANNELS, STRIDES = (4, 6, 8, 10, 12), (2, 4, 8, 16, 32)


def _maps(size: tuple[int, int] = (64, 96), *, batch: int = 2, strides=STRIDES, channels=CHANNELS) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(batch, c, -(-size[0] // s), -(-size[1] // s)) for c, s in zip(channels, strides, strict=True)]


def _head(classes: int = 3, width: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(classes, width)), rng.normal(size=classes)


def test_linear_is_the_linear_classifier_of_all_levels_together() -> None:
    weight, bias = _head()
    maps = [z.double() for z in _maps()]
    at_4 = [avg_pool2d(maps[0], 2), maps[1]]
    at_4 += [interpolate(z, (16, 24), mode="bilinear") for z in maps[2:]]
    z = interpolate(torch.cat(at_4, 1), (64, 96), mode="bilinear")
    expected = torch.einsum("kc,bchw->bkhw", torch.from_numpy(weight), z) + torch.from_numpy(bias)[:, None, None]
    found = decoder("linear", CHANNELS, STRIDES, 3).from_head(weight, bias).double()(maps, (64, 96))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)  # the weights are kept in float32


@pytest.mark.parametrize("at", [2, 4, 8])
@pytest.mark.parametrize("size", [(64, 96), (75, 101)])
def test_a_probe_of_pixel_features_is_the_linear_decoder(at: int, size: tuple[int, int]) -> None:
    weight, bias = _head()
    maps = _maps(size)
    places = torch.stack([torch.randperm(size[0] * size[1])[:50] for _ in range(2)])
    z = pixel_features(maps, STRIDES, size, places, at=at)
    assert z.shape == (2, 50, 40)
    probe = z.numpy() @ weight.T + bias
    logits = decoder("linear", CHANNELS, STRIDES, 3, at=at).from_head(weight, bias)(maps, size)
    assert logits.shape == (2, 3, *size)
    found = logits.flatten(2).gather(2, places[:, None].expand(-1, 3, -1)).permute(0, 2, 1)
    np.testing.assert_allclose(found.detach().numpy(), probe, atol=1e-4)


def test_a_head_goes_in_and_comes_out() -> None:
    weight, bias = _head()
    linear = decoder("linear", CHANNELS, STRIDES, 3).from_head(weight, bias)
    np.testing.assert_allclose(linear.head()[0], weight, rtol=1e-6)
    np.testing.assert_allclose(linear.head()[1], bias, rtol=1e-6)
    with pytest.raises(UserError, match=r"\(3, 40\).*got \(3, 39\)"):
        linear.from_head(weight[:, 1:], bias)


def test_bringing_keeps_places() -> None:
    ramp = torch.arange(8.0).view(1, 1, 1, 8)  # value i stands for pixels 4 i to 4 i + 3, its centre is 4 i + 1.5
    fine = bring(ramp, 4, 1, (1, 30))
    assert fine.shape == (1, 1, 1, 30)
    assert fine[0, 0, 0, 2:28].tolist() == pytest.approx([(j - 1.5) / 4 for j in range(2, 28)])
    assert bring(ramp, 4, 8, (1, 4))[0, 0, 0].tolist() == [0.5, 2.5, 4.5, 6.5]
    longer = bring(ramp, 4, 4, (1, 10))
    assert longer[0, 0, 0, 7:].tolist() == [7, 7, 7], "a map that was rounded down goes on as it ends"
    assert bring(ramp, 4, 4, (1, 8)) is not None


@_SMP
@pytest.mark.parametrize("name", ["deeplabv3plus", "unet"])
@pytest.mark.parametrize("strides", [STRIDES, (2, 4, 8, 16, 16), (2, 4, 8, 8, 8), (4, 8, 16, 32)])
def test_decoders_of_smp(name: str, strides: tuple[int, ...]) -> None:
    channels = CHANNELS[-len(strides) :]
    net = decoder(name, channels, strides, 5, **({"width": 16} if name == "deeplabv3plus" else {}))
    maps = _maps(strides=strides, channels=channels)
    logits = net(maps, (64, 96))
    assert logits.shape == (2, 5, 64, 96)
    logits.mean().backward()
    assert all(p.grad is not None for p in net.parameters())


@_SMP
@pytest.mark.parametrize("name", ["linear", "deeplabv3plus", "unet"])
def test_odd_sizes_and_single_photos_in_training(name: str) -> None:
    net = decoder(name, CHANNELS, STRIDES, 5).train()
    assert net(_maps((75, 101), batch=1), (75, 101)).shape == (1, 5, 75, 101)


@_SMP
def test_deeplab_takes_the_mean_of_the_whole() -> None:
    net, maps = decoder("deeplabv3plus", CHANNELS, STRIDES, 5, width=16).eval(), _maps()
    own = net(maps, (64, 96))
    assert net.sees_all
    assert torch.equal(net(maps, (64, 96), mean=maps[-1].mean((2, 3))), own)
    assert not torch.allclose(net(maps, (64, 96), mean=torch.ones(2, 12)), own)


@_SMP
def test_deeplab_is_smp_s_but_for_the_mean() -> None:
    """With the branch of the mean set to zero in both, and maps whose enlarging is the identity."""
    net = decoder("deeplabv3plus", CHANNELS, (2, 4, 4, 4, 4)[:5], 5, width=16, rates=(1, 2, 3)).eval()
    z = [torch.randn(1, c, 16, 16) for c in CHANNELS]
    views = [view(z[-1]) for view in net.views]
    pooled = torch.relu(net.mean(z[-1].mean((2, 3), keepdim=True))).expand(-1, -1, 16, 16)
    coarse = net.after(net.join(torch.cat([*views, pooled], 1)))
    by_hand = net.classify(net.refine(torch.cat([coarse, net.skip(z[1])], 1)))
    torch.testing.assert_close(net(z, (64, 64)), interpolate(by_hand, scale_factor=4.0, mode="bilinear"))
    assert [view[0][0].dilation[0] for view in list(net.views)[1:]] == [1, 2, 3]


@_SMP
def test_rates_follow_the_output_stride() -> None:
    for strides, rates in (((2, 4, 8, 16, 16), [6, 12, 18]), ((2, 4, 8, 8, 8), [12, 24, 36])):
        net = decoder("deeplabv3plus", CHANNELS, strides, 5, width=16)
        assert [view[0][0].dilation[0] for view in list(net.views)[1:]] == rates


def test_errors_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownName, match=r"Did you mean 'linear'\?"):
        decoder("linaer", CHANNELS, STRIDES, 3)
    with pytest.raises(OptionError, match="decoder 'linear'.*rates"):
        decoder("linear", CHANNELS, STRIDES, 3, rates=(1, 2, 3))
    with pytest.raises(UserError, match="stride 4"):
        decoder("deeplabv3plus", CHANNELS[3:], STRIDES[3:], 3)
    with pytest.raises(UserError, match="stride 2 or 4"):
        decoder("unet", CHANNELS[2:], STRIDES[2:], 3)
    with pytest.raises(OptionError, match="5 steps"):
        decoder("unet", CHANNELS, STRIDES, 3, widths=(8, 8))
    for name in [name for name in sys.modules if name.startswith("segmentation_models_pytorch")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(MissingExtra, match=r"torchgraft\[segmentation\]"):
        decoder("unet", CHANNELS, STRIDES, 3)


@pytest.mark.parametrize("name", ["linear+unet", "linear+deeplabv3plus"])
def test_a_corrected_decoder_begins_as_the_linear_one_and_learns(name: str) -> None:
    torch.manual_seed(0)
    channels, strides, size = (4, 6, 8), (2, 4, 8), (32, 48)
    maps = [torch.randn(2, c, size[0] // s, size[1] // s) for c, s in zip(channels, strides, strict=True)]
    weight, bias = np.random.default_rng(0).normal(size=(3, 18)), np.arange(3.0)
    alone = decoder("linear", channels, strides, 3).from_head(weight, bias)
    both = decoder(name, channels, strides, 3).from_head(weight, bias).eval()
    torch.testing.assert_close(both(maps, size), alone(maps, size))
    both(maps, size).square().mean().backward()
    assert all(p.grad.abs().max() > 0 for p in both.other.classify.parameters()), "what begins at 0 can leave it"
