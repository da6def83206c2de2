"""Samples to look at: scenes beside their answers, the worst mistakes, labels that are likely wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torchgraft.evaluate._format import clip, percent, section, swatch, text
from torchgraft.evaluate._measures import Report

EMBEDDED = ("pictures", "mistakes", "label_errors")
"""Parts of a report that hold thumbnails."""


def without_thumbnails(value: Any) -> Any:
    """The same lists and objects, but for what is called `thumbnail`."""
    if isinstance(value, Mapping):
        return {key: without_thumbnails(one) for key, one in value.items() if key != "thumbnail"}
    return [without_thumbnails(one) for one in value] if isinstance(value, list | tuple) else value


def pictures(report: Report) -> str:
    """Whole scenes, a row of pictures each, with the legend of their colours."""
    rows = "".join(_scene(one) for one in report.get("pictures") or ())
    if not rows:
        return ""
    lead = (
        "Nothing of the truth of these scenes is known: the last picture of a row shows in orange what is answered "
        "otherwise than by the source alone."
        if report.get("domains")
        else "The worst scenes first, then some from the middle, then the best. In the last picture of a row orange "
        "pixels are wrong; white ones have no label."
    )
    names = "".join(
        f"<li>{swatch(one.get('colour'))}{clip(one.get('class', ''), 40)}</li>" for one in report.get("legend") or ()
    )
    legend = f'<ul class="legend">{names}</ul>' if names else ""
    return section("pictures", "What it sees", f'<p class="lead">{lead}</p>{legend}<div class="scenes">{rows}</div>')


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


def _scene(scene: Mapping[str, Any]) -> str:
    """One scene; nothing where none of its pictures can be shown."""
    name = str(scene.get("id", ""))
    shown = [
        f'<figure><img src="{text(one["thumbnail"])}" alt="{text(name)}: {text(one.get("title", ""))}" loading="lazy">'
        f"<figcaption>{clip(one.get('title', ''), 40)}</figcaption></figure>"
        for one in scene.get("pictures") or ()
        if _is_picture(one.get("thumbnail"))
    ]
    if not shown:
        return ""
    head = f'<p><b>{clip(scene.get("note", ""), 80)}</b> <small title="{text(name)}">{clip(name, 80)}</small></p>'
    return f'<div class="scene">{head}<div class="views">{"".join(shown)}</div></div>'


def _card(item: Mapping[str, Any], first: str, second: str) -> str:
    if _is_picture(item.get("thumbnail")):
        body = f'<img src="{text(item["thumbnail"])}" alt="{text(item["id"])}" loading="lazy">'
    else:
        body = f"<blockquote>{clip(item['text'], 400)}</blockquote>" if item.get("text") else ""
    sure = percent(item["confidence"], 0)
    return (
        f'<figure class="card">{body}<figcaption><span class="sure">{sure}</span>{first}<br>{second}'
        f'<small title="{text(item["id"])}">{clip(item["id"], 60)}</small></figcaption></figure>'
    )


def _is_picture(address: Any) -> bool:
    """Whether it is in the page itself: nothing is ever loaded."""
    return str(address or "").startswith("data:image/")
