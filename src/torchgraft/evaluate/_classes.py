"""The numbers behind the main one: overall, class by class, and what is taken for what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torchgraft.evaluate import _plots
from torchgraft.evaluate._format import clip, percent, plain, section, share, span, swatch, text
from torchgraft.evaluate._measures import LOSSES, TITLES, Report, of_pixels, scores

Row = Mapping[str, Any]

_ROWS = 20
"""Classes shown at once; the rest folds away."""

_PAIRS = 4
"""Confusions that are told in words."""

_SEEN = 0.01
"""Share of a class's pixels from which on a confusion is worth words."""

_RATES = {
    "iou": "IoU",
    "accuracy": "recall",
    "recall": "recall",
    "precision": "precision",
    "boundary_f1": "boundary F1",
}
"""What is shown of a class of pixels, as far as it was measured."""


def numbers(report: Report) -> str:
    """On the test split, or without one on the held-out samples, where these were measured class by class."""
    found, tested = scores(report)
    if not found:
        return ""
    rows = "".join(
        f"<div><dt>{title}</dt><dd>{(plain if name in LOSSES else share)(found[name])}</dd></div>"
        for name, title in TITLES.items()
        if name in found
    )
    body = f'<p class="lead">{_where(report, tested)}</p><dl class="numbers">{rows}</dl>' + _classes(report, found)
    return section("test", "On the test set", body) if tested else section("held-out", "On the held-out samples", body)


def taken_for(row: Sequence[int], own: int) -> tuple[int, float]:
    """What a class's samples are most often taken for, and the share of them: a row of the confusion counts."""
    other = max((k for k in range(len(row)) if k != own), key=lambda k: row[k])
    return other, row[other] / max(sum(row), 1)


def _where(report: Report, tested: bool) -> str:
    if tested:
        return "Samples that were looked at once, after the choice was made."
    how = ((report.get("data") or {}).get("held_out") or {}).get("how")
    return (
        f"There is no test split, so these are the held-out samples{f' ({text(how)})' if how else ''}. What is shipped "
        "was chosen on them too: expect a little less on new ones."
    )


def _classes(report: Report, found: Row) -> str:
    rows, matrix, pixels = found.get("per_class") or (), found.get("confusion"), of_pixels(found)
    names = [row["class"] for row in rows]
    if not names:
        return ""
    body = "<h3>By class</h3>" + (_overlaps(rows, report) if pixels else _by_class(rows))
    if matrix:
        body += "<h3>What is taken for what</h3>" + (_shares if pixels else _confusions)(matrix, names)
        body += _plots.confusion(matrix, names, shares=pixels)
        unit = " Numbers are per cent of the truth's pixels." if pixels else ""
        body += f'<p class="note">Row: the truth. Column: the answer. Blue is right, orange wrong.{unit}</p>'
    return body


def _folded(rows: Sequence[Row], table: Callable[[Sequence[Row]], str]) -> str:
    """A table of the weakest; the others fold away."""
    if len(rows) <= _ROWS:
        return table(rows)
    rest = rows[_ROWS:]
    first = f'<p class="note">The {_ROWS} weakest of {len(rows)} classes.</p>{table(rows[:_ROWS])}'
    return first + f"<details><summary>The other {len(rest)}</summary>{table(rest)}</details>"


def _by_class(rows: Sequence[Row]) -> str:
    return _folded(sorted(rows, key=lambda row: row["f1"]["value"]) if len(rows) > _ROWS else rows, _class_table)


def _class_table(rows: Sequence[Row]) -> str:
    names = ("precision", "recall", "f1")
    body = "".join(
        f'<tr><th scope="row">{clip(row["class"], 60)}</th>'
        + "".join(f'<td>{percent(row[n]["value"])}<span class="ci">{span(row[n])}</span></td>' for n in names)
        + f"<td>{row['support']}</td></tr>"
        for row in rows
    )
    return _table("classes", ("", "precision", "recall", "F1", "n"), body)


def _overlaps(rows: Sequence[Row], report: Report) -> str:
    """IoU as bars, the weakest class first; classes that don't occur come last."""
    ordered = sorted(rows, key=lambda row: (not row["support"], row["iou"]["value"]))
    total = max(sum(row["support"] for row in rows), 1)
    colours = {one["class"]: one["colour"] for one in report.get("legend") or ()}
    shown = [name for name in _RATES if name in rows[0]]

    def table(some: Sequence[Row]) -> str:
        heads = ("", "", *(_RATES[name] for name in shown), "of all pixels")
        return _table("classes bars", heads, "".join(_overlap(row, shown, total, colours) for row in some))

    note = "The weakest class first. The line in a bar is its 95\u00a0% interval."
    return f'<p class="note">{note}</p>' + _folded(ordered, table)


def _overlap(row: Row, shown: Sequence[str], total: int, colours: Mapping[str, Sequence[int]]) -> str:
    name = f'<th scope="row">{swatch(colours.get(row["class"]))}{clip(row["class"], 60)}</th>'
    if not row["support"]:
        return f'<tr>{name}<td class="quiet" colspan="{len(shown) + 2}">no pixel of it</td></tr>'
    cells = "".join(f'<td>{percent(row[n]["value"])}<span class="ci">{span(row[n])}</span></td>' for n in shown)
    return (
        f'<tr>{name}<td class="drawn">{_plots.bar(row["iou"])}</td>{cells}<td>{_part(row["support"] / total)}</td></tr>'
    )


def _table(kind: str, heads: Sequence[str], body: str) -> str:
    titles = "".join(f'<th scope="col">{name}</th>' if name else "<th></th>" for name in heads)
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _confusions(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> str:
    pairs = [(n, t, p) for t, row in enumerate(matrix) for p, n in enumerate(row) if t != p and n]
    if not pairs:
        return '<p class="lead">Not one mistake.</p>'
    pairs.sort(key=lambda pair: -pair[0])
    words = [f"<b>{clip(classes[t], 40)}</b> for <b>{clip(classes[p], 40)}</b> ({n})" for n, t, p in pairs[:_PAIRS]]
    return f'<p class="lead">Most often mistaken: {", ".join(words)}.</p>'


def _shares(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> str:
    """The same by the share of the true class's pixels: so rare classes are told of too."""
    pairs = [(n / max(sum(row), 1), t, p) for t, row in enumerate(matrix) for p, n in enumerate(row) if t != p and n]
    pairs = sorted((pair for pair in pairs if pair[0] >= _SEEN), key=lambda pair: -pair[0])[:_PAIRS]
    if not pairs:
        return f'<p class="lead">No class is taken for another in more than {percent(_SEEN, 0)} of its pixels.</p>'
    words = [
        f"<b>{clip(classes[t], 40)}</b> for <b>{clip(classes[p], 40)}</b> ({percent(n, 0)}{' of its pixels' * (not k)})"
        for k, (n, t, p) in enumerate(pairs)
    ]
    return f'<p class="lead">Most often mistaken: {", ".join(words)}.</p>'


def _part(part: float) -> str:
    return percent(part, 1 if part >= 0.001 else 2)
