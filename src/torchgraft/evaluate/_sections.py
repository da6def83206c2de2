"""The parts of the report page. Each takes the report and gives HTML, or nothing where its data is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torchgraft.evaluate import _plots
from torchgraft.evaluate._advice import next_steps
from torchgraft.evaluate._changes import before_after
from torchgraft.evaluate._classes import numbers
from torchgraft.evaluate._domains import domain_gap, tried
from torchgraft.evaluate._format import (
    clip,
    count,
    duration,
    percent,
    points,
    section,
    size,
    span,
    text,
)
from torchgraft.evaluate._gallery import labels, mistakes, pictures
from torchgraft.evaluate._measures import TITLES, Report, chosen, main_metric, of_pixels
from torchgraft.evaluate._ranking import which_backbone
from torchgraft.evaluate._training import training, under_way

_WINDOW = 0.4  # how far under the best rung the ladder's axis goes
_TILES = ("macro_f1", "pixel_accuracy", "boundary_f1", "mean_accuracy", "ece")  # beside the main number, where known


def hero(report: Report) -> str:
    """The verdict, and the main number with its interval."""
    verdict, own, main = report.get("verdict") or {}, chosen(report) or {}, main_metric(report)
    metrics = report.get("test") or own.get("metrics") or {}
    sentence = str(verdict.get("sentence") or _so_far(report) or report.get("name") or "Report")
    parts = [f"<h1{' class=long' if len(sentence) > 150 else ''}>{text(sentence)}</h1>"]
    if main.metric in metrics:
        value = metrics[main.metric]
        meaning = f"<small>{main.meaning}</small>" if main.meaning else ""
        parts.append(
            f'<div class="main"><div class="big">{percent(value["value"])}</div><div{" class=told" * bool(meaning)}>'
            f'<div class="what">{text(main.title)}{_measured_on(report)}</div>'
            f'<div class="ci">95\u00a0% interval {span(value)}\u00a0%</div>{meaning}</div></div>'
        )
    return "".join(parts) + _tiles(report, metrics)


def advice(report: Report) -> str:
    """What to do next; while it runs, to wait."""
    steps = [] if report.get("running") else next_steps(dict(report))
    return (
        section("next", "What to do next", f'<ol class="steps">{"".join(f"<li>{s}</li>" for s in steps)}</ol>')
        if steps
        else ""
    )


def ladder(report: Report) -> str:
    """What was tried, each with its interval, time, and why it is not shipped."""
    main = main_metric(report)
    rungs = [rung for rung in report.get("ladder") or () if main.metric in rung.get("metrics", {})]
    if not rungs:
        return ""
    values = [rung["metrics"][main.metric] for rung in rungs]
    # a far-off baseline must not squeeze the rest
    low = max(0.0, min(v["low"] for v in values) - 0.02, max(v["value"] for v in values) - _WINDOW)
    high = min(1.0, max(v["high"] for v in values) + 0.01)
    lines = "".join(_rung(rung, report, low, high) for rung in rungs)
    held = (report.get("data") or {}).get("held_out") or {}
    on = f"{count(held['n'], 'held-out sample')} ({text(held['how'])})" if held else "held-out samples"
    how = f"{text(main.opening)} on {on}, "
    answered = {rung.get("held_out") for rung in rungs}
    same = "the same for every rung" if len(answered) == 1 else "the same for every rung but where it is said"
    intro = (
        f'<p class="lead">{how}{same}, simplest first. The line is the 95\u00a0% interval; '
        "a ring marks what needs no pretrained network. "
        "The simplest is shipped, until a later one beats it beyond noise.</p>"
    )
    axis = f'<div class="rung axis"><div></div>{_plots.track_axis(low, high)}<div></div></div>'
    return section("ladder", "The ladder", intro + f'<div class="ladder">{lines}{axis}</div>' + _skipped(report))


def confidence(report: Report) -> str:
    """Calibration and the abstain rule, side by side."""
    cards = [*_calibration(report.get("calibration")), *_abstain(report.get("abstain"))]
    return (
        section("confidence", "Can its confidence be trusted?", f'<div class="pair">{"".join(cards)}</div>')
        if cards
        else ""
    )


def curve(report: Report) -> str:
    """Learning curve with the forecast."""
    found = report.get("learning_curve")
    if not found or not found.get("points"):
        return ""
    note = (
        "Accuracy on the held-out samples by number of labels; the line is the law fitted to it, the ring its forecast."
    )
    body = (
        f'<p class="lead"><b>{text(found.get("sentence", ""))}</b></p><figure>{_plots.learning_curve(found)}</figure>'
    )
    return section("curve", "Would more labels help?", body + f'<p class="note">{note}</p>')


def findings(report: Report) -> str:
    """What the data check noticed."""
    found = (report.get("data") or {}).get("findings") or ()
    items = "".join(_finding(f) for f in found)
    return section("data", "What the data check found", f'<ul class="findings">{items}</ul>') if found else ""


def details(report: Report) -> str:
    """Times, options, environment, data: folded away."""
    data = {k: v for k, v in (report.get("data") or {}).items() if k not in ("findings", "classes", "held_out")}
    blocks = [
        ("Time", {k: duration(v) for k, v in (report.get("seconds") or {}).items()}),
        ("Data", data),
        ("Classes", ", ".join(map(str, (report.get("data") or {}).get("classes") or ()))),
        ("Options", report.get("options") or {}),
        ("Environment", report.get("environment") or {}),
    ]
    folds = "".join(
        f"<details><summary>{title}</summary>{_values(value)}</details>" for title, value in blocks if value
    )
    return section("details", "Details", folds) if folds else ""


SECTIONS: tuple[Callable[[Report], str], ...] = (
    hero,
    under_way,
    advice,
    pictures,
    domain_gap,
    tried,
    ladder,
    which_backbone,
    before_after,
    training,
    numbers,
    confidence,
    curve,
    mistakes,
    labels,
    findings,
    details,
)
"""In the order of the page."""


def _measured_on(report: Report) -> str:
    test_set, held = report.get("test"), (report.get("data") or {}).get("held_out") or {}
    if test_set and test_set.get("images"):
        return f" on {count(test_set['images'], 'test image')}, looked at once"
    if test_set and test_set.get("per_class"):
        return f" on {count(sum(row['support'] for row in test_set['per_class']), 'test sample')}, looked at once"
    return f" on {count(held['n'], 'held-out sample')} ({text(held['how'])})" if held else ""


def _tiles(report: Report, metrics: Mapping[str, Any]) -> str:
    tiles = [
        (TITLES[name], percent(metrics[name]["value"]), f"{span(metrics[name])}\u00a0%")
        for name in _TILES
        if name in metrics
    ]
    if of_pixels(metrics) and (n := metrics.get("images") or (chosen(report) or {}).get("held_out")):
        tiles.append(("images", f"{n:,}", "of the test split" if metrics.get("images") else "held out"))
    if rule := report.get("abstain"):
        tiles.append(("answered", percent(rule["coverage"], 0), f"at {percent(rule['accuracy'])} right"))
    if total := (report.get("seconds") or {}).get("total"):
        tiles.append(("whole run", duration(total), count(len(report.get("ladder") or ()), "rung") + " tried"))
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}<small>{more}</small></dd></div>" for name, value, more in tiles)
    return f'<dl class="tiles">{cells}</dl>' if tiles else ""


def _rung(rung: Mapping[str, Any], report: Report, low: float, high: float) -> str:
    own, shipped = rung["metrics"][main_metric(report).metric], bool(rung.get("chosen"))
    hollow = rung.get("transfer") is False
    badge = f'<span class="badge">{"best so far" if report.get("running") else "shipped"}</span>' if shipped else ""
    small = [text(rung.get("backbone") or "").replace("/", "/<wbr>"), text(rung.get("note") or "")]
    under = "".join(f"<small>{words}</small>" for words in small if words)
    under += _fewer(rung, report)
    why = "" if shipped else _why_not(rung, report)
    return (
        f'<div class="rung{" chosen" if shipped else ""}"><div class="name"><b>{text(rung["method"])}</b> {badge}'
        f"{under}</div>{_plots.track(own, low, high, chosen=shipped, hollow=hollow)}"
        f'<div class="value"><b>{percent(own["value"])}</b> <span class="ci">{span(own)}</span>'
        f"{_cost(rung)}</div>" + (f'<div class="why">{why}</div>' if why else "") + "</div>"
    )


def _cost(rung: Mapping[str, Any]) -> str:
    """Wall time; under it CPU time and memory, where they are known."""
    more = [f"CPU {duration(rung['cpu_seconds'])}"] if rung.get("cpu_seconds") else []
    more += [size(rung["memory"])] if rung.get("memory") else []
    lines = [duration(rung.get("seconds") or 0.0), ", ".join(more)]
    return "".join(f"<small>{line}</small>" for line in lines if line)


def _fewer(rung: Mapping[str, Any], report: Report) -> str:
    """On how many held-out samples, where others answered more."""
    most = max((one.get("held_out") or 0 for one in report.get("ladder") or ()), default=0)
    own = rung.get("held_out") or most
    return f"<small>on {own:,} of the {count(most, 'held-out sample')}</small>" if own < most else ""


def _so_far(report: Report) -> str:
    """What stands in the verdict's place while there is none."""
    if not report.get("running"):
        return ""
    tried = count(len(report.get("ladder") or ()), "rung")
    return f"Nothing is decided yet: {tried} measured so far."


