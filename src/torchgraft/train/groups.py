"""Which parameters train, and how fast: layers of any network from the input up, rates that fall with depth."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile

from torch import nn

from torchgraft.core.errors import OptionError

Layer = tuple[str, list[str]]
"""A name for people, and the names of its parameters."""

_NUMBERED = re.compile(r"(.*?)\d+")
_BRANCH = "branch"  # numbered too (Inception, ShuffleNet), but side by side: what has branches is one block
_AFTER_ALL = (99_998.0,)  # timm's own mark, 99999, would put what comes after the blocks into the last block


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Parameters that share a rate and a weight decay.

    `rate` is a factor on the phase's learning rate (no unit, 0 or more), `decay` the weight decay as the optimiser
    takes it (AdamW: per unit of learning rate).
    """

    name: str
    params: tuple[nn.Parameter, ...]
    rate: float
    decay: float


def layers(module: nn.Module) -> list[Layer]:
    """Names of a network's parameters by depth, from the input up; every parameter stands in one layer.

    The first layer is the stem or the embeddings, then comes one layer for each block, the last one is what comes
    after the blocks (a final convolution or norm) where there is such a thing. timm's networks say themselves what
    their blocks are. Elsewhere a block is an element of a chain: children that are numbered, like those of
    `nn.Sequential` and `nn.ModuleList`. Chains within chains (stages of blocks) are laid end to end, a norm in a chain
    belongs to what it follows. A module with branches is a block too. A network without blocks is one layer.
    """
    names = [name for name, _ in module.named_parameters()]
    if not names:
        return []
    parts = _timm_layers(module) or _chain_layers(module, set(names))
    return list(zip(_labels(parts), parts, strict=True))


def is_bias(name: str) -> bool:
    """Whether this is the name of a bias: what BitFit trains (Ben Zaken et al. 2022)."""
    leaf = name.rpartition(".")[2]
    return leaf == "bias" or leaf.endswith("_bias")


def parameter_groups(
    backbone: nn.Module,
    head: nn.Module,
    *,
    decay: float,
    layer_decay: float = 1.0,
    head_rate: float = 1.0,
    last: int | None = None,
    only: Callable[[str], bool] | None = None,
) -> list[Group]:
    """Groups of what trains, from the input up, the head last.

    Of L layers (see `layers`) layer l = 0..L-1 has the rate layer_decay^(L - l): the embeddings move least (BEiT: 0.65
    to 0.8; ULMFiT: 1/2.6). The head has `head_rate`. Biases, other vectors and the parameters of norms have no weight
    decay. `last` trains the last that many layers only (0: the head alone); `only` keeps the backbone's parameters
    whose name it accepts (`is_bias`: BitFit). A parameter that is used twice stands in one group.

    Raises `OptionError` for values out of range, and where nothing is left to train.
    """
    _check(decay, layer_decay, head_rate, last)
    found = layers(backbone)
    depth = len(found)
    first = 0 if last is None else max(0, depth - last)
    named = dict(backbone.named_parameters())
    unfit = _undecayed(backbone) | _undecayed(head)
    seen: set[int] = set()
    groups: list[Group] = []
    for i, (label, names) in enumerate(found[first:], start=first):
        kept = [named[name] for name in names if only is None or only(name)]
        groups += _split(label, kept, layer_decay ** (depth - i), decay, unfit, seen)
    groups += _split("head", head.parameters(), head_rate, decay, unfit, seen)
    if not groups:
        raise OptionError("nothing is left to train: the head has no parameters, and `last` and `only` leave none.")
    return groups


def freeze_to(groups: Iterable[Group], module: nn.Module) -> None:
    """Let exactly the parameters of `groups` have gradients, of all that `module` holds."""
    trained = {id(p) for group in groups for p in group.params}
    for p in module.parameters():
        p.requires_grad_(id(p) in trained)
        if id(p) not in trained:
            p.grad = None  # a gradient of the phase before would still be counted and clipped


