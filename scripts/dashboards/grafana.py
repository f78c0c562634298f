"""A dashboard as Grafana's JSON. Its queries are limited to the namespaces and jobs chosen at its top."""

from __future__ import annotations

import json
import re
from typing import Any

from scripts.dashboards.callers import CALLERS
from scripts.dashboards.operators import OPERATORS
from scripts.dashboards.panels import Panel

__all__ = ["BOARDS", "text"]

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
CHOSEN = 'namespace=~"$namespace", job=~"$job"'
WIDTH = 24  # of Grafana's grid
BOARDS = {
    "callers": ("AltCLIP: callers", "What callers notice.", CALLERS),
    "operators": ("AltCLIP: operators", "What is behind it.", OPERATORS),
}


def text(name: str) -> str:
    """A dashboard as the file holds it."""
    return json.dumps(board(name), indent=1) + "\n"


def limited(query: str) -> str:
    """The query, for the chosen namespaces and jobs alone. Objectives are of no job."""

    def choose(match: re.Match[str]) -> str:
        name, inside = match["name"], (match["inside"] or "").strip()
        if name.startswith(("altclip:objective:", "altclip:threshold:")):
            return match[0]
        return f"{name}{{{', '.join(filter(None, (inside, CHOSEN)))}}}"

    return re.sub(r"\b(?P<name>altclip[_:][a-z0-9_:]+)(?:\{(?P<inside>[^}]*)\})?", choose, query)


def panel(number: int, made: Panel, x: int, y: int) -> dict[str, Any]:
    """As Grafana has it."""
    custom = {"fillOpacity": 20, "stacking": {"mode": "normal"}} if made.stacked else {"fillOpacity": 0}
    options: dict[str, Any] = {
        "legend": {"displayMode": "list", "placement": "bottom"},
        "tooltip": {"mode": "multi"},
    }
    if made.kind == "stat":
        custom = {}
        options = {
            "reduceOptions": {"calcs": ["lastNotNull"]},
            "colorMode": "none",
            "textMode": "value_and_name",
        }
    return {
        "id": number,
        "type": made.kind,
        "title": made.title,
        "description": made.description,
        "datasource": DATASOURCE,
        "gridPos": {"h": 4 if made.kind == "stat" else 8, "w": made.width, "x": x, "y": y},
        "fieldConfig": {"defaults": {"unit": made.unit, "min": 0, "custom": custom}, "overrides": []},
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": DATASOURCE,
                "expr": limited(query),
                "legendFormat": legend,
            }
            for index, (legend, query) in enumerate(made.queries.items())
        ],
    }


def variable(name: str, query: str) -> dict[str, Any]:
    """A choice at the top of the page, of several values; all of them at first."""
    return {
        "name": name,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",  # also where the label is missing
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


def board(name: str) -> dict[str, Any]:
    """A dashboard as Grafana imports it."""
    title, description, rows = BOARDS[name]
    panels: list[dict[str, Any]] = []
    y = 0
    for row in rows:
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "panels": [],
                "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": y},
            }
        )
        y, x, height = y + 1, 0, 0
        for made in row.panels:
            if x + made.width > WIDTH:
                y, x = y + height, 0
            panels.append(panel(len(panels) + 1, made, x, y))
            x, height = x + made.width, panels[-1]["gridPos"]["h"]
        y += height
    return {
        "uid": f"altclip-{name}",
        "title": title,
        "description": description,
        "tags": ["altclip"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus", "current": {}},
                variable("namespace", "label_values(altclip_build_info, namespace)"),
                variable("job", "label_values(altclip_build_info, job)"),
            ]
        },
        "links": [
            {
                "type": "dashboards",
                "title": "AltCLIP",
                "tags": ["altclip"],
                "asDropdown": False,
                "keepTime": True,
            }
        ],
        "panels": panels,
    }