def _why_not(rung: Mapping[str, Any], report: Report) -> str:
    """Against the shipped rung; positive differences are in favour of this one."""
    shipped, metric = (report.get("verdict") or {}).get("rung"), main_metric(report).metric
    for row in report.get("comparisons") or ():
        if row["rung"] == rung["rung"] and row["against"] == shipped and metric in row:
            difference = f"{points(row[metric])} against the shipped rung"
            if row[metric]["high"] < 0:
                return f"worse: {difference}"
            if row.get("brier", {}).get("high", 0) < 0:
                return f"less sure of the truth: {difference}"
            return f"not better beyond noise: {difference}"
    return ""


def _skipped(report: Report) -> str:
    rows = "".join(f"<li><b>{text(s['method'])}</b>: {text(s['reason'])}</li>" for s in report.get("skipped") or ())
    return f"<details><summary>Left out</summary><ul>{rows}</ul></details>" if rows else ""


def _calibration(found: Mapping[str, Any] | None) -> list[str]:
    if not found or not found.get("bins"):
        return []
    before, after, bins = (found[key] for key in ("ece_before", "ece_after", "bins"))
    words = (
        f"Dots on the diagonal mean that 80\u00a0% sure is right 80\u00a0% of the time. With temperature "
        f"{found['temperature']:.2f} the calibration error went from {percent(_number(before))} to "
        f"{percent(_number(after))}."
    )
    if all(one["accuracy"] == 1 for one in bins):
        words += f" All {sum(one['n'] for one in bins)} are right; the next may not be, so it is less sure than that."
    return [f"<figure><h3>Calibration</h3>{_plots.reliability(bins)}<figcaption>{words}</figcaption></figure>"]


