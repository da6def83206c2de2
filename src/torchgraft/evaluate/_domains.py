"""The sections of a run with two domains: the gap, what was tried, and why it was shipped or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torchgraft.evaluate._format import percent, section, span, text

_COLUMNS = {
    "source_accuracy": "right in rehearsal",
    "source_miou": "mIoU in rehearsal",
    "changed": "target answered otherwise",
    "oracle_accuracy": "right on the target (oracle)",
    "oracle_miou": "mIoU on the target (oracle)",
}
"""What is shown of a rung, as far as it was measured."""

_ROWS = 12
"""Classes of which the gap is shown; the largest gaps first."""

_OPEN = 8
"""Rungs that are all shown; of more, source-only, the shipped one, the last, and the best of the rehearsal up to
`_BEST` in all."""

_BEST = 6

_SIDE = (560, 360)
"""Width and height of the map."""


def domain_gap(report: Mapping[str, Any]) -> str:
    """How far apart source and target are: distances, classes, a map."""
    found = report.get("domains")
    if not found or "gap" not in found:
        return ""
    gap = found["gap"]
    seen = "The domains differ" if gap["p"] < 0.05 else "No difference between the domains can be seen"
    lead = (
        f'<p class="lead">{seen}: MMD\u00b2 {gap["mmd2"]:.4f}, p = {gap["p"]:.3f}. '
        f"A linear classifier tells them apart with A-distance {gap['a_distance']:.2f} (0: not at all, 2: always). "
        "All of this was measured before anything was adapted.</p>"
    )
    figure = f"<figure>{_map(found['map'], report['data']['classes'])}</figure>" if found.get("map") else ""
    note = (
        '<p class="note">Circles: the source, by its labels. Crosses: the target, by the answers of what is shipped. '
        "The plane is the one on which class means and the target lie furthest apart.</p>"
    )
    several = _several(found.get("several") or ())
    return section("gap", "The gap between the domains", lead + several + figure + note + _classes(gap, report))


def tried(report: Mapping[str, Any]) -> str:
    """Every method, its rehearsal on the source, what it answers otherwise; and the tests of the guard."""
    found, rungs = report.get("domains"), report.get("ladder") or ()
    if not found:
        return ""
    main = (report.get("primary") or {}).get("metric", "accuracy")
    asked = (f"source_{main}", "changed", f"oracle_{main}")
    shown = [name for name in _COLUMNS if name in asked and any(name in rung["metrics"] for rung in rungs)]
    few = any(one["name"] == "labels" for one in found["tests"])
    lead = "A few labels of the target were used at the end." if few else "No label of the target was used."
    if f"source_{main}" in shown:
        lead += (
            " Each method was rehearsed on the source: fitted on one half, asked of the other. Where nothing has to be "
            "adapted, a method that does harm is not to be trusted."
        )
    head = "".join(f"<th>{title}</th>" for title in ("method", *(_COLUMNS[name] for name in shown)))
    first, rest = _folded(rungs)
    note = (
        '<p class="note">The oracle column was asked for with <code>--oracle-labels</code>. It chose nothing.</p>'
        if f"oracle_{main}" in shown
        else ""
    )
    table, other = (_table(head, some, shown) for some in (first, rest))
    if rest:
        table += f"<details><summary>{len(rest)} others that were tried</summary>{other}</details>"
    return section("tried", "What was tried", f'<p class="lead">{lead}</p>{table}{note}{_tests(found["tests"])}')


def _folded(rungs: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """The rungs to show at once, and the rest, both in the order of the ladder."""
    if len(rungs) <= _OPEN:
        return list(rungs), []
    kept = {0, len(rungs) - 1, *(i for i, rung in enumerate(rungs) if rung.get("chosen"))}
    passed = [i for i, rung in enumerate(rungs) if rung.get("passed", True) and i not in kept]
    best = sorted(passed, key=lambda i: -rungs[i]["metrics"].get("source_accuracy", {"value": 0.0})["value"])
    kept.update(best[: max(_BEST - len(kept), 0)])
    return [rungs[i] for i in sorted(kept)], [rung for i, rung in enumerate(rungs) if i not in kept]


def _table(head: str, rungs: Sequence[Mapping[str, Any]], shown: Sequence[str]) -> str:
    rows = "".join(_row(rung, shown) for rung in rungs)
    return f'<div class="scroll"><table><tr>{head}</tr>{rows}</table></div>'


def _row(row: Mapping[str, Any], shown: Sequence[str]) -> str:
    metrics = row["metrics"]
    badge = ' <span class="badge">shipped</span>' if row.get("chosen") else ""
    out = "" if row.get("passed", True) else " <small>sent out</small>"
    cells = "".join(
        f"<td>{percent(metrics[name]['value'])} <small>{span(metrics[name])}</small></td>" for name in shown
    )
    note = f"<br><small>{text(row['note'])}</small>" if row.get("note") else ""
    return f"<tr><td><b>{text(row['method'])}</b>{badge}{out}{note}</td>{cells}</tr>"


def _tests(found: Sequence[Mapping[str, Any]]) -> str:
    items = "".join(
        f"<li><b>{text(one['name'])}</b>: {'passed' if one['passed'] else 'not passed'}; {text(one['seen'])}</li>"
        for one in found
    )
    return f"<h3>The guard</h3><ul>{items}</ul>" if items else ""


def _several(sources: Sequence[Mapping[str, Any]]) -> str:
    """A row for each of several sources: how far it is from the target, and what a sample of it counts for that."""
    if not sources:
        return ""
    rows = "".join(
        f"<tr><td>{text(one['name'])}</td><td>{one['samples']}</td><td>{one['gap']:.4f}</td>"
        f"<td>{one['weight']:.1f}</td></tr>"
        for one in sorted(sources, key=lambda one: -one["weight"])
    )
    names = ("source", "samples", "gap to the target (MMD\u00b2)", "a sample counts")
    head = f"<tr>{''.join(f'<th>{name}</th>' for name in names)}</tr>"
    note = '<p class="note">What a sample counts goes with 1 / gap; the farthest source counts 1.</p>'
    return f'<h3>By source</h3><div class="scroll"><table>{head}{rows}</table></div>{note}'


def _classes(gap: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    """A row for each class: how far it moved, and its share in both domains."""
    classes, moved = report["data"]["classes"], gap["class_gaps"]
    order = sorted(range(len(classes)), key=lambda c: -(moved[c] if moved[c] is not None else -1))
    rows = "".join(
        f"<tr><td>{text(classes[c])}</td><td>{'' if moved[c] is None else f'{moved[c]:.2f}'}</td>"
        f"<td>{percent(gap['prior_source'][c])}</td><td>{percent(gap['prior_target'][c])}</td></tr>"
        for c in order[:_ROWS]
    )
    names = ("class", "moved by (in spreads)", "share in the source", "in the target, estimated")
    head = f"<tr>{''.join(f'<th>{name}</th>' for name in names)}</tr>"
    return f'<h3>By class</h3><div class="scroll"><table>{head}{rows}</table></div>'


def _map(points: Mapping[str, Sequence[Sequence[float]]], classes: Sequence[str]) -> str:
    """Both domains as marks; a colour for each class, round the colour wheel."""
    every = [*points["source"], *points["target"]]
    (x0, x1), (y0, y1) = ((min(p[i] for p in every), max(p[i] for p in every)) for i in (0, 1))
    width, height = _SIDE

    def place(p: Sequence[float]) -> tuple[float, float]:
        return (
            12 + (width - 24) * (p[0] - x0) / max(x1 - x0, 1e-12),
            12 + (height - 24) * (1 - (p[1] - y0) / max(y1 - y0, 1e-12)),
        )

    marks = []
    for p in points["source"]:
        x, y = place(p)
        marks.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="none" stroke="{_colour(p[2], classes)}"/>')
    for p in points["target"]:
        x, y = place(p)
        marks.append(f'<path d="M{x - 3:.1f} {y - 3:.1f}l6 6m0 -6l-6 6" stroke="{_colour(p[2], classes)}"/>')
    return (
        f'<svg viewBox="0 0 {width} {height}" width="100%" role="img" aria-label="Both domains on one plane">'
        f"{''.join(marks)}</svg>"
    )


def _colour(c: float, classes: Sequence[str]) -> str:
    return f"hsl({360 * int(c) / max(len(classes), 1):.0f} 65% 50%)"
