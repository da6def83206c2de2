"""The parts of the report page. Each takes the report and gives HTML, or nothing where its data is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torchgraft.evaluate import _plots
from torchgraft.evaluate._advice import next_steps
from torchgraft.evaluate._changes import before_after
from torchgraft.evaluate._domains import domain_gap, tried
from torchgraft.evaluate._format import (
    clip,
    count,
    duration,
    percent,
    plain,
    points,
    section,
    share,
    size,
    span,
    text,
)
from torchgraft.evaluate._ranking import which_backbone
from torchgraft.evaluate._training import training, under_way

Report = Mapping[str, Any]
_TITLES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_precision": "macro precision",
    "macro_recall": "macro recall",
    "macro_f1": "macro F1",
    "brier": "Brier score",
    "ece": "calibration error",
    "log_loss": "log loss",
}
_WINDOW = 0.4  # how far under the best rung the ladder's axis goes
_ROWS = 20  # classes shown at once; the rest folds away


def hero(report: Report) -> str:
    """The verdict, and the main number with its interval."""
    verdict, test = report.get("verdict") or {}, report.get("test")
    chosen = _chosen(report)
    metrics = test or (chosen or {}).get("metrics") or {}
    sentence = str(verdict.get("sentence") or _so_far(report) or report.get("name") or "Report")
    parts = [f"<h1{' class=long' if len(sentence) > 150 else ''}>{text(sentence)}</h1>"]
    if "accuracy" in metrics:
        accuracy = metrics["accuracy"]
        parts.append(
            f'<div class="main"><div class="big">{percent(accuracy["value"])}</div><div><div class="what">accuracy'
            f'{_measured_on(report)}</div><div class="ci">95\u00a0% interval {span(accuracy)}\u00a0%</div></div></div>'
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
    rungs = [rung for rung in report.get("ladder") or () if "accuracy" in rung.get("metrics", {})]
    if not rungs:
        return ""
    low = min(r["metrics"]["accuracy"]["low"] for r in rungs)
    high = max(r["metrics"]["accuracy"]["high"] for r in rungs)
    best = max(r["metrics"]["accuracy"]["value"] for r in rungs)
    low, high = (
        max(0.0, low - 0.02, best - _WINDOW),
        min(1.0, high + 0.01),
    )  # a far-off baseline must not squeeze the rest
    lines = "".join(_rung(rung, report, low, high) for rung in rungs)
    held = (report.get("data") or {}).get("held_out") or {}
    how = (
        f"Accuracy on {count(held['n'], 'held-out sample')} ({text(held['how'])}), "
        if held
        else "Accuracy on held-out samples, "
    )
    answered = {rung.get("held_out") for rung in rungs}
    same = "the same for every rung" if len(answered) == 1 else "the same for every rung but where it is said"
    intro = (
        f'<p class="lead">{how}{same}, simplest first. The line is the 95\u00a0% interval; '
        "a ring marks what needs no pretrained network. "
        "The simplest is shipped, until a later one beats it beyond noise.</p>"
    )
    axis = f'<div class="rung axis"><div></div>{_plots.track_axis(low, high)}<div></div></div>'
    return section("ladder", "The ladder", intro + f'<div class="ladder">{lines}{axis}</div>' + _skipped(report))


def test(report: Report) -> str:
    """The numbers on the test set: overall, by class, and what is taken for what."""
    found = report.get("test")
    if not found:
        return ""
    rows = "".join(
        f"<div><dt>{title}</dt><dd>{(plain if name in ('brier', 'log_loss') else share)(found[name])}</dd></div>"
        for name, title in _TITLES.items()
        if name in found
    )
    intro = '<p class="lead">Samples that were looked at once, after the choice was made.</p>'
    body = intro + f'<dl class="numbers">{rows}</dl>'
    classes = [row["class"] for row in found.get("per_class") or ()]
    if classes:
        body += "<h3>By class</h3>" + _by_class(found["per_class"])
    if classes and found.get("confusion"):
        body += "<h3>What is taken for what</h3>" + _confusions(found["confusion"], classes)
        body += _plots.confusion(found["confusion"], classes)
        body += '<p class="note">Row: the truth. Column: the answer. Blue is right, orange wrong.</p>'
    return section("test", "On the test set", body)


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


def mistakes(report: Report) -> str:
    """The most confident wrong answers."""
    found = report.get("mistakes") or ()
    intro = '<p class="lead">Wrong answers on samples the model had not seen, the most confident first.</p>'
    cards = "".join(_card(m, f"said <b>{text(m['predicted'])}</b>", f"is <b>{text(m['truth'])}</b>") for m in found)
    return section("mistakes", "The worst mistakes", intro + f'<div class="gallery">{cards}</div>') if found else ""


def labels(report: Report) -> str:
    """Labels that are likely wrong."""
    found = report.get("label_errors") or ()
    every = report.get("label_errors_found") or len(found)
    part = f" These are the {len(found)} likeliest of {every}." if every > len(found) else ""
    intro = (
        '<p class="lead">Models that had not seen these samples disagree with the label, and are surer of another than '
        "they usually are. Some will be right as they stand, more of them where the models are often wrong: look "
        f"before you change them.{part}</p>"
    )
    cards = "".join(
        _card(m, f"labelled <b>{text(m['given'])}</b>", f"looks like <b>{text(m['suggested'])}</b>") for m in found
    )
    return section("labels", "Labels to check", intro + f'<div class="gallery">{cards}</div>') if found else ""


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
    domain_gap,
    tried,
    ladder,
    which_backbone,
    before_after,
    training,
    test,
    confidence,
    curve,
    mistakes,
    labels,
    findings,
    details,
)
"""In the order of the page."""


def _chosen(report: Report) -> Mapping[str, Any] | None:
    return next((rung for rung in report.get("ladder") or () if rung.get("chosen")), None)


def _measured_on(report: Report) -> str:
    test_set, held = report.get("test"), (report.get("data") or {}).get("held_out") or {}
    if test_set and test_set.get("per_class"):
        return f" on {count(sum(row['support'] for row in test_set['per_class']), 'test sample')}, looked at once"
    return f" on {count(held['n'], 'held-out sample')} ({text(held['how'])})" if held else ""


def _tiles(report: Report, metrics: Mapping[str, Any]) -> str:
    tiles = []
    if "macro_f1" in metrics:
        tiles.append(("macro F1", percent(metrics["macro_f1"]["value"]), f"{span(metrics['macro_f1'])}\u00a0%"))
    if "ece" in metrics:
        tiles.append(("calibration error", percent(metrics["ece"]["value"]), f"{span(metrics['ece'])}\u00a0%"))
    if rule := report.get("abstain"):
        tiles.append(("answered", percent(rule["coverage"], 0), f"at {percent(rule['accuracy'])} right"))
    if total := (report.get("seconds") or {}).get("total"):
        tiles.append(("whole run", duration(total), count(len(report.get("ladder") or ()), "rung") + " tried"))
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}<small>{more}</small></dd></div>" for name, value, more in tiles)
    return f'<dl class="tiles">{cells}</dl>' if tiles else ""


def _rung(rung: Mapping[str, Any], report: Report, low: float, high: float) -> str:
    accuracy, chosen = rung["metrics"]["accuracy"], bool(rung.get("chosen"))
    hollow = rung.get("transfer") is False
    badge = f'<span class="badge">{"best so far" if report.get("running") else "shipped"}</span>' if chosen else ""
    under = "".join(f"<small>{text(rung[key])}</small>" for key in ("backbone", "note") if rung.get(key))
    under += _fewer(rung, report)
    why = "" if chosen else _why_not(rung, report)
    return (
        f'<div class="rung{" chosen" if chosen else ""}"><div class="name"><b>{text(rung["method"])}</b> {badge}'
        f"{under}</div>{_plots.track(accuracy, low, high, chosen=chosen, hollow=hollow)}"
        f'<div class="value"><b>{percent(accuracy["value"])}</b> <span class="ci">{span(accuracy)}</span>'
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
    shipped = (report.get("verdict") or {}).get("rung")
    for row in report.get("comparisons") or ():
        if row["rung"] == rung["rung"] and row["against"] == shipped:
            accuracy = row["accuracy"]
            difference = f"{points(accuracy)} against the shipped rung"
            if accuracy["high"] < 0:
                return f"worse: {difference}"
            if row.get("brier", {}).get("high", 0) < 0:
                return f"less sure of the truth: {difference}"
            return f"not better beyond noise: {difference}"
    return ""


def _skipped(report: Report) -> str:
    rows = "".join(f"<li><b>{text(s['method'])}</b>: {text(s['reason'])}</li>" for s in report.get("skipped") or ())
    return f"<details><summary>Left out</summary><ul>{rows}</ul></details>" if rows else ""


def _by_class(rows: Sequence[Mapping[str, Any]]) -> str:
    ordered = sorted(rows, key=lambda row: row["f1"]["value"]) if len(rows) > _ROWS else rows
    table = _class_table(ordered[:_ROWS])
    if len(rows) > _ROWS:
        table = f'<p class="note">The {_ROWS} weakest of {len(rows)} classes.</p>' + table
        table += f"<details><summary>The other {len(rows) - _ROWS}</summary>{_class_table(ordered[_ROWS:])}</details>"
    return table


def _class_table(rows: Sequence[Mapping[str, Any]]) -> str:
    names = ("precision", "recall", "f1")
    body = "".join(
        f'<tr><th scope="row">{clip(row["class"], 60)}</th>'
        + "".join(f'<td>{percent(row[n]["value"])}<span class="ci">{span(row[n])}</span></td>' for n in names)
        + f"<td>{row['support']}</td></tr>"
        for row in rows
    )
    titles = "".join(f'<th scope="col">{name}</th>' for name in ("precision", "recall", "F1", "n"))
    head = f"<tr><th></th>{titles}</tr>"
    return f'<div class="scroll"><table class="classes"><thead>{head}</thead><tbody>{body}</tbody></table></div>'


def _confusions(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> str:
    pairs = [(n, t, p) for t, row in enumerate(matrix) for p, n in enumerate(row) if t != p and n]
    if not pairs:
        return '<p class="lead">Not one mistake.</p>'
    pairs.sort(key=lambda pair: -pair[0])
    words = [f"<b>{clip(classes[t], 40)}</b> for <b>{clip(classes[p], 40)}</b> ({n})" for n, t, p in pairs[:4]]
    return f'<p class="lead">Most often mistaken: {", ".join(words)}.</p>'


def _calibration(found: Mapping[str, Any] | None) -> list[str]:
    if not found or not found.get("bins"):
        return []
    before, after = (_number(found[key]) for key in ("ece_before", "ece_after"))
    words = (
        f"Dots on the diagonal mean that 80\u00a0% sure is right 80\u00a0% of the time. With temperature "
        f"{found['temperature']:.2f} the calibration error went from {percent(before)} to {percent(after)}."
    )
    return [f"<figure><h3>Calibration</h3>{_plots.reliability(found['bins'])}<figcaption>{words}</figcaption></figure>"]


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


def _card(item: Mapping[str, Any], first: str, second: str) -> str:
    picture = str(item.get("thumbnail") or "")
    if picture.startswith("data:image/"):
        body = f'<img src="{text(picture)}" alt="{text(item["id"])}" loading="lazy">'
    else:
        body = f"<blockquote>{clip(item['text'], 400)}</blockquote>" if item.get("text") else ""
    sure = percent(item["confidence"], 0)
    return (
        f'<figure class="card">{body}<figcaption><span class="sure">{sure}</span>{first}<br>{second}'
        f'<small title="{text(item["id"])}">{clip(item["id"], 60)}</small></figcaption></figure>'
    )


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
