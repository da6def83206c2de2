"""Accuracy over latency, backbone by backbone: dots with intervals, the front as steps, labels that keep apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from torchgraft.evaluate._format import clip, percent, span, text
from torchgraft.evaluate._plots import ticks

WIDTH, HEIGHT = 460, 320
LEFT, RIGHT, TOP, BOTTOM = 44, 14, 16, 40

Row = Mapping[str, Any]
Place = Callable[[float, float], tuple[float, float]]

_WINDOW = 0.4
"""How far under the best the accuracy axis goes: one far-off backbone must not squeeze the rest."""

_LETTER, _LINE = 6.6, 13.0
"""About how wide a letter and how high a line of labels is."""

_LONG = 26
"""Letters of a label at most."""


class _Box(NamedTuple):
    x0: float
    y0: float
    x1: float
    y1: float

    def over(self, other: _Box) -> float:
        """The area that both cover."""
        wide = min(self.x1, other.x1) - max(self.x0, other.x0)
        high = min(self.y1, other.y1) - max(self.y0, other.y0)
        return max(wide, 0.0) * max(high, 0.0)


def front(rows: Sequence[Row]) -> str:
    """The picture of the rows of a ranking whose `latency_ms` is known; empty where that is none.

    Expected accuracy in % with its 95 % interval over milliseconds for one sample (log scale). Filled dots are on the
    front (`front`), the ringed one is the knee (`knee`), hollow ones were let go early. A label for which there is no
    room is left out; its dot still tells its name to the pointer, and the table has it.
    """
    rows = [row for row in rows if row["latency_ms"]]
    if not rows:
        return ""
    low, high = limits([row["expected"] for row in rows])
    fast, slow = _reach([row["latency_ms"] for row in rows])

    def place(latency: float, accuracy: float) -> tuple[float, float]:
        across = (math.log(latency) - math.log(fast)) / (math.log(slow) - math.log(fast))
        up = (min(max(accuracy, low), high) - low) / (high - low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [*_up(low, high, place, fast), *_along(fast, slow, place, low), _steps(rows, place)]
    most = max(row["samples"] for row in rows)
    parts += [
        _dot(row, place, low, hollow=row["samples"] < most)
        for row in sorted(rows, key=lambda row: (row["front"], row["knee"]))
    ]
    parts += _labels(rows, place)
    label = "Accuracy against the time for one sample; the front, and the backbone to start from"
    return (
        f'<svg class="plot front" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
    )


def limits(estimates: Sequence[Mapping[str, float]]) -> tuple[float, float]:
    """The ends of an axis that holds all intervals, but for what is far under the best."""
    best = max(one["value"] for one in estimates)
    low = max(0.0, min(one["low"] for one in estimates) - 0.01, best - _WINDOW)
    return low, min(1.0, max(one["high"] for one in estimates) + 0.01)


def _reach(latencies: Sequence[float]) -> tuple[float, float]:
    """The ends of the axis of time: a factor of four at least, so that equals don't look far apart."""
    fast, slow = min(latencies), max(latencies)
    room = max(1.25, math.sqrt(max(4 * fast / slow, 1.0)))
    return fast / room, slow * room


def _round_times(fast: float, slow: float) -> list[float]:
    powers = range(math.floor(math.log10(fast)), math.ceil(math.log10(slow)) + 1)
    every = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    shown = [t for t in every if fast <= t <= slow]
    return shown if len(shown) <= 8 else [t for t in shown if math.isclose(math.log10(t) % 1, 0, abs_tol=1e-9)]


def _up(low: float, high: float, place: Place, fast: float) -> list[str]:
    parts, values = [], ticks(low, high)
    for value in values:
        y = place(fast, value)[1]
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        unit = " %" if value == values[-1] else ""
        parts.append(
            f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{100 * value:.4g}{unit}</text>'
        )
    return parts


def _along(fast: float, slow: float, place: Place, low: float) -> list[str]:
    y = HEIGHT - BOTTOM + 16
    parts = [
        f'<text class="tick" x="{place(t, low)[0]:.1f}" y="{y}" text-anchor="middle">{t:g}</text>'
        for t in _round_times(fast, slow)
    ]
    middle = (LEFT + WIDTH - RIGHT) / 2
    name = "ms for one sample, on this machine"
    return [*parts, f'<text class="tick name" x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{name}</text>']


