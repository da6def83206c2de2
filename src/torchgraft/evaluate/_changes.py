"""Before and after: what a step of the ladder changed on the same samples, and which classes it helped or hurt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torchgraft.evaluate._format import MINUS, chance, clip, count, points, section, text
from torchgraft.evaluate._measures import main_metric
from torchgraft.evaluate._plots import zero_axis, zero_track

Row = Mapping[str, Any]

_TOP = 3
"""Classes that are named on each side."""

_FLOOR = "majority"
"""Its differences are so large that they would squeeze all others: they go off the line."""

_ASKED = ("probe", _FLOOR)
"""What the shipped rung is held against, whatever stands between: the last word of the methods' names."""


def before_after(report: Mapping[str, Any]) -> str:
    """The shipped rung against the probe and the majority, then each rung against the one before."""
    metric = main_metric(report).metric
    ladder = {rung.get("rung", i): rung for i, rung in enumerate(report.get("ladder") or ())}
    ladder = {k: rung for k, rung in ladder.items() if metric in rung.get("metrics", {})}
    every = (row for row in report.get("comparisons") or () if {row["rung"], row["against"]} <= set(ladder))
    rows = [{**row, "difference": row[metric]} for row in every if metric in row]
    shipped = _against_asked(ladder, rows, (report.get("verdict") or {}).get("rung"), metric)
    steps = sorted((row for row in rows if row["against"] == row["rung"] - 1), key=lambda row: row["rung"])
    if not steps and not shipped:
        return ""
    classes = (report.get("data") or {}).get("classes") or ()
    edge = _edge([row for row in (*steps, *shipped) if _FLOOR not in _kinds(row, ladder)] or [*steps, *shipped])
    body = _group("The one that is shipped", shipped, ladder, classes, edge)
    body += _group("Each rung against the one before", steps, ladder, classes, edge)
    return section("changes", "Before and after", _lead([*steps, *shipped]) + body)


def _lead(rows: Sequence[Row]) -> str:
    words = (
        "Both answer the same held-out samples, so even small differences show. Right of the middle: better than what "
        "it is compared with."
    )
    if any("fixed" in row for row in rows):
        words += " <i>Fixed</i> samples are right only now, <i>broken</i> ones were right before."
    elif any(row.get(side) for row in rows for side in ("gained", "lost")):
        words += " Beside a class stands by how many points its IoU changed; those changed beyond noise are named."
    return f'<p class="lead">{words}</p>'


def _against_asked(ladder: Mapping[int, Row], rows: Sequence[Row], shipped: int | None, metric: str) -> list[Row]:
    """The shipped rung against the best rung of each method that is asked for, read in its favour."""
    found = []
    for kind in _ASKED:
        rungs = [k for k, rung in ladder.items() if _kind(rung) == kind and k != shipped]
        best = max(rungs, key=lambda k: ladder[k]["metrics"][metric]["value"], default=None)
        own = [row for row in rows if best is not None and {row["rung"], row["against"]} == {best, shipped}]
        row = min(own, key=lambda row: row["rung"] != shipped, default=None)
        if row:
            found.append(row if row["rung"] == shipped else turned(row))
    return found


def _kind(rung: Row) -> str:
    """`probe` of `linear_probe`."""
    return str(rung.get("method", "")).rpartition("_")[2]


def _kinds(row: Row, ladder: Mapping[int, Row]) -> set[str]:
    return {_kind(ladder[row[side]]) for side in ("rung", "against")}


def _edge(rows: Sequence[Row]) -> float:
    """How far from zero the axis goes: all intervals fit, from 2 points on."""
    return max(0.02, 1.05 * max(abs(row["difference"][end]) for row in rows for end in ("low", "high")))


