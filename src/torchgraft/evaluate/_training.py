"""How backbones were trained: curves, what was frozen when, rates, and what had to be repaired."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any

from torchgraft.evaluate._curves import SHARE, Line, Points, Scale, chart, layer_names, strip
from torchgraft.evaluate._format import clip, duration, many, percent, section, short, size, text
from torchgraft.evaluate._measures import Main, main_metric

History = Mapping[str, Any]

_REPAIRS = 8
"""Repairs that are listed at once; the rest folds away."""

_WENT = {
    "explosion": "Went back to the last good state",
    "vanishing": "The rate was raised",
    "plateau": "The rate was lowered",
}


def training(report: Mapping[str, Any]) -> str:
    """A card for each rung that trained a backbone."""
    rungs = [rung for rung in report.get("ladder") or () if any(_told(one) for one in rung.get("training") or ())]
    if not rungs:
        return ""
    lead = (
        '<p class="lead">Each fold is a training of its own, on samples that leave the held-out ones out; how many '
        "epochs are best is read from all folds together. The last training is on all samples.</p>"
    )
    main = main_metric(report)
    return section("training", "How it trained", lead + "".join(_rung(rung, main) for rung in rungs))


def under_way(report: Mapping[str, Any]) -> str:
    """The training that runs now."""
    running = report.get("running") or {}
    history = running.get("history") or {}
    if not _told(history):
        return ""
    what = running.get("what") or _title(history, 0)
    return section("now", f"Under way: {text(what)}", _trained([history], None, main_metric(report)))


def _rung(rung: Mapping[str, Any], main: Main) -> str:
    histories = [one for one in rung["training"] if _told(one)]
    kept = (rung.get("options") or {}).get("epochs")
    where = f" on {text(str(rung['backbone']).removeprefix('tuned/'))}" if rung.get("backbone") else ""
    facts = [text(rung.get("note") or ""), duration(_total(histories, "seconds"))]
    facts += [f"{duration(_total(histories, 'cpu_seconds'))} of CPU"]
    facts += [size(rung["memory"]) if rung.get("memory") else ""]
    line = " \u00b7 ".join(filter(None, facts))
    head = f'<h3>{text(rung.get("method", ""))}{where}</h3><p class="note">{line}</p>'
    return f'<div class="trained">{head}{_trained(histories, kept if isinstance(kept, int) else None, main)}</div>'


def _trained(histories: Sequence[History], kept: int | None, main: Main) -> str:
    folds = [one for one in histories if _measured(one)]
    last = [one for one in histories if not _measured(one)][-1:]
    plots = [_loss(histories, last), *_held_out(folds, kept, main), _rate(histories, last)]
    figures = "".join(
        f"<figure><h4>{text(name)}</h4>{svg}<figcaption>{note}</figcaption></figure>"
        for name, svg, note in plots
        if svg
    )
    key = _key(histories, bool(last), len(folds), kept) if len(histories) > 1 else ""
    return f'<div class="curves">{figures}</div>{key}{_phases(histories[-1])}{_repairs(histories)}{_ended(histories)}'


def _key(histories: Sequence[History], final: bool, folds: int, kept: int | None) -> str:
    """Which line is what, and why the last training may be shorter."""
    words = "Grey: each fold. Blue: the training on all samples" if final else "Grey: each fold. Blue"
    words += (", or the mean of the folds." if final else ": their mean.") if folds > 1 else "."
    if final and kept and kept < _epochs(histories[-1]):
        words += f" The training on all samples ends after epoch {kept}, the best one of the folds."
    return f'<p class="note">{words}</p>'


def _loss(histories: Sequence[History], last: Sequence[History]) -> tuple[str, str, str]:
    main = _main(histories, last)
    lines = _lines(histories, 1, main)
    marks = [
        (_number(r.get("step")), f"{_title(one, i)}: {r.get('reason', '')}")
        for i, one in enumerate(histories)
        for r in one.get("repairs") or ()
        if isinstance(r.get("step"), int)
    ]
    svg = chart(lines, x_name="step", label="Training loss by step", marks=marks, splits=_splits(main))
    shown = [y for line in lines if line.on for _, y in line.points if math.isfinite(y)]
    note = f"from {_loss_words(shown[0])} to {_loss_words(shown[-1])}, smoothed" if shown else "smoothed"
    return "Training loss", svg, note + ("; a triangle marks a repair" if marks else "")


def _rate(histories: Sequence[History], last: Sequence[History]) -> tuple[str, str, str]:
    main = _main(histories, last)
    lines = _lines(histories, 2, main)
    highest = max((y for line in lines for _, y in line.points if math.isfinite(y)), default=0.0)
    svg = chart(lines, x_name="step", label="Learning rate by step", scale=Scale(zero=True), splits=_splits(main))
    return "Learning rate", svg, f"highest {short(highest)}"


def _main(histories: Sequence[History], last: Sequence[History]) -> History | None:
    """The training whose curve counts: the one on all samples, or the only one."""
    return (last or histories)[0] if last or len(histories) == 1 else None


def _lines(histories: Sequence[History], column: int, main: History | None) -> list[Line]:
    """Column 1 (loss) or 2 (rate) of every training's curve by step."""
    return [
        Line(
            points=[(_number(p[0], 0.0), _number(p[column])) for p in one.get("curve") or ()],
            on=one is main,
            title=_title(one, i),
        )
        for i, one in enumerate(histories)
    ]