def _check(decay: float, layer_decay: float, head_rate: float, last: int | None) -> None:
    problems = []
    if not 0 <= decay < float("inf"):
        problems.append(f"decay expects a number of 0 or more, got {decay!r}")
    if not 0 < layer_decay <= 1:
        problems.append(f"layer_decay expects a factor above 0 and up to 1, got {layer_decay!r}")
    if not 0 <= head_rate < float("inf"):
        problems.append(f"head_rate expects a factor of 0 or more, got {head_rate!r}")
    if last is not None and last < 0:
        problems.append(f"last expects a number of layers, 0 or more, got {last!r}")
    if problems:
        raise OptionError("; ".join(problems) + ".")


def _split(
    label: str, params: Iterable[nn.Parameter], rate: float, decay: float, unfit: set[int], seen: set[int]
) -> list[Group]:
    """At most two groups: with weight decay, and without. One where `decay` is 0."""
    fresh = []
    for p in params:
        if id(p) not in seen:
            fresh.append(p)
            seen.add(id(p))
    weights = tuple(p for p in fresh if decay and id(p) not in unfit)
    others = tuple(p for p in fresh if not decay or id(p) in unfit)
    name = f"{label} (no decay)" if decay else label
    both = (
        Group(name=label, params=weights, rate=rate, decay=decay),
        Group(name=name, params=others, rate=rate, decay=0.0),
    )
    return [group for group in both if group.params]


def _undecayed(module: nn.Module) -> set[int]:
    """Ids of vectors, numbers and norm parameters."""
    vectors = {id(p) for p in module.parameters() if p.ndim <= 1}
    return vectors | {id(p) for part in module.modules() if _is_norm(part) for p in part.parameters(recurse=False)}


def _is_norm(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower() and not any(True for _ in module.children())


def _timm_layers(module: nn.Module) -> list[list[str]]:
    """What timm's own `group_matcher` says, the wrapper's parameters added; empty where the network has none."""
    found = [(name, part) for name, part in module.named_modules() if callable(getattr(part, "group_matcher", None))]
    if not found:
        return []
    from timm.models import group_parameters  # here: what has a matcher has loaded timm already

    prefix, model = found[0]
    dot = f"{prefix}." if prefix else ""
    grouped = group_parameters(model, _unmerged(model.group_matcher(coarse=False)))
    parts = [[dot + name for name in grouped[i]] for i in sorted(grouped)]
    inside = {name for names in parts for name in names}
    names = [name for name, _ in module.named_parameters()]
    begin = next((i for i, name in enumerate(names) if name in inside), 0)
    before = [name for name in names[:begin] if name not in inside]
    after = [name for name in names[begin:] if name not in inside]
    return [part for part in (before, *_norms_joined(model, parts, dot), after) if part]


def _unmerged(matcher: dict | Callable) -> dict | Callable:
    """A matcher that keeps what comes after all blocks apart from the last block."""
    if not isinstance(matcher, dict):
        return matcher

    def apart(rules: object) -> object:
        if not isinstance(rules, list | tuple):
            return rules
        return [
            (pattern, _AFTER_ALL if suffix and not re.compile(pattern).groups else suffix) for pattern, suffix in rules
        ]

    return {name: apart(rules) for name, rules in matcher.items()}


def _norms_joined(model: nn.Module, parts: list[list[str]], dot: str) -> list[list[str]]:
    """Put layers of nothing but a norm (VGG) with what they follow; the last one, the final norm, stays."""
    norms = {f"{dot}{name}" for name, part in model.named_modules() if _is_norm(part)}
    joined: list[list[str]] = []
    for i, part in enumerate(parts):
        if joined and i < len(parts) - 1 and {name.rpartition(".")[0] for name in part} <= norms:
            joined[-1] = joined[-1] + part
        else:
            joined.append(list(part))
    return joined


def _chain_layers(module: nn.Module, names: set[str]) -> list[list[str]]:
    """Layers by the rule for any network."""
    parts: list[tuple[bool, list[str]]] = []
    for in_chain, found in _walk(module, ""):
        own = [name for name in found if name in names]  # the second name of a shared parameter is left out
        if own and parts and not in_chain and not parts[-1][0]:
            parts[-1][1].extend(own)
        elif own:
            parts.append((in_chain, own))
    return _tables_first(module, parts)


def _walk(module: nn.Module, dot: str) -> Iterator[tuple[bool, list[str]]]:
    """(whether it is an element of a chain, names) from the input up, in the order of registration."""
    if _is_chain(module):
        for names in _elements(module, dot):
            yield True, names
        return
    if any(name.startswith(_BRANCH) for name, _ in _weighted(module)):
        yield True, [dot + name for name, _ in module.named_parameters()]
        return
    yield False, [dot + name for name, _ in module.named_parameters(recurse=False)]
    for name, child in _weighted(module):
        yield from _walk(child, f"{dot}{name}.")


def _is_chain(module: nn.Module) -> bool:
    """Whether the children with weights are numbered alike (0, 1, ... or block1, block2, ...), and nothing else."""
    if any(True for _ in module.parameters(recurse=False)):
        return False
    names = [name for name, _ in _weighted(module)]
    families = {match[1] if (match := _NUMBERED.fullmatch(name)) else None for name in names}
    return families == {""} or (len(names) > 1 and len(families) == 1 and not families & {None, _BRANCH})


def _weighted(module: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, child) for name, child in module.named_children() if any(True for _ in child.parameters())]


