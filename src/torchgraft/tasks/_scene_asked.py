"""What `--method` and `--settings` ask for between two domains of scenes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torchgraft.adapt.advent import Options
from torchgraft.core.errors import OptionError, UnknownName, did_you_mean
from torchgraft.core.options import build
from torchgraft.tasks._scene_advent import DEFAULTS
from torchgraft.tasks.segmentation import WAYS

ADABN, ADVENT, SELF_TRAINING = "adabn", "advent", "self_training"
TRAINED = (ADABN, ADVENT)
"""Ways with a network of their own: tried where they are asked for by name."""

SETTINGS = (*DEFAULTS, "epochs", "trade_off", "entropy")
"""Of AdvEnt's options those that have a meaning for scenes."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The `ways` that stand for choice beside source-only, and AdvEnt's options."""

    ways: tuple[str, ...]
    advent: Options

    @property
    def bases(self) -> tuple[str, ...]:
        """Of which ways the best is what self-training and AdvEnt begin with: those that stand for choice, else all."""
        plain = tuple(name for name in WAYS if name not in (*TRAINED, SELF_TRAINING))
        return tuple(name for name in self.ways if name in plain) or plain


def asked(options: Any) -> Asked:
    """Every way but those with a network of their own, or the ways of a comma list.

    Raises `UnknownName` for another way; `OptionError` for settings without AdvEnt, that it has not, or out of range.
    """
    auto = options.method == "auto"
    names = tuple(dict.fromkeys(name for one in options.method.split(",") if (name := one.strip())))
    if not names:
        raise OptionError(f"--method expects auto or names like looks,advent, got {options.method!r}.")
    for name in () if auto else names:
        if name not in WAYS:
            raise UnknownName("--method", name, WAYS, see="These are for scenes with --source.")
    given = {name: value for name, value in options.for_methods().items() if name != "class_weight"}
    if given and ADVENT not in names:
        raise OptionError(
            f"--settings {next(iter(given))}: of ways for scenes, advent alone has settings (--method advent)."
        )
    strange = [name for name in given if name not in SETTINGS]
    if strange:
        near = did_you_mean(strange[0], SETTINGS)
        raise OptionError(
            f"--settings: advent has no setting '{strange[0]}' for scenes.{near} Known: {', '.join(SETTINGS)}."
        )
    own = build(Options, DEFAULTS | given, where=ADVENT)
    return Asked(ways=tuple(name for name in WAYS if name not in TRAINED) if auto else names, advent=own)
