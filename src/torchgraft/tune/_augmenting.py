"""Which augmentation and which other regularisers are on, by what was asked and by the size of the data; and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from torchgraft.core.errors import OptionError, did_you_mean
from torchgraft.train.augment import FEW, SOME, AugmentOptions
from torchgraft.tune._options import TrainOptions

Told = TypeVar("Told", bound=TrainOptions)

Off = dict[str, list[str]]
"""Why something is off -> the settings that are."""

AUGMENT = ("auto", "none")

PICTURES = ("rotation", "noise", "flip", "vertical_flip", "colour", "erasing", "randaugment")
"""Settings of methods that are fields of `AugmentOptions`."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """`samples`, labelled ones of one `modality` (image or text) and of `classes` classes, that are seen `epochs` times
    at most.
    """

    modality: str
    samples: int
    classes: int
    epochs: int

    @property
    def unit(self) -> str:
        """What a sample is called."""
        return {"image": "pictures"}.get(self.modality, f"{self.modality}s")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A setting's value, and the least `samples`, `epochs` and `classes` from which it is on by itself."""

    value: float
    samples: int
    epochs: int = 1
    classes: int = 2

    def lacks(self, size: Size) -> str:
        """What there is too little of, in words: empty where the setting is on."""
        if size.samples < self.samples:
            return f"{size.samples} {size.unit}, on from {self.samples}"
        if size.epochs < self.epochs:
            return f"at most {size.epochs} epoch{'s' if size.epochs > 1 else ''}, on from {self.epochs}"
        return f"{size.classes} classes, on from {self.classes}" if size.classes < self.classes else ""


RULES: Mapping[str, Mapping[str, Rule]] = {
    "image": {
        "mixup": Rule(value=0.2, samples=5000, epochs=10),
        "cutmix": Rule(value=1.0, samples=5000, epochs=10),
        "smoothing": Rule(value=0.1, samples=5000, classes=10),
    },
    "text": {
        "token_dropout": Rule(value=0.1, samples=20_000, epochs=3),
        "smoothing": Rule(value=0.1, samples=20_000, classes=10),
    },
}
"""What is switched by the size of the data, by modality. Below these sizes the exact start and the few epochs
regularise already, and what we measured was measured without.

- mixup: alpha 0.2 (Zhang et al. 2018: 0.1 to 0.4 on ImageNet); cutmix: alpha 1 (Yun et al. 2019). Both make learning
  slower and pay where a picture is seen often: they were trained with for 90 epochs and more, and in Steiner et al.
  2022 ("How to train your ViT?") such regularisation hurt short training. So ten epochs are the least.
- smoothing: 0.1 (Szegedy et al. 2016; Mueller et al. 2019), from ten classes on, as there.
- token_dropout: 0.1 (token cutoff, Shen et al. 2020), where texts are seen more than twice.
"""

SWITCHED = tuple(dict.fromkeys(name for rules in RULES.values() for name in rules))
"""All settings that have a rule."""


def settle(options: Told, size: Size) -> tuple[Told, list[str], Off]:
    """The options with a value for all that is `SWITCHED`; what of it is on, in words; what is off.

    What was given stays as it is, but for what is made for another modality: that is 0. Raises `OptionError` for an
    `augment` that is not known.
    """
    if options.augment not in AUGMENT:
        near = did_you_mean(options.augment, AUGMENT)
        raise OptionError(f"augment expects {' or '.join(AUGMENT)}, got {options.augment!r}.{near}")
    rules, values, on, off = RULES[size.modality], dict.fromkeys(SWITCHED, 0.0), [], {}
    for name, rule in rules.items():
        given = getattr(options, name)
        why = "as asked" if given is not None or _left_out(name, options) else rule.lacks(size)
        values[name] = given if given is not None else 0.0 if why else rule.value
        if values[name]:
            on.append(f"{name} {values[name]:g} ({why or f'{size.samples} {size.unit}'})")
        else:
            off.setdefault(why, []).append(name)
    others = SWITCHED if size.modality == "image" else (*PICTURES, *SWITCHED)
    foreign = [name for name in others if name not in rules and getattr(options, name)]
    return replace(options, **values), on, off | ({f"not made for {size.unit}": foreign} if foreign else {})


def adjust(suggested: AugmentOptions, options: TrainOptions, a_class: float) -> tuple[AugmentOptions, list[str], Off]:
    """What suits the pictures, about `a_class` of a class, with what was given in its place; this in words; what is
    off, but for mirroring that is left to the data: `suggest` speaks of that.
    """
    given = {name: value for name in PICTURES if (value := getattr(options, name)) is not None}
    adjusted, off = replace(suggested, **given), {}
    for name in PICTURES:
        asked = name in given or _left_out(name, options)
        if not getattr(adjusted, name) and (asked or name != "flip"):
            off.setdefault("as asked" if asked else _why_off(name, adjusted, a_class), []).append(name)
    return adjusted, [f"{name} {value:g} (as asked)" for name, value in given.items() if value], off


def words(on: Sequence[str], off: Off) -> str:
    """`On: rotation 15 (as asked). Off: noise (only when asked); mixup, smoothing (640 pictures, on from 5000).`"""
    because = "; ".join(f"{', '.join(names)} ({why})" for why, names in off.items())
    return " ".join([f"On: {', '.join(on)}."] * bool(on) + [f"Off: {because}."] * bool(off))


def _left_out(name: str, options: TrainOptions) -> bool:
    """Whether it is off since no augmentation was asked for; labels are another matter."""
    return options.augment == "none" and name != "smoothing"


def _why_off(name: str, adjusted: AugmentOptions, a_class: float) -> str:
    least = {"colour": FEW, "erasing": SOME, "randaugment": SOME}.get(name, 0)
    if a_class < least:
        return f"{a_class:.0f} a class, on from {least}"
    return "randaugment has it" if name in ("colour", "rotation") and adjusted.randaugment else "only when asked"
