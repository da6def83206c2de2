"""Schedules: a factor in [0, 1] on the learning rate, as a function of how much of a phase is done.

p in [0, 1] is the share of the planned steps; values outside are taken as the nearer end. Nothing here has a unit: a
rate of 1e-3 with a factor of 0.5 is 5e-4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import cos, pi

from torchgraft.core.errors import OptionError, UnknownName

Schedule = Callable[[float], float]


def constant() -> Schedule:
    """f(p) = 1."""
    return lambda p: 1.0


def cosine(warmup: float = 0.1, end: float = 0.0) -> Schedule:
    """Up in a line over the first `warmup`, then half a cosine down to `end` (Loshchilov and Hutter 2017).

    f(p) = p / warmup below `warmup`, then end + (1 - end) (1 + cos(pi q)) / 2 with q = (p - warmup) / (1 - warmup).
    Both are in [0, 1], `warmup` below 1.
    """
    _check({"warmup": (warmup, 0 <= warmup < 1, "a share of the steps from 0, below 1"), "end": _factor(end)})
    return _warm(warmup, lambda q: end + (1 - end) * (1 + cos(pi * q)) / 2)


def linear(warmup: float = 0.1) -> Schedule:
    """f(p) = p / warmup below `warmup` (0 up to below 1), then a line down to 0: 1 - (p - warmup) / (1 - warmup)."""
    _check({"warmup": (warmup, 0 <= warmup < 1, "a share of the steps from 0, below 1")})
    return _warm(warmup, lambda q: 1 - q)


def slanted_triangle(cut: float = 0.1, ratio: float = 32) -> Schedule:
    """ULMFiT's triangle (Howard and Ruder 2018): f(p) = (1 + q (ratio - 1)) / ratio.

    q = p / cut below `cut` (above 0, below 1), then 1 - (p - cut) / (cut (1/cut - 1)). It begins and ends at 1/`ratio`
    (`ratio` at least 1) and is 1 at `cut`.
    """
    _check(
        {
            "cut": (cut, 0 < cut < 1, "a share of the steps above 0 and below 1"),
            "ratio": (ratio, ratio >= 1, "a ratio of 1 or more"),
        }
    )
    return _clipped(lambda p: (1 + (p / cut if p < cut else 1 - (p - cut) / (1 - cut)) * (ratio - 1)) / ratio)


def inverse(gamma: float = 10.0, power: float = 0.75) -> Schedule:
    """f(p) = (1 + gamma p)^-power, DANN's (Ganin et al. 2016). Both are 0 or more."""
    _check({"gamma": (gamma, gamma >= 0, "0 or more"), "power": (power, power >= 0, "0 or more")})
    return _clipped(lambda p: (1 + gamma * p) ** -power)


def step(at: float | Sequence[float] = 0.6, factor: float = 0.1) -> Schedule:
    """f(p) = factor^(how many of `at` are reached): one drop or several. All are in [0, 1]."""
    marks = (at,) if isinstance(at, int | float) else tuple(at)
    _check(
        {
            "at": (at, all(0 <= mark <= 1 for mark in marks), "shares of the steps from 0 to 1"),
            "factor": _factor(factor),
        }
    )
    return _clipped(lambda p: factor ** sum(p >= mark for mark in marks))


_BY_NAME: dict[str, Callable[[], Schedule]] = {
    made.__name__: made for made in (constant, cosine, inverse, linear, slanted_triangle, step)
}


def names() -> tuple[str, ...]:
    """Sorted names of the schedules."""
    return tuple(sorted(_BY_NAME))


def named(name: str) -> Schedule:
    """The schedule of that name with its usual settings. Raises `UnknownName` with a near miss."""
    if name not in _BY_NAME:
        raise UnknownName("schedule", name, _BY_NAME)
    return _BY_NAME[name]()


def _clipped(f: Schedule) -> Schedule:
    return lambda p: f(min(max(p, 0.0), 1.0))


def _warm(warmup: float, after: Schedule) -> Schedule:
    return _clipped(lambda p: p / warmup if p < warmup else after((p - warmup) / (1 - warmup)))


def _factor(value: float) -> tuple[object, bool, str]:
    return value, 0 <= value <= 1, "a factor from 0 to 1"


def _check(options: dict[str, tuple[object, bool, str]]) -> None:
    """Raise one error for all options (name -> value, whether it is right, what was expected)."""
    wrong = [f"{name} expects {wanted}, got {value!r}" for name, (value, right, wanted) in options.items() if not right]
    if wrong:
        raise OptionError("; ".join(wrong) + ".")