def _abstain(rule: Mapping[str, Any] | None) -> list[str]:
    if not rule:
        return []
    if rule["threshold"] <= 0:
        words = f"It may answer everything: {percent(rule['accuracy'])} of the held-out samples are right."
    else:
        words = (
            f"Answers from confidence {rule['threshold']:.2f} on: {percent(rule['coverage'], 0)} of the held-out "
            f"samples, {percent(rule['accuracy'])} of them right. The rest is left to a person."
        )
    if not rule.get("reached", True):
        words += f" No threshold reaches the wanted {percent(rule['wanted'], 0)}; this is the nearest."
    plot = _plots.coverage(rule) if rule.get("curve") else ""
    return [f"<figure><h3>When not to answer</h3>{plot}<figcaption>{words}</figcaption></figure>"]


def _number(value: Mapping[str, float] | float) -> float:
    return float(value["value"]) if isinstance(value, Mapping) else float(value)


def _finding(found: Mapping[str, Any]) -> str:
    severity = found.get("severity") if found.get("severity") in ("error", "warning", "note") else "note"
    action = f' <span class="action">{text(found["action"])}</span>' if found.get("action") else ""
    examples = found.get("examples") or ()
    shown = "".join(f"<li><code>{clip(e, 160)}</code></li>" for e in examples)
    fold = f"<details><summary>Examples</summary><ul>{shown}</ul></details>" if shown else ""
    return f'<li class="{severity}"><span class="kind">{severity}</span> {text(found["message"])}{action}{fold}</li>'


def _values(value: Any) -> str:
    if not isinstance(value, Mapping):
        return f"<p>{text(value)}</p>"
    rows = "".join(f'<tr><th scope="row">{text(k)}</th><td>{_value(v)}</td></tr>' for k, v in value.items())
    return f'<table class="values">{rows}</table>'


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return text(", ".join(f"{k} {v}" for k, v in value.items()))
    return text(", ".join(map(str, value)) if isinstance(value, list | tuple) else "\u2013" if value is None else value)
