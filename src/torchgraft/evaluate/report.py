"""One self-contained HTML page that says what was found, how sure it is, and what to do next."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import Any

from torchgraft.evaluate._format import count, text
from torchgraft.evaluate._sections import SECTIONS


def render(report: Mapping[str, Any]) -> str:
    """The page for a `report.json` object (schema 1), with `mistakes` and `label_errors` as galleries where given.

    No script runs and nothing is loaded from a network: a content policy in the page forbids both. Every text of the
    data (names, labels, texts, findings) is escaped; a thumbnail is shown only if it is a `data:image/` address. Parts
    whose data is missing or None are left out. The report itself, without thumbnails, is in the page as JSON
    (element `report`).
    """
    template = Template(files("torchgraft.evaluate").joinpath("report.html").read_text(encoding="utf-8"))
    name = report.get("name") or "torchgraft"
    return template.substitute(
        title=text(f"{name}: torchgraft report"),
        about=_about(report),
        body="\n".join(filter(None, (section(report) for section in SECTIONS))),
        json=_json(report),
    )


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
    plain = {
        key: [{k: v for k, v in item.items() if k != "thumbnail"} for item in value or ()]
        if key in ("mistakes", "label_errors")
        else value
        for key, value in report.items()
    }
    written = json.dumps(plain, ensure_ascii=True, default=str)
    return written.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
