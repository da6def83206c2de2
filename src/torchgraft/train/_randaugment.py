"""RandAugment (Cubuk et al. 2020, arXiv:1909.13719): n changes drawn at random, all of one magnitude."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torchgraft.train import _colour, _geometry
from torchgraft.train._geometry import STILL, Matrix, then

Change = tuple[Any, ...]
"""A function of `_colour` and what it is called with after the picture."""

_ENHANCE = {
    "brightness": _colour.brightness,
    "contrast": _colour.contrast,
    "colour": _colour.saturation,
    "sharpness": _colour.sharpness,
}
_MOVES: dict[str, Callable[[float, int], Matrix]] = {  # at full strength, for a picture of `size` pixels
    "rotate": lambda strength, size: _geometry.rotate(30 * strength),
    "shear_x": lambda strength, size: _geometry.shear_x(0.3 * strength),
    "shear_y": lambda strength, size: _geometry.shear_y(0.3 * strength),
    "translate_x": lambda strength, size: _geometry.translate(0.45 * strength * size, 0),
    "translate_y": lambda strength, size: _geometry.translate(0, 0.45 * strength * size),
}
OPS = (*_MOVES, *_ENHANCE, "autocontrast", "equalize", "identity", "posterize", "solarize")
"""The fourteen changes of the paper."""


def randaugment(draws: Sequence[float], magnitude: float, size: int) -> tuple[Matrix, list[Change]]:
    """The geometry and the changes of colour, in order, of one picture of `size` x `size` pixels.

    `draws` from [0, 1), two for each change: which one, and its sign. At magnitude 10: rotation by 30 degrees, shear
    by 0.3, shifts by 0.45 of the side, factors 1 +- 0.9, four bits, solarised from 0 up; less in proportion.
    Geometry comes before colour, so that the picture is sampled once.
    """
    matrix, changes = STILL, []
    for which, sign in zip(draws[::2], draws[1::2], strict=True):
        name = OPS[int(which * len(OPS))]
        strength = magnitude / 10 * (1 if sign < 0.5 else -1)
        if name in _MOVES:
            matrix = then(matrix, _MOVES[name](strength, size))
        else:
            changes += _change(name, strength)
    return matrix, changes


def _change(name: str, strength: float) -> list[Change]:
    if name in _ENHANCE:
        return [(_ENHANCE[name], 1 + 0.9 * strength)]
    if name == "posterize":
        return [(_colour.posterize, 8 - round(4 * abs(strength)))]
    if name == "solarize":
        return [(_colour.solarize, 256 * (1 - abs(strength)))]
    return {"autocontrast": [(_colour.autocontrast,)], "equalize": [(_colour.equalize,)], "identity": []}[name]