def _held_out(folds: Sequence[History], kept: int | None, main: Main) -> list[tuple[str, str, str]]:
    """Held-out loss, main metric and accuracy after every epoch, as far as they were measured."""
    if not folds:
        return []
    good = [_sound_legs(one) for one in folds]
    name = "epoch" if all(len(g) - 1 <= _epochs(one) for g, one in zip(good, folds, strict=True)) else "measurement"
    word = "which is kept"
    if kept is None and len(folds) == 1:
        kept, word = _best(folds[0], good[0]), "the best"
    plots = []
    shares = {main.metric: f"Held-out {main.title}", "accuracy": "Held-out accuracy"}
    for key, title, scale in (("loss", "Held-out loss", Scale()), *((k, title, SHARE) for k, title in shares.items())):
        each = [[_number(leg.get(key)) for leg in legs] for legs in good]
        if not any(math.isfinite(y) for values in each for y in values):
            continue
        mean = _mean(each)
        lines = [Line(points=list(enumerate(values)), title=_title(folds[i], i)) for i, values in enumerate(each)]
        lines = [*(lines if len(folds) > 1 else ()), Line(points=mean, on=True, dots=True, title="mean of the folds")]
        ring = mean[kept] if kept is not None and kept < len(mean) and math.isfinite(mean[kept][1]) else None
        svg = chart(lines, x_name=name, label=f"{title} by {name}", scale=scale, ring=ring)
        note = _went(mean, ring, name, word, _loss_words if key == "loss" else percent)
        note += (
            f"; a quick check on a part of them, not the {text(main.title)}" if key not in ("loss", main.metric) else ""
        )
        plots.append((title, svg, note))
    return plots


def _went(mean: Points, ring: tuple[float, float] | None, name: str, word: str, write: Any) -> str:
    """`1.14 before, 0.93 after epoch 4, which is kept`."""
    before = f"{write(mean[0][1])} before" if math.isfinite(mean[0][1]) else ""
    if ring and ring[0]:
        return ", ".join(filter(None, (before, f"{write(ring[1])} after {name} {ring[0]:.0f}, {word} (ring)")))
    if ring:
        return f"{before}; nothing after it was better"
    latest = next(((x, y) for x, y in reversed(mean) if x and math.isfinite(y)), None)
    return ", ".join(filter(None, (before, f"{write(latest[1])} after {name} {latest[0]:.0f}" if latest else "")))