def _steps(rows: Sequence[Row], place: Place) -> str:
    """What accuracy can be had within each time: level up to the next backbone of the front that is higher, then up."""
    ends = _ends(rows, place)
    if not ends:
        return ""
    path = f"M{ends[0][0]:.1f} {ends[0][1]:.1f}" + "".join(f"H{x:.1f}V{y:.1f}" for x, y in ends[1:])
    return f'<path class="line" d="{path}H{WIDTH - RIGHT}"/>'


def _ends(rows: Sequence[Row], place: Place) -> list[tuple[float, float]]:
    """Of the front, those that are higher than all faster ones: one let go early, on fewer samples, may stand above."""
    ends: list[tuple[float, float]] = []
    for x, y in sorted(place(row["latency_ms"], row["expected"]["value"]) for row in rows if row["front"]):
        ends += [(x, y)] if not ends or y < ends[-1][1] else []
    return ends


def _dot(row: Row, place: Place, low: float, *, hollow: bool) -> str:
    accuracy = row["expected"]
    x, y = place(row["latency_ms"], accuracy["value"])
    words = f"{row['backbone']}: {percent(accuracy['value'])} [{span(accuracy)}], {row['latency_ms']:.1f} ms"
    title = f"<title>{text(words)}</title>"
    if accuracy["value"] < low:  # too far down to be drawn
        return f'<path class="away" d="M{x - 6:.1f} {y - 6:.1f}l6 6l6 -6">{title}</path>'
    ends = (place(row["latency_ms"], accuracy[key])[1] for key in ("low", "high"))
    kind = ("on" if row["front"] else "off") + (" hollow" if hollow else "")
    ring = f'<circle class="kept" cx="{x:.1f}" cy="{y:.1f}" r="9"/>' if row["knee"] else ""
    bar = '<line class="bar thin {}" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>'.format(kind, x, x, *ends)
    return f'{bar}{ring}<circle class="dot {kind}" cx="{x:.1f}" cy="{y:.1f}" r="5">{title}</circle>'


def _labels(rows: Sequence[Row], place: Place) -> list[str]:
    """The names beside their dots: none over a dot or another name, over as little of a line as can be."""
    at = [place(row["latency_ms"], row["expected"]["value"]) for row in rows]
    taken = [_Box(x - 7, y - 7, x + 7, y + 7) for x, y in at]
    lines = [
        _Box(x - 1, place(row["latency_ms"], row["expected"]["high"])[1],
             x + 1, place(row["latency_ms"], row["expected"]["low"])[1])
        for row, (x, _) in zip(rows, at, strict=True)
    ]  # fmt: skip
    for (x, y), (x1, y1) in pairwise([*_ends(rows, place), (WIDTH - RIGHT, TOP)]):
        lines += [_Box(x, y - 1.5, x1, y + 1.5)] + ([_Box(x1 - 1.5, y1, x1 + 1.5, y)] if x1 < WIDTH - RIGHT else [])
    parts = []
    for i in sorted(range(len(rows)), key=lambda i: (not rows[i]["knee"], not rows[i]["front"], i)):
        name = rows[i]["backbone"].rpartition("/")[2]
        box = _free(*at[i], min(len(name), _LONG) * _LETTER, taken, lines)
        if box is None:
            continue
        taken.append(box)
        kind = "label strong" if rows[i]["knee"] else "label"
        parts.append(f'<text class="{kind}" x="{box.x0:.1f}" y="{box.y1 - 3:.1f}">{clip(name, _LONG)}</text>')
    return parts


def _free(x: float, y: float, wide: float, taken: Sequence[_Box], lines: Sequence[_Box]) -> _Box | None:
    """The place for a label of a dot that covers nothing, and as little of the lines as can be."""
    spots = [(x + 13, y - 6), (x - 13 - wide, y - 6)]
    spots += [(x + dx, y + dy) for dy in (-20, 8, -30, 18) for dx in (4, -4 - wide, -wide / 2)]
    boxes = [_Box(left, top, left + wide, top + _LINE) for left, top in spots]
    free = [
        box
        for box in boxes
        if box.x0 >= LEFT and box.x1 <= WIDTH and box.y0 >= TOP - 14 and box.y1 <= HEIGHT - BOTTOM
        if not any(box.over(other) for other in taken)
    ]
    return min(free, key=lambda box: sum(box.over(line) for line in lines), default=None)
