"""How values are written on the report page. Everything that comes from data passes through `text`."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from typing import Any

MINUS = "\u2212"
Numbers = Mapping[str, float]


def text(value: Any) -> str:
    """Escaped for HTML, in text and in attributes."""
    return html.escape(str(value), quote=True)


def section(name: str, title: str, body: str) -> str:
    """One part of the page; `name` is what links inside the page point to."""
    return f'<section id="{name}"><h2>{title}</h2>{body}</section>'


def clip(value: Any, limit: int) -> str:
    """Escaped text, cut after `limit` characters."""
    words = str(value)
    return text(words if len(words) <= limit else words[: limit - 1].rstrip() + "\u2026")


def swatch(colour: Any) -> str:
    """A small square in a colour given as three whole numbers in 0..255; nothing for anything else."""
    if not isinstance(colour, list | tuple) or len(colour) != 3 or not all(isinstance(part, int) for part in colour):
        return ""
    red, green, blue = (min(max(part, 0), 255) for part in colour)
    return f'<span class="swatch" style="background:rgb({red} {green} {blue})"></span>'


def percent(value: float, digits: int = 1) -> str:
    """`0.941` as `94.1 %` (with a space that doesn't break)."""
    return f"{100 * value:.{digits}f}\u00a0%"


def span(estimate: Numbers) -> str:
    """The interval of a share in per cent: `91.0 - 96.5` with an en dash."""
    return f"{100 * estimate['low']:.1f}\u2009\u2013\u2009{100 * estimate['high']:.1f}"


def share(estimate: Numbers) -> str:
    """A share with its interval, the interval set quieter."""
    return f'<b>{percent(estimate["value"])}</b> <span class="ci">{span(estimate)}</span>'


def points(estimate: Numbers) -> str:
    """A difference of shares in points: `+1.2 points [-0.3, +2.6]`."""
    value, low, high = (f"{100 * estimate[key]:+z.1f}".replace("-", MINUS) for key in ("value", "low", "high"))
    return f"{value} points [{low}, {high}]"


def plain(estimate: Numbers | float, digits: int = 3) -> str:
    """A number, with its interval where it has one."""
    if isinstance(estimate, Mapping):
        value, low, high = (f"{estimate[key]:.{digits}f}" for key in ("value", "low", "high"))
        return f'<b>{value}</b> <span class="ci">{low}\u2009\u2013\u2009{high}</span>'
    return f"<b>{estimate:.{digits}f}</b>"


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `2 min 05 s`, `1 h 03 min`."""
    if seconds < 10:
        return f"{seconds:.1f}\u00a0s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}\u00a0s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}\u00a0min\u00a0{rest:02d}\u00a0s"
    return f"{minutes // 60}\u00a0h\u00a0{minutes % 60:02d}\u00a0min"


def count(number: int, noun: str, many: str = "") -> str:
    """`1 photo`, `2 photos`, `1,234 classes`."""
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"


def size(memory: float) -> str:
    """`640 MB`, `1.2 GB`, of bytes."""
    return f"{memory / 1e9:.1f}\u00a0GB" if memory >= 0.9995e9 else f"{memory / 1e6:.0f}\u00a0MB"


def short(value: float) -> str:
    """A number in three digits: `0`, `0.0315`, `0.412`, `12.4`, `1,250`; small ones as `3e-4`."""
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    if value and abs(value) < 0.01:
        head, _, power = f"{value:.1e}".partition("e")
        return f"{head.removesuffix('.0')}e{int(power)}".replace("-", MINUS)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}".replace("-", MINUS)


def many(number: float) -> str:
    """How many parameters: `850`, `12 k`, `22.7 M`."""
    for unit, power in (("M", 1e6), ("k", 1e3)):
        if number >= power:
            shown = number / power
            return f"{shown:.1f}\u00a0{unit}" if shown < 100 else f"{shown:.0f}\u00a0{unit}"
    return f"{number:.0f}"


def chance(p: float) -> str:
    """`p = 0.012`, `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"
