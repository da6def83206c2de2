"""The maps of an image network at each of its strides: what a dense task (segmentation) reads instead of the last one.

Networks are not asked for their levels by name: one small image is run through, and what each part gave is written
down. So every convolutional network that can be loaded has levels, our own, timm's and torchvision's alike.
"""

from __future__ import annotations

import contextlib
import copy
import threading
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from torchgraft.backbones._dilate import OUTPUT_STRIDES, dilate
from torchgraft.backbones._level_places import Event, block_of, pick
from torchgraft.backbones.base import Backbone
from torchgraft.core.errors import OptionError, UserError

_SMALLEST = 64


class Levels(nn.Module):
    """B x 3 x H x W (normalised) -> maps at strides 2, 4, 8, 16 and 32, as many of them as the network has.

    The level of a stride is what the last block at that stride gives. What only widens the last map by a 1 x 1
    convolution (to 1280 channels in EfficientNet) is left out: it computes at each place from what the level has there,
    was made for the average over all places, and would cost every decoder four times as much.

    `module` is the `module` of a `Backbone` of layout `map`, of which a copy is kept; `size` the pixels that it was
    built for. `strides` and `channels` say what each map has; a map is H / stride x W / stride, rounded as the network
    does it (most round up). H and W are 32 or more. Where they are multiples of `multiple` nothing is rounded, and
    a part of an image that begins at a multiple gives a part of its maps, but for what its ends hide.

    `output_stride` 16 or 8: convolutions that would go beyond keep the size, and what follows them looks at every
    second (fourth) place: the weights see what they saw, at more places (Chen et al., "Rethinking Atrous Convolution
    for Semantic Image Segmentation", 2017). The number of levels stays; several then have the same stride.

    `levels.module` is the network, so `levels.module.state_dict()` has the names that the backbone has.

    Raises `UserError` for networks without maps or that can't be dilated, `OptionError` for another `output_stride`.
    """

    @torch.inference_mode(False)  # inside inference mode the copy's weights could never be trained
    def __init__(self, module: nn.Module, size: int, *, output_stride: int = 32) -> None:
        super().__init__()
        if output_stride not in OUTPUT_STRIDES:
            raise OptionError(
                f"output_stride expects one of {', '.join(map(str, OUTPUT_STRIDES))}; got {output_stride!r}."
            )
        self.module = copy.deepcopy(module)
        self._graphs = _graphs(self.module)
        x = _sample(self.module, size)
        places, self._touched = _find(self.module, x)
        self._names: dict[int, str] = {stride: event.name for stride, event in places.items()}
        self.channels: tuple[int, ...] = tuple(event.shape[1] for event in places.values())
        self.strides: tuple[int, ...] = tuple(min(stride, output_stride) for stride in places)
        self.multiple: int = max(places)
        if self._graphs:
            _give_levels(self.module, x)
        if output_stride < max(places):
            dilate(self.module, x, output_stride)
            self._check(x)

    @classmethod
    def of(cls, backbone: Backbone, *, output_stride: int = 32) -> Levels:
        """The levels of a backbone. Raises `UserError` where it is for texts or gives tokens, and says which do."""
        if backbone.modality != "image" or backbone.layout != "map":
            raise UserError(_no_maps(backbone.name))
        return cls(backbone.module, backbone.preprocessing.size, output_stride=output_stride)

    def forward(self, x: Tensor, count: int | None = None) -> list[Tensor]:
        """Maps from the finest to the coarsest; the first `count` of them, for which less is computed."""
        count = len(self._names) if count is None else count
        if self._graphs:
            found = self.module.model(x)
            return [found[_key(stride)] for stride in self._names][:count]
        return self._watched(x, count)

    def after(self, z: Tensor, count: int, end: int | None = None) -> list[Tensor]:
        """The levels from `count` to `end` (None: all), made from `z`, the one before: B x C x H / stride x W / stride.

        The network runs on a picture of nothing, and `z` takes the place of what it gives there. Right for networks in
        which everything later is made from this map: see `splits`.
        """
        names = list(self._names)[:end]
        nothing = z.new_zeros(len(z), 3, _SMALLEST, _SMALLEST)
        if self._graphs:
            found = _Replaced(self.module.model, [_key(stride) for stride in names], count, z).levels(nothing)
            return found[count:]
        hook = dict(self.module.named_modules())[self._names[names[count - 1]]].register_forward_hook(
            lambda _, __, ___: _first_channels(self.module, z, back=True).clone()
        )
        try:
            return self._watched(nothing, len(names))[count:]
        finally:
            hook.remove()

    def splits(self, count: int) -> bool:
        """Whether `after` gives what the network itself does: tried on noise, once."""
        if not 0 < count < len(self._names):
            return False
        x = _sample(self.module, _SMALLEST * 2)

        def same() -> bool:
            whole = self(x)
            parts = self.after(whole[count - 1], count)
            return all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(whole[count:], parts, strict=True))

        try:
            return _in_eval(self, x, same)
        except (RuntimeError, AssertionError):  # sizes don't fit: something goes past this map
            return False

    def _watched(self, x: Tensor, count: int) -> list[Tensor]:
        """Run the module up to its level `count`.

        The hooks live for one call: kept, they would point at this object from its copies. Another thread may run the
        same module at the same time.
        """
        parts, found, me = dict(self.module.named_modules()), {}, threading.get_ident()
        exported = torch.compiler.is_compiling() or torch.jit.is_tracing()  # these follow every module to its end

        def keep(name: str, stride: int, z: Any) -> None:
            if threading.get_ident() != me:
                return
            z = _first_channels(self.module, z)
            found[stride] = z.clone() if name in self._touched else z
            if len(found) == count and not exported:
                raise _EnoughError

        hooks = [
            parts[name].register_forward_hook(lambda _, __, z, name=name, stride=stride: keep(name, stride, z))
            for stride, name in self._names.items()
        ]
        try:
            self.module(x)
        except _EnoughError:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        return [found[stride] for stride in list(self._names)[:count]]

    def _check(self, x: Tensor) -> None:
        """After dilation every level must be where it was promised to be."""
        wanted = [x.shape[-1] // stride for stride in self.strides]
        try:
            sizes = [z.shape[-1] for z in _in_eval(self, x)]
        except RuntimeError:  # two branches of a block, of which only one shrinks by a convolution
            sizes = []
        if sizes != wanted:
            raise UserError(
                f"output_stride {max(self.strides)} expects a network that shrinks its maps by convolutions of odd "
                f"size. {type(self.module).__name__} does it by pooling (DenseNet, VGG, ResNet-D) or by convolutions "
                "of even size (ConvNeXt). Use output_stride 32, or another backbone."
            )


class _EnoughError(Exception):
    """All levels are there: what the network does afterwards is not needed."""


def _no_maps(name: str) -> str:
    return (
        f"{name} gives no maps at several strides, and segmentation needs them. Expected a convolutional image "
        "network, like packaged/efficientnet_lite0, timm/resnet50.a1_in1k, timm/convnext_tiny.fb_in22k_ft_in1k or "
        "torchvision/mobilenet_v3_large."
    )


def _sample(module: nn.Module, size: int) -> Tensor:
    """A small image of a size that all strides divide; noise, since zeros may stay zeros all the way."""
    weight = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(0))
    side = max(_SMALLEST, -(-size // 32) * 32)
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, 3, side, side, generator=generator).to(weight)


def _find(module: nn.Module, x: Tensor) -> tuple[dict[int, Event], set[str]]:
    """(the place of each stride, the names whose map is changed in place later on)."""
    events: list[Event] = []
    if _graphs(module):
        _in_eval(module, x, lambda: _Watch(module.model, events).run(x))
    else:
        _in_eval(module, x, lambda: _watch(module, x, events))
    places = pick(events, x.shape[-1], dict(_inner(module).named_modules()))
    if len(places) < 2:  # of a ViT the patches are one map, at stride 16
        raise UserError(_no_maps(type(_inner(module)).__name__))
    return places, {event.name for event in places.values() if event.map._version != event.version}


def _in_eval(module: nn.Module, x: Tensor, run: Any = None) -> Any:
    """Run without gradients in eval mode, and put the mode back; statistics of norms must not move."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            return run() if run else module(x)
    finally:
        module.train(modes[module])
        for part, mode in modes.items():
            part.training = mode


def _watch(module: nn.Module, x: Tensor, events: list[Event]) -> None:
    """Write down what every part of `module` gives, in order."""

    def note(name: str, z: Any) -> None:
        z = _first_channels(module, z)
        if not isinstance(z, Tensor) or z.ndim != 4:
            return
        if not (events and events[-1].is_of(z)):
            events.append(Event(name, tuple(z.shape), z, z._version))
        elif name == block_of(events[-1].name):  # the block gives what its last part gave: its name lasts longer
            events[-1] = replace(events[-1], name=name)

    hooks = [
        part.register_forward_hook(lambda _, __, z, name=name: note(name, z))
        for name, part in module.named_modules()
        if name
    ]
    try:
        module(x)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise UserError(f"{_no_maps(type(module).__name__)} It refused a photo: {error}") from error
    finally:
        for hook in hooks:
            hook.remove()


def _first_channels(module: nn.Module, z: Any, *, back: bool = False) -> Any:
    """Timm's Swin and its like keep the channels last inside; `back`: as they keep them."""
    last = getattr(module, "channels_last", False) and isinstance(z, Tensor) and z.ndim == 4
    return z.permute(*((0, 2, 3, 1) if back else (0, 3, 1, 2))) if last else z


# torchvision's networks are graphs: sums at the end of a block are no modules, and no hook sees them.


class _Watch(fx.Interpreter):
    """Write down what every node of a graph gives, in order."""

    def __init__(self, module: fx.GraphModule, events: list[Event], graph: fx.Graph | None = None) -> None:
        super().__init__(module, graph=graph)
        self.events = events

    def run_node(self, n: fx.Node) -> Any:
        z = super().run_node(n)
        if n.op != "placeholder" and isinstance(z, Tensor) and z.ndim == 4:
            name = n.target if n.op == "call_module" else ""
            self.events.append(Event(name, tuple(z.shape), z, z._version, n))
        return z


class _Replaced(fx.Interpreter):
    """Run a graph that gives levels up to the last of `keys`, but with a map in the place of the one before `count`."""

    def __init__(self, module: fx.GraphModule, keys: list[str], count: int, z: Tensor) -> None:
        super().__init__(module)
        output = next(node for node in module.graph.nodes if node.op == "output")
        self.nodes = [output.args[0][key] for key in keys]
        self.replaced, self.z, self.found = self.nodes[count - 1], z, {}

    def levels(self, x: Tensor) -> list[Tensor]:
        with contextlib.suppress(_EnoughError):
            self.run(x)
        return [self.found[node] for node in self.nodes]

    def run_node(self, n: fx.Node) -> Any:
        z = self.z.clone() if n is self.replaced else super().run_node(n)
        if n in self.nodes:
            self.found[n] = z
            if len(self.found) == len(self.nodes):
                raise _EnoughError
        return z


def _inner(module: nn.Module) -> nn.Module:
    return module.model if _graphs(module) else module


def _graphs(module: nn.Module) -> bool:
    return isinstance(getattr(module, "model", None), fx.GraphModule)


def _key(stride: int) -> str:
    return f"stride{stride}"


def _give_levels(module: nn.Module, x: Tensor) -> None:
    """Add the levels to what the graph returns: in the graph for training and in that for evaluation, where it has two.

    Nodes that nothing needs now stay: a copy of the graph would lose their weights, and with them names of the state.
    """
    model = module.model
    parts = dict(model.named_modules())
    known = [getattr(model, name, None) for name in ("train_graph", "eval_graph")]
    for graph in {id(g): g for g in (*known, model.graph) if g is not None}.values():
        events: list[Event] = []
        _in_eval(module, x, lambda graph=graph, events=events: _Watch(model, events, graph).run(x))
        places = pick(events, x.shape[-1], parts)
        output = next(node for node in graph.nodes if node.op == "output")
        more = {_key(stride): _kept(graph, event) for stride, event in places.items()}
        output.args = ({**output.args[0], **more},)
    model.recompile()


def _kept(graph: fx.Graph, event: Event) -> fx.Node:
    if event.map._version == event.version:
        return event.node
    with graph.inserting_after(event.node):
        return graph.call_method("clone", (event.node,))
