"""The section of a ranking: which backbone, as a picture and a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torchgraft.evaluate._format import clip, count, many, percent, section, share, short, size, span, text
from torchgraft.evaluate._front import front, limits
from torchgraft.evaluate._plots import track, track_axis

Row = Mapping[str, Any]

_VOTERS = {
    "linear_probe": "a linear probe",
    "knn": "the nearest neighbours",
    "h_score": "the H-score",
    "imagenet": "the ImageNet table",
}


def which_backbone(report: Mapping[str, Any]) -> str:
    """Accuracy over latency with the front (or by name, where no latency is known), the table, who is not in it.

    Reads `ranking`: what `Ranking.to_dict` gives, of which `backbones` and `advice` are enough. Empty without it.
    """
    found = report.get("ranking")
    if not found or not found.get("backbones"):
        return ""
    rows = found["backbones"]
    said = (report.get("verdict") or {}).get("sentence")
    advice = found["advice"]["sentence"]
    lead = "" if advice == said else f"<b>{text(advice)}</b> "
    picture = front(rows)
    asked = "a linear probe and nearest neighbours" if picture else "accuracy of a cross-validated linear probe"
    lead += f"Frozen features{_on(report)}: {asked}. No backbone was trained."
    if picture:
        note = (
            "Accuracy is the mean of probe and nearest neighbours. The line is the front: nobody that ran as far is "
            "both faster and expected to be more often right. The ring marks the backbone to start from: the fastest "
            "within half a point of the best. Bars are 95\u00a0% intervals; hollow dots were let go early."
        )
        picture = f"<figure>{picture}<figcaption>{note}</figcaption></figure>"
    else:
        picture = _by_name(rows)
    return section("backbones", "Which backbone", f'<p class="lead">{lead}</p>{picture}{_table(rows)}{_gone(found)}')


def _on(report: Mapping[str, Any]) -> str:
    """`, 194 photos of 2 classes`, as far as it is known."""
    found, data = report["ranking"], report.get("data") or {}
    modality, classes = (found.get(key) or data.get(key) for key in ("modality", "classes"))
    noun = {"image": "photo", "text": "text"}.get(modality or "", "sample")
    samples = count(_most(found["backbones"]), noun)
    return f", {samples} of {count(len(classes), 'class', 'classes')}" if classes else f", {samples}"


def _by_name(rows: Sequence[Row]) -> str:
    low, high = limits([row["accuracy"] for row in rows])
    most = _most(rows)
    lines = "".join(_line(row, low, high, hollow=row["samples"] < most) for row in rows)
    return (
        f'<div class="ladder">{lines}<div class="rung axis"><div></div>{track_axis(low, high)}<div></div></div></div>'
    )


def voters(rows: Sequence[Row]) -> str:
    """What the order of these rows goes by, in words."""
    *others, last = (_VOTERS.get(one, one) for one in max((row["by"] for row in rows), key=len))
    return f"{', '.join(others)} and {last}" if others else last


def _most(rows: Sequence[Row]) -> int:
    """Samples of the last round: who ran on fewer was let go early."""
    return max(row["samples"] for row in rows)


def _line(row: Row, low: float, high: float, *, hollow: bool) -> str:
    accuracy = row["accuracy"]
    return (
        f'<div class="rung{" chosen" if row["knee"] else ""}"><div class="name">{_name(row)}</div>'
        f"{track(accuracy, low, high, chosen=row['knee'], hollow=hollow)}"
        f'<div class="value"><b>{percent(accuracy["value"])}</b> <span class="ci">{span(accuracy)}</span></div></div>'
    )


def _name(row: Row) -> str:
    badge = ' <span class="badge">start here</span>' if row["knee"] else ""
    name = clip(row["backbone"], 80).replace("/", "/<wbr>").replace("_", "_<wbr>")  # where a long name may break
    return f"<b>{name}</b>{badge}"


def _columns(rows: Sequence[Row]) -> dict[str, Callable[[Row], str]]:
    """Title -> how a cell is written; what is known of no row is no column."""
    costs = {
        "latency_ms": ("ms a sample", _speed),
        "minutes_to_probe": ("minutes to probe", lambda row: f"{row['minutes_to_probe']:.1f}"),
        "minutes_to_fine_tune": ("minutes to fine-tune", lambda row: f"{row['minutes_to_fine_tune']:.1f}"),
        "similarity": ("alike", lambda row: f"{row['similarity']:.2f}"),
        "imagenet": ("ImageNet top-1", lambda row: percent(row["imagenet"] / 100)),
    }
    columns: dict[str, Callable[[Row], str]] = {
        "right": lambda row: share(row["accuracy"]),
        "nearest neighbours": lambda row: share(row["knn"]),
        "chance best": lambda row: percent(row["chance_best"], 0),
    }
    for key in (key for key in costs if any(row.get(key) for row in rows)):
        title, write = costs[key]
        columns[title] = lambda row, key=key, write=write: "" if row.get(key) is None else write(row)
    for name in dict.fromkeys(name for row in rows for name in row["scores"]):
        columns[name] = lambda row, name=name: _score(row["scores"].get(name))
    return columns


def _speed(row: Row) -> str:
    """Latency, and quieter the throughput in batches."""
    batched = row.get("images_per_second")
    return f"{row['latency_ms']:.1f}" + (f' <span class="ci">{batched:,.0f} a second</span>' if batched else "")


def _score(value: float | None) -> str:
    return "\u2013" if value is None else short(value)


def _table(rows: Sequence[Row]) -> str:
    columns, most = _columns(rows), _most(rows)
    head = "".join(f'<th scope="col">{text(title)}</th>' for title in columns)
    body = "".join(
        f'<tr{_kind(row, most)}><th scope="row">{_name(row)}{_facts(row, most)}</th>'
        + "".join(f"<td>{write(row)}</td>" for write in columns.values())
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table class="classes backbones"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _kind(row: Row, most: int) -> str:
    return ' class="chosen"' if row["knee"] else ' class="gone"' if row["samples"] < most else ""


def _facts(row: Row, most: int) -> str:
    """Under the name: parameters, size on disk, licence, engine, and how far it ran where that was not to the end."""
    facts = [f"{many(row['parameters'])} weights"] if row["parameters"] else []
    facts += [size(row["bytes"])] if row["bytes"] else []
    facts += [text(row[key]) for key in ("licence", "engine") if row[key]]
    lines = ["\u00a0\u00b7 ".join(facts), f"let go early: {text(row['let_go'])}" if row["samples"] < most else ""]
    return "".join(f"<small>{line}</small>" for line in lines if line)


def _gone(found: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<li><b>{text(one['backbone'])}</b>: {text(one['reason'])}</li>" for one in found.get("skipped") or ()
    )
    several = any({"h_score", "imagenet"} & set(row["by"]) for row in found["backbones"])
    note = (
        f'<p class="note">Chance best: how often this one is first by {voters(found["backbones"])} together, over '
        f"draws of the samples{' and of how much each of these counts' if several else ''}. "
        "Accuracies are of frozen networks: trained ones may end in another order, above all far from what they were "
        "pretrained on. Times are of this machine: one sample by itself, and in batches how many a second. "
        "To fine-tune is meant in no hurry, with every fold; a budget makes it shorter. "
        "Alike: how sure pretraining\u2019s own classifier is of these samples.</p>"
    )
    return note + (f"<details><summary>Left out</summary><ul>{rows}</ul></details>" if rows else "")
