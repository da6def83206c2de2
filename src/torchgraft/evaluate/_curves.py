"""Small line charts of one training, and the strip that shows which layers trained when. Inline SVG, see `_plots`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from torchgraft.evaluate._format import percent, short, text
from torchgraft.evaluate._plots import ticks

WIDTH, HEIGHT = 360, 196
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 14, 38

Points = Sequence[tuple[float, float]]

_FAR = 4.0
"""How many times its median a curve may rise before its peaks are cut off: an explosion must not flatten the rest."""

_CELL, _NAMES = 16, 104
"""Height of a layer in the strip, and width of the names beside it."""

_NAMED = 18
"""Layers that have a row of their own height; more of them share the height of these."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One curve: `on` for the one that counts, quiet else. Points that are not finite are gaps."""

    points: Points
    on: bool = False
    dots: bool = False
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How a chart's heights are read: `write` makes the words of a tick, `zero` begins at 0, `top` is the end."""

    write: Callable[[float], str] = short
    zero: bool = False
    top: float = math.inf


SHARE = Scale(write=lambda value: percent(value, 0), top=1.0)


def chart(
    lines: Sequence[Line],
    *,
    x_name: str,
    label: str,
    scale: Scale = Scale(),
    ring: tuple[float, float] | None = None,
    marks: Sequence[tuple[float, str]] = (),
    splits: Sequence[float] = (),
) -> str:
    """Curves over a whole-numbered x from 0; empty where nothing is finite.

    `ring`: the point that was kept; `marks`: (x, words) of repairs; `splits`: x where a new phase began.
    """
    heights = [y for line in lines for _, y in line.points if math.isfinite(y)]
    if not heights:
        return ""
    low, high = _limits(heights, scale)
    wide = max([1.0, *(x for line in lines for x, _ in line.points)])

    def place(x: float, y: float) -> tuple[float, float]:
        part = (min(max(y, low), high) - low) / (high - low)
        return LEFT + x / wide * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)

    parts = [*_up(low, high, scale, place), *_along(wide, x_name, place)]
    parts += [_rule("split", place(x, low)[0], "a new phase") for x in splits]
    parts += [_mend(place(x, low)[0], words) for x, words in marks]
    parts += [_line(line, place) for line in sorted(lines, key=lambda one: one.on)]
    if ring:
        x, y = place(*ring)
        parts.append(f'<circle class="kept" cx="{x:.1f}" cy="{y:.1f}" r="7"><title>kept</title></circle>')
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text(label)}">{"".join(parts)}</svg>'
    )


def strip(phases: Sequence[Mapping[str, Any]]) -> str:
    """Layers (the head on top, the input at the bottom) by phases: stronger with a higher rate, grey where frozen.

    A phase is `{"rates": {layer: rate}, "width": steps, "frozen": whether some parameters have no layer here}`.
    """
    names = layer_names([phase["rates"] for phase in phases])[::-1]
    if not names:
        return ""
    rest = ["everything else"] if all(phase["frozen"] for phase in phases) else []
    rows = [*names, *rest]
    cell = _CELL if len(rows) <= _NAMED else max(5.0, _CELL * _NAMED / len(rows))
    shown = max(1, math.ceil(11 / cell))
    most = max((rate for phase in phases for rate in phase["rates"].values()), default=0.0)
    parts = []
    for r, label in enumerate(short_names(rows)):
        if not r % shown:
            y = TOP + 4 + r * cell + min(cell, _CELL) / 2 + 4
            parts.append(f'<text class="tick" x="{_NAMES - 8}" y="{y:.1f}" text-anchor="end">{text(label)}</text>')
    total, x = sum(max(phase["width"], 1) for phase in phases), float(_NAMES)
    room = WIDTH - _NAMES - RIGHT
    for number, phase in enumerate(phases, 1):
        # a short phase is still to be seen
        wide = room * (0.5 / len(phases) + 0.5 * max(phase["width"], 1) / total)
        if len(phases) > 1:
            parts.append(f'<text class="tick" x="{x + wide / 2:.1f}" y="11" text-anchor="middle">{number}</text>')
        parts += [_cell(name, phase, x, TOP + 4 + r * cell, wide, cell, most) for r, name in enumerate(rows)]
        x += wide
    height = TOP + 4 + cell * len(rows) + 6
    label = "Which layers trained in which phase"
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
    )


