"""One self-contained HTML page that says what was found, how sure it is, and what to do next."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import Any

from torchgraft.evaluate._format import count, duration, text
from torchgraft.evaluate._gallery import EMBEDDED, without_thumbnails
from torchgraft.evaluate._sections import SECTIONS

REFRESH = 5
"""Seconds between two loads of the page of a run that is under way."""


def render(report: Mapping[str, Any]) -> str:
    """The page for a `report.json` object (schema 1), with `pictures`, `mistakes` and `label_errors` where given.

    Numbers are of the metric that `primary` names (`{"metric": its key, "title": its name}`), else of accuracy.
    `pictures`: `[{"id", "note", "pictures": [{"title", "thumbnail"}]}]`, in the colours of `legend`:
    `[{"class", "colour": three numbers in 0..255}]`. `test`, or where there is none `held_out`: as `score` or
    `overlap_score` gives them.

    No script runs and nothing is loaded from a network: a content policy in the page forbids both. Every text of the
    data (names, labels, texts, findings) is escaped; a thumbnail is shown only if it is a `data:image/` address. Parts
    whose data is missing or None are left out. The report itself, without thumbnails, is in the page as JSON
    (element `report`).

    The page of a run under way has `running`: `{"what": words, "seconds": since the start, "at": clock time in words,
    "history": the training under way, see `train.History.to_dict`}`, each of them as far as it is known. It has a
    banner and loads itself again and again; with `running["ended"]`, why the run ended, it no longer does.
    """
    template = Template(files("torchgraft.evaluate").joinpath("report.html").read_text(encoding="utf-8"))
    name = report.get("name") or "torchgraft"
    return template.substitute(
        title=text(f"{name}: torchgraft report"),
        refresh=_refresh(report),
        banner=_banner(report),
        about=_about(report),
        body="\n".join(filter(None, (section(report) for section in SECTIONS))),
        json=_json(report),
    )


def finite(value: Any) -> Any:
    """A JSON value in which numbers that JSON has no word for (NaN, Inf) are None."""
    if isinstance(value, Mapping):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _refresh(report: Mapping[str, Any]) -> str:
    running = report.get("running") or {}
    return f'<meta http-equiv="refresh" content="{REFRESH}">\n' if running and not running.get("ended") else ""


def _banner(report: Mapping[str, Any]) -> str:
    """That the run is under way, with what; or why it ended before it was done."""
    running = report.get("running") or {}
    if not running:
        return ""
    state = "Ended before it was done" if running.get("ended") else "Running"
    what = running.get("ended") or running.get("what") or ""
    facts = [f"{duration(running['seconds'])} so far"] if running.get("seconds") is not None else []
    facts += [f"written at {text(running['at'])}"] if running.get("at") else []
    words = f"<b>{state}</b>" + (f" <span>{text(what)}</span>" if what else "")
    small = f"<small>{', '.join(facts)}</small>" if facts else ""
    return f'<div class="running{" ended" if running.get("ended") else ""}" role="status">{words}{small}</div>\n'


def _about(report: Mapping[str, Any]) -> str:
    """The line above the verdict: what the run was about."""
    data = report.get("data") or {}
    facts = [f"<b>{text(report.get('name') or 'report')}</b>"]
    if data.get("counts"):
        noun = {"image": "photo", "text": "text"}.get(data.get("modality", ""), "sample")
        facts.append(count(sum(data["counts"].values()), noun))
    if data.get("classes"):
        facts.append(count(len(data["classes"]), "class", "classes"))
    return " \u00b7 ".join(facts)


def _json(report: Mapping[str, Any]) -> str:
    """JSON that can stand inside a script element: nothing in it can end the element."""
    plain = {key: without_thumbnails(value) if key in EMBEDDED else value for key, value in report.items()}
    written = json.dumps(finite(plain), ensure_ascii=True, default=str)
    return written.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
