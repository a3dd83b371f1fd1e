"""What a dashboard is made of, and how it becomes Grafana's JSON (schema version 39: Grafana 10.4 and later).

A row of panels always fills the whole width; a colour always means the same.
Source: grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

SCHEMA_VERSION = 39
WIDTH = 24
TAG = "interlock"
RUNBOOKS = "dashboards/runbooks"
"""Where the pages are in the checkout; the variable ``runbooks`` says where a team serves them."""

Json = str | int | float | bool | None | Sequence["Json"] | Mapping[str, "Json"]
Unit = Literal["s", "short", "reqps", "percentunit", "none"]

GOOD, BAD, AGAIN, PEOPLE, QUIET = "green", "red", "orange", "purple", "blue"
MEANING: Mapping[str, Sequence[str]] = {
    GOOD: ("done", "confirmed", "completed", "accepted", "granted", "permitted", "closed", "succeeded", "up"),
    BAD: ("failed", "dead_lettered", "refused", "denied", "open", "forced_open", "gave up", "rejected"),
    AGAIN: ("again", "retried", "degraded", "half-open", "duplicate", "fallback", "waiting_for_release"),
    PEOPLE: ("in_doubt", "approval", "awaiting_approval", "in_review", "requested", "waiting"),
    QUIET: ("unrouted", "cancelled", "settled", "expired", "superseded", "running", "started", "received"),
}
"""The colour of each word that a legend may begin with."""
PERCENTILES: Mapping[str, str] = {"p50": "light-blue", "p95": "blue", "p99": "dark-blue"}
_DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
_WORDED = re.compile(r"^(\{\{(outcome|state|status|answer|effect|to)\}\}|[a-z_]+\b)")


@dataclass(frozen=True, slots=True)
class Query:
    """One expression, and how its series are called (``{{label}}`` stands for a label's value)."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture.

    Args:
        description: what is seen, and what to think of it.
        alarming: from which value on it is red.
        alerts: the alerts that watch the same; their runbooks are linked.
        content: Markdown, for the kind ``text``.
    """

    kind: Literal["timeseries", "stat", "text"]
    title: str
    description: str = ""
    queries: tuple[Query, ...] = ()
    unit: Unit = "short"
    alarming: float | None = None
    stacked: bool = False
    alerts: tuple[str, ...] = ()
    content: str = ""

    def as_json(self, number: int, place: Mapping[str, Json]) -> Mapping[str, Json]:
        """The panel with that id at that place."""
        common: dict[str, Json] = {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "gridPos": dict(place),
        }
        if self.kind == "text":
            return common | {"options": {"mode": "markdown", "content": self.content}}
        return common | {
            "datasource": _DATASOURCE,
            "fieldConfig": {"defaults": self._defaults(), "overrides": self._overrides()},
            "links": [
                {"title": f"Runbook: {alert}", "url": f"${{runbooks}}/{alert}.md", "targetBlank": True}
                for alert in self.alerts
            ],
            "options": _SHOWN[self.kind],
            "targets": [
                {
                    "refId": chr(ord("A") + place_of_query),
                    "datasource": _DATASOURCE,
                    "editorMode": "code",
                    "expr": query.expr,
                    "legendFormat": query.legend,
                    "range": True,
                }
                for place_of_query, query in enumerate(self.queries)
            ],
        }

    def _defaults(self) -> Json:
        steps: list[Json] = [{"color": QUIET if self.alarming is None else GOOD, "value": None}]
        if self.alarming is not None:
            steps.append({"color": BAD, "value": self.alarming})
        defaults: dict[str, Json] = {
            "unit": self.unit,
            "min": 0,
            "noValue": "0",
            "thresholds": {"mode": "absolute", "steps": steps},
            "color": {"mode": "thresholds" if self.kind == "stat" else "palette-classic"},
        }
        if self.kind == "timeseries":
            defaults["custom"] = {
                "drawStyle": "line",
                "lineWidth": 1,
                "fillOpacity": 30 if self.stacked else 10,
                "showPoints": "never",
                "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
                "thresholdsStyle": {"mode": "off" if self.alarming is None else "dashed"},
            }
        return defaults

    def _overrides(self) -> list[Json]:
        """The colours of what a legend begins with, where it begins with such words."""
        if self.kind == "stat" or not any(_WORDED.match(query.legend) for query in self.queries):
            return []
        words = {f"/^({'|'.join(words)})\\b/": colour for colour, words in MEANING.items()}
        percentiles = {f"/^{name}\\b/": colour for name, colour in PERCENTILES.items()}
        timed = any(query.legend.startswith(tuple(PERCENTILES)) for query in self.queries)
        return [
            {
                "matcher": {"id": "byRegexp", "options": pattern},
                "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
            }
            for pattern, colour in (percentiles if timed else words).items()
        ]


_SHOWN: Mapping[str, Json] = {
    "timeseries": {
        "legend": {
            "showLegend": True,
            "displayMode": "table",
            "placement": "bottom",
            "calcs": ["lastNotNull", "max"],
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "colorMode": "value",
        "graphMode": "area",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    },
}


@dataclass(frozen=True, slots=True)
class Row:
    """Panels of one width side by side, under a heading; their number divides 24."""

    title: str
    panels: tuple[Panel, ...]
    height: int = 8


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the top of a dashboard: all values of one label."""

    name: str
    label: str
    metric: str
    of: str

    def as_json(self) -> Json:
        """Several may be chosen; at first all are."""
        query = f"label_values({self.metric}, {self.of})"
        return {
            "name": self.name,
            "label": self.label,
            "type": "query",
            "datasource": _DATASOURCE,
            "definition": query,
            "query": {"query": query, "refId": "values", "qryType": 1},
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
            "options": [],
            "hide": 0,
        }


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One page; ``name`` is its file's and the end of its address."""

    name: str
    title: str
    description: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = ()

    def text(self) -> str:
        """The file's text: a panel is a line, so that a diff names the panels that changed."""
        whole = self.as_json()
        lines = [f"  {json.dumps(key)}: {_spread(value)}" for key, value in whole.items()]
        return "{\n" + ",\n".join(lines) + "\n}\n"

    def as_json(self) -> Mapping[str, Json]:
        """As Grafana imports it and provisioning reads it."""
        return {
            "uid": f"{TAG}-{self.name.replace('_', '-')}",
            "title": f"Interlock / {self.title}",
            "description": self.description,
            "tags": [TAG],
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": True,
            "graphTooltip": 1,
            "fiscalYearStartMonth": 0,
            "time": {"from": "now-1h", "to": "now"},
            "timepicker": {},
            "timezone": "browser",
            "refresh": "30s",
            "annotations": {"list": [_ALERTS]},
            "links": [_OTHERS],
            "templating": {
                "list": [_SOURCES, _RUNBOOKS, *(variable.as_json() for variable in self.variables)]
            },
            "panels": self._panels(),
        }

    def _panels(self) -> list[Json]:
        panels: list[Json] = []
        line = 0
        for row in self.rows:
            place = {"h": 1, "w": WIDTH, "x": 0, "y": line}
            heading: Json = {
                "id": len(panels) + 1,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": place,
                "panels": [],
            }
            panels.append(heading)
            width = WIDTH // len(row.panels)
            for column, panel in enumerate(row.panels):
                at = {"h": row.height, "w": width, "x": column * width, "y": line + 1}
                panels.append(panel.as_json(len(panels) + 1, at))
            line += 1 + row.height
        return panels


def _spread(value: Json) -> str:
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        return json.dumps(value)
    return "[\n" + ",\n".join(f"    {json.dumps(item)}" for item in value) + "\n  ]"


_SOURCES: Json = {
    "name": "datasource",
    "label": "Prometheus",
    "type": "datasource",
    "query": "prometheus",
    "refresh": 1,
    "multi": False,
    "includeAll": False,
    "current": {},
    "options": [],
    "hide": 0,
}
_RUNBOOKS: Json = {
    "name": "runbooks",
    "label": "Address of the runbooks",
    "type": "textbox",
    "query": RUNBOOKS,
    "current": {"selected": True, "text": RUNBOOKS, "value": RUNBOOKS},
    "options": [{"selected": True, "text": RUNBOOKS, "value": RUNBOOKS}],
    "hide": 0,
}
_ALERTS: Json = {
    "name": "Alerts",
    "datasource": _DATASOURCE,
    "enable": True,
    "iconColor": BAD,
    "expr": 'ALERTS{alertstate="firing"}',
    "titleFormat": "{{alertname}}",
    "textFormat": "{{queue}} {{workflow}} {{target}} {{provider}}",
    "step": "30s",
}
_OTHERS: Json = {
    "title": "Interlock",
    "type": "dashboards",
    "tags": [TAG],
    "asDropdown": True,
    "keepTime": True,
    "includeVars": True,
    "targetBlank": False,
    "icon": "external link",
    "tooltip": "",
    "url": "",
}