def layer_names(phases: Sequence[Mapping[str, float]]) -> list[str]:
    """Every layer of the phases once, from the input up, as the phase with the most of them has it."""
    longest = max(phases, key=len, default={})
    others = [name for phase in phases for name in phase if name not in longest]
    return list(dict.fromkeys([*longest, *others]))


def short_names(names: Sequence[str], most: int = 16) -> list[str]:
    """What tells layers apart: without the dotted beginning that all of them share; long ones lose their beginning."""
    dotted = [name.split(".") for name in names if "." in name]
    same = 0
    while len(dotted) > 1 and all(len(parts) > same + 1 and parts[same] == dotted[0][same] for parts in dotted):
        same += 1
    if same and any(parts[same].isdigit() for parts in dotted):
        same -= 1  # a bare number says nothing
    plain = [".".join(name.split(".")[same:]) if "." in name else name for name in names]
    return [name if len(name) <= most else "\u2026" + name[1 - most :] for name in plain]


def _cell(name: str, phase: Mapping[str, Any], x: float, y: float, wide: float, high: float, most: float) -> str:
    rate = phase["rates"].get(name)
    box = f'x="{x:.1f}" y="{y:.1f}" width="{max(wide - 2, 1):.1f}" height="{max(high - 1.5, 1):.1f}" rx="2"'
    if rate is None:
        return f'<rect class="frame" {box}><title>{text(name)}: frozen</title></rect>'
    strength = 0.25 + 0.75 * math.sqrt(rate / most) if most > 0 else 0.25
    return f'<rect class="hit" {box} fill-opacity="{strength:.2f}"><title>{text(name)}: {short(rate)}</title></rect>'


def _limits(heights: Sequence[float], scale: Scale) -> tuple[float, float]:
    low, high = min(heights), max(heights)
    if not scale.zero and scale.top == math.inf:
        high = min(high, _FAR * max(median(heights), 1e-9))
    if scale.zero:
        low = min(low, 0.0)
    room = max(0.06 * (high - low), 0.01 * abs(high), 1e-9)
    return (low if scale.zero else max(low - room, 0.0) if low >= 0 else low - room), min(high + room, scale.top)


def _up(low: float, high: float, scale: Scale, place: Callable) -> list[str]:
    parts = []
    for value in ticks(low, high):
        y = place(0, value)[1]
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        words = scale.write(value)
        parts.append(f'<text class="tick" x="{LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{words}</text>')
    return parts


def _along(wide: float, name: str, place: Callable) -> list[str]:
    y = HEIGHT - BOTTOM + 16
    parts = [
        f'<text class="tick" x="{place(x, 0)[0]:.1f}" y="{y}" text-anchor="middle">{x:,.0f}</text>'
        for x in ticks(0, wide)
        if float(x).is_integer()
    ]
    middle = (LEFT + WIDTH - RIGHT) / 2
    return [*parts, f'<text class="tick" x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">{text(name)}</text>']


def _rule(kind: str, x: float, words: str) -> str:
    return (
        f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 4}" y2="{HEIGHT - BOTTOM}">'
        f"<title>{text(words)}</title></line>"
    )


def _mend(x: float, words: str) -> str:
    sign = f"M{x - 5:.1f} {TOP - 12} h10 l-5 9 z"
    return _rule("mend", x, words) + f'<path class="mended" d="{sign}"><title>{text(words)}</title></path>'


def _line(line: Line, place: Callable) -> str:
    kind, parts = "line" if line.on else "line quiet", []
    title = f"<title>{text(line.title)}</title>" if line.title else ""
    for run in _runs(line.points):
        at = [place(x, y) for x, y in run]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        if len(at) > 1:
            parts.append(f'<polyline class="{kind}" points="{path}">{title}</polyline>')
        if line.dots or len(at) == 1:
            side = "on" if line.on else "off"
            parts += [f'<circle class="dot {side}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in at]
    return "".join(parts)


def _runs(points: Points) -> list[list[tuple[float, float]]]:
    """The points in pieces that hold nothing but finite values."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if math.isfinite(y):
            runs[-1].append((x, y))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]
