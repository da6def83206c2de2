"""Inline SVG for the report. Colours are CSS classes of the page, so that light, dark and print all work."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torchgraft.evaluate._format import MINUS, clip, percent, text

WIDTH, HEIGHT = 360, 250  # drawn about as large as shown, so that letters stay readable on a phone
LEFT, RIGHT, TOP, BOTTOM = 44, 14, 12, 40


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """At most `most` + 1 round numbers in low..high."""
    raw = max(high - low, 1e-9) / most
    base = 10 ** math.floor(math.log10(raw))
    step = next(base * m for m in (1, 2, 5, 10) if base * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 10) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def track(estimate: Mapping[str, float], low: float, high: float, *, chosen: bool, hollow: bool) -> str:
    """One dot with its interval on a line from `low` to `high`, as wide as the place it stands in."""
    at = {
        key: 100 * (min(max(estimate[key], low), high) - low) / max(high - low, 1e-9)
        for key in ("value", "low", "high")
    }
    grid = "".join(
        f'<line class="grid" x1="{_x(t, low, high)}" x2="{_x(t, low, high)}" y1="0" y2="30"/>' for t in ticks(low, high)
    )
    kind = ("on" if chosen else "off") + (" hollow" if hollow else "")
    label = f"{percent(estimate['value'])}, interval {percent(estimate['low'])} to {percent(estimate['high'])}"
    if estimate["value"] < low:  # too far left to be drawn
        mark = '<path class="away" d="M9 9 L3 15 L9 21"/>'
        return f'<svg class="track" width="100%" height="30" role="img" aria-label="{label}">{grid}{mark}</svg>'
    return (
        f'<svg class="track" width="100%" height="30" role="img" aria-label="{label}">{grid}'
        f'<line class="bar {kind}" x1="{at["low"]:.2f}%" x2="{at["high"]:.2f}%" y1="15" y2="15"/>'
        f'<circle class="dot {kind}" cx="{at["value"]:.2f}%" cy="15" r="{6 if chosen else 5}"/></svg>'
    )


def track_axis(low: float, high: float) -> str:
    """The numbers under a column of `track`s."""
    marks = ""
    for value, last in _with_last(ticks(low, high)):
        label = f"{100 * value:.0f}{' %' if last else ''}"
        marks += f'<text class="tick" x="{_x(value, low, high)}" y="13" text-anchor="middle">{label}</text>'
    return f'<svg class="track axis" width="100%" height="18" aria-hidden="true">{marks}</svg>'


def bar(estimate: Mapping[str, float]) -> str:
    """A share as a bar on 0..1, with its interval as a line in it, as wide as the place it stands in."""
    at = {key: f"{100 * min(max(estimate[key], 0), 1):.2f}%" for key in ("value", "low", "high")}
    label = f"{percent(estimate['value'])}, interval {percent(estimate['low'])} to {percent(estimate['high'])}"
    return (
        f'<svg class="track" width="100%" height="20" role="img" aria-label="{label}">'
        f'<rect class="frame" width="100%" height="14" y="3" rx="2"/>'
        f'<rect class="fill" width="{at["value"]}" height="14" y="3" rx="2"/>'
        f'<line class="reach" x1="{at["low"]}" x2="{at["high"]}" y1="10" y2="10"/></svg>'
    )


def zero_track(difference: Mapping[str, float], edge: float) -> str:
    """A difference of shares with its interval, on a line from -`edge` to `edge` with zero in the middle."""
    at = {key: _x(min(max(difference[key], -edge), edge), -edge, edge) for key in ("value", "low", "high")}
    sure = "on" if difference["low"] > 0 else "bad" if difference["high"] < 0 else "off"
    label = f"difference {percent(difference['value'])}, {percent(difference['low'])} to {percent(difference['high'])}"
    svg = f'<svg class="track" width="100%" height="30" role="img" aria-label="{label}">'
    svg += '<line class="zero" x1="50%" x2="50%" y1="0" y2="30"/>'
    if abs(difference["value"]) > edge:  # too far to be drawn
        x, path = ("100%", "M-9 9 L-3 15 L-9 21") if difference["value"] > 0 else ("0", "M9 9 L3 15 L9 21")
        return f'{svg}<svg x="{x}" y="0" overflow="visible"><path class="away {sure}" d="{path}"/></svg></svg>'
    return (
        f'{svg}<line class="bar {sure}" x1="{at["low"]}" x2="{at["high"]}" y1="15" y2="15"/>'
        f'<circle class="dot {sure}" cx="{at["value"]}" cy="15" r="5"/></svg>'
    )


def zero_axis(edge: float) -> str:
    """The numbers under a column of `zero_track`s, in points."""
    marks = ""
    for value in ticks(-edge, edge, 4):
        label = f"{100 * value:+g}".replace("-", MINUS) if value else "0"
        marks += f'<text class="tick" x="{_x(value, -edge, edge)}" y="13" text-anchor="middle">{label}</text>'
    return f'<svg class="track axis" width="100%" height="18" aria-hidden="true">{marks}</svg>'


def learning_curve(curve: Mapping[str, Any]) -> str:
    """Accuracy against the number of labels (log scale); the fitted law as a line with its band, dashed ahead."""
    shown, ahead = curve["points"], curve.get("forecast")
    every = [*shown, ahead] if ahead else list(shown)
    y_low, y_high = _range([p["accuracy"] for p in every])
    x_low, x_high = math.log(every[0]["n"] * 0.88), math.log(every[-1]["n"] * 1.14)

    def place(n: float, accuracy: float) -> tuple[float, float]:
        part = (min(max(accuracy, y_low), y_high) - y_low) / (y_high - y_low)
        return _right((math.log(n) - x_low) / max(x_high - x_low, 1e-9)), _up(part)

    parts = [
        _y_axis(y_low, y_high, "accuracy"),
        _x_labels([(place(p["n"], 0)[0], f"{p['n']:,}") for p in every], "labels"),
    ]
    law = (ahead or {}).get("fitted") or [{"n": p["n"], **p["accuracy"]} for p in every]
    last = shown[-1]["n"] * 1.001
    if ahead:
        edge = [place(p["n"], p["high"]) for p in law] + [place(p["n"], p["low"]) for p in reversed(law)]
        parts.append(f'<polygon class="band" points="{_path(edge)}"/>')
        dashed = _path([place(p["n"], p["value"]) for p in law if p["n"] >= shown[-1]["n"] * 0.999])
        parts.append(f'<polyline class="line dashed" points="{dashed}"/>')
    parts.append(
        f'<polyline class="line" points="{_path([place(p["n"], p["value"]) for p in law if p["n"] <= last])}"/>'
    )
    parts += [_whisker(p["n"], p["accuracy"], place, "on") for p in shown]
    if ahead:
        parts.append(_whisker(ahead["n"], ahead["accuracy"], place, "on hollow"))
    return _figure(parts, "Learning curve: accuracy against the number of labels")


def reliability(bins: Sequence[Mapping[str, float]]) -> str:
    """Share right against confidence; a dot for each bin, larger with more samples; on the diagonal is perfect."""
    most = max((b["n"] for b in bins), default=1)
    parts = [
        _y_axis(0, 1, "share right"),
        _x_labels([(_right(t), f"{100 * t:.0f}") for t in ticks(0, 1)], "confidence, %"),
    ]
    parts.append(f'<line class="ideal" x1="{_right(0)}" y1="{_up(0)}" x2="{_right(1)}" y2="{_up(1)}"/>')
    for b in bins:
        x, y, radius = _right(b["confidence"]), _up(b["accuracy"]), 3 + 8 * math.sqrt(b["n"] / most)
        parts.append(f'<line class="gap" x1="{x:.1f}" x2="{x:.1f}" y1="{y:.1f}" y2="{_up(b["confidence"]):.1f}"/>')
        label = f"{int(b['n'])} samples: confidence {percent(b['confidence'])}, right {percent(b['accuracy'])}"
        parts.append(
            f'<circle class="dot on soft" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"><title>{label}</title></circle>'
        )
    return _figure(parts, "Reliability: share right against confidence")


def coverage(abstain: Mapping[str, Any]) -> str:
    """Accuracy of the answered samples against the share answered, with the chosen threshold marked."""
    curve = abstain["curve"]
    least = min([abstain["accuracy"], *(p["accuracy"] for p in curve if p["coverage"] > 0.05)], default=0.0)
    y_low = max(0.0, math.floor(20 * least - 0.5) / 20)

    def up(accuracy: float) -> float:
        return _up(max(accuracy - y_low, 0) / max(1 - y_low, 1e-9))

    line = " ".join(f"{_right(p['coverage']):.1f},{up(p['accuracy']):.1f}" for p in curve)
    x, y = _right(abstain["coverage"]), up(abstain["accuracy"])
    parts = [
        _y_axis(y_low, 1, "accuracy"),
        _x_labels([(_right(t), f"{100 * t:.0f}") for t in ticks(0, 1)], "answered, %"),
    ]
    if "wanted" in abstain:
        wanted = up(abstain["wanted"])
        parts.append(f'<line class="ideal" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{wanted:.1f}" y2="{wanted:.1f}"/>')
    parts.append(f'<polyline class="line" points="{line}"/>')
    parts.append(f'<line class="gap" x1="{x:.1f}" x2="{x:.1f}" y1="{y:.1f}" y2="{_up(0)}"/>')
    parts.append(f'<circle class="dot on" cx="{x:.1f}" cy="{y:.1f}" r="6"/>')
    return _figure(parts, "Accuracy of the answered samples against the share answered")


def confusion(matrix: Sequence[Sequence[int]], classes: Sequence[str], *, shares: bool = False) -> str:
    """Heat map: row the truth, column the answer, darker with the share of the row; counts up to 15 classes.

    `shares`: each number is the share of its row in per cent, in place of a count.
    """
    size = len(classes)
    named = size <= 40
    cell = max(6, min(58, 560 // max(size, 1)))
    margin = 8 + min(130, 6.6 * max(len(str(c)) for c in classes)) if named else 8
    top = margin * 0.75 + 10 if named else 8
    width, height = margin + cell * size + (48 if named else 8), top + cell * size + 8
    parts = [_cells(row, r, (margin, top, cell), classes, size <= 15, shares) for r, row in enumerate(matrix)]
    if named:
        letter = min(12, cell - 1)
        for k, name in enumerate(classes):
            middle = cell * (k + 0.5)
            tick = f'<text class="tick" style="font-size:{letter}px"'
            label, y = clip(name, 20), top + middle + 4
            parts.append(f'{tick} x="{margin - 6}" y="{y:.1f}" text-anchor="end">{label}</text>')
            parts.append(
                f'{tick} transform="translate({margin + middle + 3:.1f} {top - 6}) rotate(-45)">{label}</text>'
            )
    label = "Confusion matrix: row the truth, column the answer"
    return (
        f'<div class="scroll"><svg class="matrix" style="width:{width:.0f}px" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'role="img" aria-label="{label}">{"".join(parts)}</svg></div>'
    )


def _cells(
    row: Sequence[int], r: int, at: tuple[float, float, int], classes: Sequence[str], numbers: bool, shares: bool
) -> str:
    """Row `r` of the matrix; `at` is the left and top edge of the matrix and the side of a cell."""
    (left, top, cell), total, parts = at, max(sum(row), 1), []
    for c, n in enumerate(row):
        if not n and not numbers:
            continue
        x, y, part = left + c * cell, top + r * cell, n / total
        strength = 0.18 + 0.82 * part if n and (part >= 0.005 or not shares) else 0
        box = f'x="{x:.1f}" y="{y:.1f}" width="{cell - 1}" height="{cell - 1}" rx="2" fill-opacity="{strength:.2f}"'
        label = f"{text(classes[r])} called {text(classes[c])}: {percent(part) if shares else n}"
        parts.append(f'<rect class="{"hit" if r == c else "miss"}" {box}><title>{label}</title></rect>')
        if numbers and strength:
            tone = "light" if part > 0.55 else "ink"
            middle = f'x="{x + cell / 2 - 0.5:.1f}" y="{y + cell / 2 + 4:.1f}"'
            shown = f"{100 * part:.0f}" if shares else n
            parts.append(f'<text class="number {tone}" {middle} text-anchor="middle">{shown}</text>')
    box = f'x="{left}" y="{top + r * cell:.1f}" width="{cell * len(row) - 1}" height="{cell - 1}"'
    return f'<rect class="frame" {box} rx="2"/>' + "".join(parts)


def _range(estimates: Sequence[Mapping[str, float]]) -> tuple[float, float]:
    low, high = min(e["low"] for e in estimates), max(e["high"] for e in estimates)
    step = 0.05 if high - low > 0.1 else 0.02
    low, high = max(0.0, math.floor(low / step) * step), min(1.0, math.ceil(high / step) * step)
    return low, max(high, low + step)


def _path(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _whisker(n: float, estimate: Mapping[str, float], place: Any, kind: str) -> str:
    (x, y), (_, low), (_, high) = (place(n, estimate[key]) for key in ("value", "low", "high"))
    label = f"{n:,} labels: {percent(estimate['value'])} [{percent(estimate['low'])}, {percent(estimate['high'])}]"
    return (
        f'<line class="bar thin {kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'
        f'<circle class="dot {kind}" cx="{x:.1f}" cy="{y:.1f}" r="4.5"><title>{label}</title></circle>'
    )


def _right(part: float) -> float:
    return LEFT + part * (WIDTH - LEFT - RIGHT)


def _up(part: float) -> float:
    return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)


def _y_axis(low: float, high: float, name: str) -> str:
    parts = []
    for value, last in _with_last(ticks(low, high)):
        y = _up((value - low) / (high - low))
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        unit = " %" if last else ""
        parts.append(
            f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{100 * value:.0f}{unit}</text>'
        )
    middle = (TOP + HEIGHT - BOTTOM) / 2
    return (
        "".join(parts)
        + f'<text class="tick name" transform="translate(11 {middle}) rotate(-90)" text-anchor="middle">{name}</text>'
    )


def _x_labels(places: Sequence[tuple[float, str]], name: str) -> str:
    y = HEIGHT - BOTTOM + 16
    labels = "".join(
        f'<text class="tick" x="{x:.1f}" y="{y}" text-anchor="middle">{label}</text>' for x, label in places
    )
    middle = (LEFT + WIDTH - RIGHT) / 2
    return labels + f'<text class="tick name" x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{name}</text>'


def _figure(parts: Sequence[str], label: str) -> str:
    return f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _x(value: float, low: float, high: float) -> str:
    return f"{100 * (value - low) / max(high - low, 1e-9):.2f}%"


def _with_last(values: Sequence[float]) -> list[tuple[float, bool]]:
    return [(value, k == len(values) - 1) for k, value in enumerate(values)]