def _phases(history: History) -> str:
    """What trained when: the strip, a table, and the rates layer by layer."""
    phases = list(history.get("phases") or ())
    if not phases:
        return ""
    rates = [_rates(phase) for phase in phases]
    drawn = strip(
        [
            {"rates": own, "width": _number(phase.get("steps"), 1.0), "frozen": _frozen(phase)}
            for own, phase in zip(rates, phases, strict=True)
        ]
    )
    rows = "".join(
        f'<tr><th scope="row">{number} {clip(_phase_name(phase), 60)}</th><td>{_share(phase)}</td>'
        f"<td>{short(_number(phase.get('rate'), 0.0))}</td><td>{text(phase.get('norm') or 'none')}</td>"
        f"<td>{text(phase.get('epochs', '?'))}</td></tr>"
        for number, phase in enumerate(phases, 1)
    )
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("phase", "trains", "rate", "BatchNorm", "epochs"))
    table = (
        f'<div class="scroll"><table class="phases"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    )
    note = "Blue layers train, stronger with a higher rate; grey ones are frozen. The input is at the bottom."
    figure = f"<figure>{drawn}<figcaption>{note}</figcaption></figure>" if drawn else ""
    return f'<h4>What trained when</h4><div class="when">{figure}<div>{table}{_by_layer(rates)}</div></div>'


def _by_layer(rates: Sequence[Mapping[str, float]]) -> str:
    names = layer_names(rates)
    if not names or all(len(set(own.values())) < 2 and len(own) == len(names) for own in rates):
        return ""  # one rate for all: the table above has said it
    heads = "".join(f'<th scope="col">phase {number}</th>' for number in range(1, len(rates) + 1))
    rows = "".join(
        f'<tr><th scope="row">{clip(name, 40)}</th>'
        + "".join(f"<td>{short(own[name]) if name in own else 'frozen'}</td>" for own in rates)
        + "</tr>"
        for name in reversed(names)
    )
    table = f'<table class="phases"><thead><tr><th></th>{heads}</tr></thead><tbody>{rows}</tbody></table>'
    return f'<details><summary>Rates layer by layer</summary><div class="scroll">{table}</div></details>'


def _repairs(histories: Sequence[History]) -> str:
    """Each repair in words."""
    found = [
        f"<li><b>{text(_title(one, i))}, step {text(r.get('step', '?'))}</b>: {clip(r.get('reason', ''), 200)}. "
        f"{_WENT.get(str(r.get('kind')), 'The rate was changed')}; from there the rate is "
        f"{short(_number(r.get('factor'), 1.0))} of the planned one.</li>"
        for i, one in enumerate(histories)
        for r in one.get("repairs") or ()
    ]
    if not found:
        return ""
    rest = found[_REPAIRS:]
    fold = f"<details><summary>{len(rest)} more</summary><ul>{''.join(rest)}</ul></details>" if rest else ""
    return f'<h4>What was repaired</h4><ul class="repairs">{"".join(found[:_REPAIRS])}</ul>{fold}'


def _ended(histories: Sequence[History]) -> str:
    """Trainings that ended early, and weights that are averages."""
    words = [
        f"{text(_title(one, i))} ended early: {clip(one['stopped'], 200)}."
        for i, one in enumerate(histories)
        if one.get("stopped")
    ]
    kept = str(histories[-1].get("average") or "last")
    if "ema" in kept:
        words.append("The weights that are kept are a moving average over the steps.")
    if "wise" in kept:
        words.append(f"They are mixed with those from before training ({text(kept)}).")
    return f'<p class="note">{" ".join(words)}</p>' if words else ""


def _loss_words(value: float) -> str:
    """A loss as people compare it: `0.930`, not `0.93`."""
    return f"{value:.3f}" if 0.001 <= value < 10 else short(value)


def _told(history: Any) -> bool:
    """Whether there is anything to show."""
    return isinstance(history, Mapping) and bool(history.get("curve") or history.get("legs"))


def _measured(history: History) -> bool:
    """Whether it was measured on held-out samples: a fold, not the training on all samples."""
    return any("loss" in leg for leg in history.get("legs") or ())


def _title(history: History, i: int) -> str:
    """`fold 1 of 5`, out of the phase name `lp_ft, fold 1 of 5: all layers`."""
    names = [str(phase.get("name", "")) for phase in history.get("phases") or ()]
    said = names[0].partition(": ")[0].partition(", ")[2] if names else ""
    return said or f"training {i + 1}"


def _phase_name(phase: Mapping[str, Any]) -> str:
    name = str(phase.get("name", ""))
    return name.partition(": ")[2] or name


def _rates(phase: Mapping[str, Any]) -> dict[str, float]:
    """The rate of each layer; its parameters with and without weight decay are one."""
    return {
        str(group.get("name", "")).removesuffix(" (no decay)"): _number(group.get("rate"), 0.0)
        for group in phase.get("groups") or ()
    }


def _frozen(phase: Mapping[str, Any]) -> bool:
    return _number(phase.get("trained"), 0.0) < _number(phase.get("parameters"), 0.0)


def _share(phase: Mapping[str, Any]) -> str:
    trained, every = (_number(phase.get(key), 0.0) for key in ("trained", "parameters"))
    if not every:
        return "\u2013"
    part = trained / every
    words = "all" if part == 1 else percent(part, 0 if part >= 0.1 else 1) if part >= 0.001 else "under 0.1\u00a0%"
    return f'{words} <span class="ci">{many(trained)} of {many(every)}</span>'


def _sound_legs(history: History) -> list[Mapping[str, Any]]:
    """The legs that stood: one that was undone by a repair is no epoch."""
    undone = {r.get("step") for r in history.get("repairs") or () if r.get("kind") == "explosion"}
    legs = history.get("legs") or ()
    return [leg for i, leg in enumerate(legs) if not i or leg.get("step") not in undone]


def _best(history: History, legs: Sequence[Mapping[str, Any]]) -> int | None:
    """Where in `legs` the best leg of the history stands."""
    every, best = history.get("legs") or (), history.get("best")
    if not isinstance(best, int) or not 0 <= best < len(every):
        return None
    return next((i for i, leg in enumerate(legs) if leg is every[best]), None)


def _mean(each: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    """The mean over the folds by epoch; one that ended early stays where it was."""
    longest = max(len(values) for values in each)
    return [(float(k), fmean(values[min(k, len(values) - 1)] for values in each)) for k in range(longest)]


def _epochs(history: History) -> float:
    return sum(_number(phase.get("epochs"), 0.0) for phase in history.get("phases") or ())


def _splits(history: History | None) -> list[float]:
    """Steps after which another phase began."""
    legs = [leg for leg in (history or {}).get("legs") or () if leg.get("step")]
    return [_number(a["step"]) for a, b in pairwise(legs) if a.get("phase") != b.get("phase")]


def _total(histories: Sequence[History], key: str) -> float:
    return sum(_number(one.get(key), 0.0) for one in histories)


def _number(value: Any, missing: float = math.nan) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else missing