def _elements(chain: nn.Module, dot: str) -> list[list[str]]:
    """Names of each element; numbered chains inside are laid end to end, norms go with what they follow."""
    found: list[list[str]] = []
    first_norm: list[str] = []
    for name, child in chain.named_children():
        place = f"{dot}{name}."
        own = [place + n for n, _ in child.named_parameters()]
        if _is_norm(child) and not found:
            first_norm += own
        elif _is_norm(child):
            found[-1] += own
        elif _is_chain(child):
            found += _elements(child, place)
        elif own:
            found.append(own)
    if first_norm:
        found = [first_norm + found[0], *found[1:]] if found else [first_norm]
    return found


def _tables_first(module: nn.Module, parts: list[tuple[bool, list[str]]]) -> list[list[str]]:
    """Move embedding tables that are registered after the blocks (XLNet, DeBERTa) to the stem."""
    tables = {f"{name}.weight" for name, part in module.named_modules() if isinstance(part, nn.Embedding)}
    late = [name for in_chain, names in parts[1:] if not in_chain for name in names if name in tables]
    kept = [(in_chain, [name for name in names if name not in late]) for in_chain, names in parts]
    if late and kept[0][0]:
        kept.insert(0, (False, late))
    elif late:
        kept[0][1].extend(late)
    return [names for _, names in kept if names]


def _labels(parts: list[list[str]]) -> list[str]:
    """Each layer's place in the network where it has one for itself, else stem, end or its first parameter's place."""
    if len(parts) == 1:
        return ["backbone"]
    labels: list[str] = []
    for i, names in enumerate(parts):
        place = _place(names)
        inside = f"{place}." if place else ""
        if any(name.startswith(inside) for j, others in enumerate(parts) if j != i for name in others):
            place = "stem" if i == 0 else "end" if i == len(parts) - 1 else _place(names[:1])
        labels.append(place if place and place not in labels else f"layer {i}")
    return labels


def _place(names: list[str]) -> str:
    """The modules that all these parameters lie in: `a.b` of `a.b.weight` and `a.b.c.bias`."""
    paths = [name.split(".")[:-1] for name in names]
    shared = takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False))
    return ".".join(parts[0] for parts in shared)