def turned(row: Row) -> dict[str, Any]:
    """The same comparison seen from the other side.

    A p-value that asks whether one side is better says nothing of the other: only that of fixed and broken samples,
    which asks whether they differ, is kept.
    """
    swapped = {key: _turned(value) for key, value in row.items() if isinstance(value, Mapping)}
    swapped |= {"rung": row["against"], "against": row["rung"]}
    if "fixed" in row:
        swapped |= {"fixed": row["broken"], "broken": row["fixed"], "p": row.get("p")}
    for key, source in (("gained", "lost"), ("lost", "gained")):
        swapped[key] = [_class_turned(one) for one in row.get(source) or ()]
    return swapped


def _turned(difference: Mapping[str, float]) -> dict[str, float]:
    return {"value": -difference["value"], "low": -difference["high"], "high": -difference["low"]}


def _class_turned(one: Row) -> dict[str, Any]:
    if "fixed" in one:
        return {"class": one["class"], "fixed": one["broken"], "broken": one["fixed"]}
    return {key: _turned(value) if isinstance(value, Mapping) else value for key, value in one.items()}


def _group(title: str, rows: Sequence[Row], ladder: Mapping[int, Row], classes: Sequence[str], edge: float) -> str:
    if not rows:
        return ""
    lines = "".join(_line(row, ladder, classes, edge) for row in rows)
    axis = f'<div class="rung axis"><div></div>{zero_axis(edge)}<div></div></div>'
    return f'<h3>{title}</h3><div class="ladder changes">{lines}{axis}</div>'


def _line(row: Row, ladder: Mapping[int, Row], classes: Sequence[str], edge: float) -> str:
    now, before = ladder[row["rung"]], ladder[row["against"]]
    shown = points(row["difference"])
    value, _, interval = shown.partition(" points ")
    counts = f"<small>{row['fixed']} fixed, {row['broken']} broken</small>" if "fixed" in row else ""
    tested = f"<small>{text(chance(row['p']))}</small>" if isinstance(row.get("p"), int | float) else ""
    moved = [_moved(row.get("gained"), "gained", classes), _moved(row.get("lost"), "lost", classes)]
    why = "".join(
        f'<span class="{kind}">{words}</span>' for kind, words in zip(("up", "down"), moved, strict=True) if words
    )
    return (
        f'<div class="rung"><div class="name"><b>{_name(now, before)}</b><small>against {_name(before, now)}'
        f"{_on(now, before)}</small></div>{zero_track(row['difference'], edge)}"
        f'<div class="value"><b>{value}</b> <span class="ci">{interval}</span>{counts}{tested}</div>'
        + (f'<div class="why">{why}</div>' if why else "")
        + "</div>"
    )


def _name(rung: Row, other: Row) -> str:
    """The method, with its backbone where the other one has the same method."""
    method = text(rung.get("method", ""))
    if rung.get("method") == other.get("method") and rung.get("backbone"):
        return f"{method} on {text(rung['backbone'])}"
    return method


def _on(now: Row, before: Row) -> str:
    """On how many samples, where they did not answer the same ones."""
    held = [rung.get("held_out") for rung in (now, before)]
    if not all(isinstance(n, int) for n in held) or held[0] == held[1]:
        return ""
    return f", on {count(min(held), 'sample')}"


def _moved(entries: Any, word: str, classes: Sequence[str]) -> str:
    """`gained: ENTY +5, HUM +2 and 1 more`."""
    entries = list(entries or ())
    if not entries:
        return ""
    named = [f"{clip(class_name(one['class'], classes), 30)} {_by(one)}" for one in entries[:_TOP]]
    rest = f" and {len(entries) - _TOP} more" if len(entries) > _TOP else ""
    return f"{word}: {', '.join(named)}{rest}"


def class_name(value: Any, classes: Sequence[str]) -> str:
    """The name of a class that is given as an index, or by its name."""
    if isinstance(value, int) and 0 <= value < len(classes):
        return str(classes[value])
    return str(value)


def _by(one: Row) -> str:
    """How much a class changed: in samples, or in points of the IoU."""
    if "fixed" in one:
        return _signed(one["fixed"] - one["broken"])
    return f"{100 * one['iou']['value']:+z.1f}".replace("-", MINUS)


def _signed(number: int) -> str:
    return f"{number:+d}".replace("-", MINUS)
