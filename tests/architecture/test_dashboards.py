"""The dashboards are what config/grafana makes, have the shape that Grafana reads, and name only what is measured.

Grafana itself is not needed: its documented model of a dashboard is checked, field by field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.data_plane.ports import Queue
from app.telemetry import metric_names
from config import grafana
from config.grafana import __main__ as writing
from config.grafana.panels import MEANING, SCHEMA_VERSION, WIDTH
from config.settings import CHECKOUT
from tests.prometheus import RULES, promtool, rules, substituted

FOLDER = writing.FOLDER
RUNBOOKS = FOLDER.parent / "runbooks"
FILES = sorted(FOLDER.glob("*.json"))
NAMES = {value for name, value in vars(metric_names).items() if name.isupper()}
OTHERS = {"up", "ALERTS"}
"""What Prometheus itself makes."""
_METRIC = re.compile(r"\b(?:interlock|celery|gen_ai_client)_[a-z0-9_]+|[a-z_]+:[a-z0-9_:]+")
_SUFFIX = re.compile(r"_(bucket|count|sum)$")
_BUILT_IN = {"__rate_interval", "__range"}

Json = dict[str, Any]


def loaded(file: Path) -> Json:
    """The file's content."""
    found: Json = json.loads(file.read_text())
    return found


def panels_of(dashboard: Json) -> list[Json]:
    """Those that show something."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def variables_of(dashboard: Json) -> list[str]:
    """The names that stand at the top, the longest first."""
    return sorted((one["name"] for one in dashboard["templating"]["list"]), key=len, reverse=True)


def expressions(dashboard: Json) -> Iterator[tuple[str, str]]:
    """Where each expression is, and what it is."""
    for note in dashboard["annotations"]["list"]:
        yield f"annotation {note['name']}", note["expr"]
    for panel in panels_of(dashboard):
        for target in panel.get("targets", ()):
            yield f"{panel['title']} {target['refId']}", target["expr"]


def unknown_metrics(expr: str) -> set[str]:
    """The metrics of an expression that nobody makes."""
    made = NAMES | {rule.name for rule in rules() if not rule.is_alert}
    words = re.sub(r'"[^"]*"', '""', expr)
    return {name for name in _METRIC.findall(words) if name not in made and _SUFFIX.sub("", name) not in made}


def test_the_files_are_what_the_module_makes() -> None:
    """`make dashboards` writes them again."""
    made = {f"{dashboard.name}.json": dashboard.text() for dashboard in grafana.dashboards()}
    assert {file.name: file.read_text() for file in FILES} == made


def test_there_is_an_overview_and_a_page_for_each_stage() -> None:
    """Ids and titles are Grafana's keys for them."""
    dashboards = [loaded(file) for file in FILES]
    assert {file.stem for file in FILES} == {
        *("overview", "ingestion", "orchestration", "agent_runs", "aggregation", "dispatch"),
        "replay_and_dead_letters",
    }
    assert len({one["uid"] for one in dashboards}) == len({one["title"] for one in dashboards}) == 7


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_file_has_what_grafana_reads(file: Path) -> None:
    """The top of the model, its variables and its annotations."""
    dashboard = loaded(file)
    assert dashboard["schemaVersion"] == SCHEMA_VERSION
    assert len(dashboard["uid"]) <= 40
    assert dashboard["time"] == {"from": "now-1h", "to": "now"}
    assert dashboard["refresh"] == "30s"
    assert "id" not in dashboard, "an id is the installation's own"
    names = [one["name"] for one in dashboard["templating"]["list"]]
    assert names[:2] == ["datasource", "runbooks"]
    assert len(names) == len(set(names))
    source = dashboard["templating"]["list"][0]
    assert (source["type"], source["query"]) == ("datasource", "prometheus")
    for one in dashboard["templating"]["list"][2:]:
        assert one["type"] == "query"
        metric = re.fullmatch(r"label_values\((\w+), \w+\)", one["query"]["query"])
        assert metric is not None
        assert unknown_metrics(metric[1]) == set()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_panel_shows_something_and_says_what(file: Path) -> None:
    """A title in sentence case, a description, a unit, an expression, a legend; ids are unique."""
    dashboard = loaded(file)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    titles = [panel["title"] for panel in panels_of(dashboard)]
    assert len(titles) == len(set(titles)), "two panels of a page have one title"
    for panel in dashboard["panels"]:
        words = panel["title"].split()
        assert words[0][0].isupper()
        assert all(word[0].islower() or word in {"Redis"} for word in words[1:]), panel["title"]
    for panel in panels_of(dashboard):
        if panel["type"] == "text":
            assert panel["options"]["content"]
            continue
        assert panel["type"] in {"timeseries", "stat"}
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"]
        assert [target["refId"] for target in panel["targets"]] == sorted(
            {target["refId"] for target in panel["targets"]}
        )
        for target in panel["targets"]:
            assert target["expr"].strip()
            assert target["legendFormat"].strip()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_panels_fill_whole_rows_and_none_lies_on_another(file: Path) -> None:
    """Every cell of the grid from the first line to the last belongs to exactly one panel."""
    cells: set[tuple[int, int]] = set()
    for panel in loaded(file)["panels"]:
        place = panel["gridPos"]
        own = {
            (place["x"] + column, place["y"] + line)
            for column in range(place["w"])
            for line in range(place["h"])
        }
        assert not cells & own, panel["title"]
        cells |= own
    last = max(line for _, line in cells)
    assert cells == {(column, line) for column in range(WIDTH) for line in range(last + 1)}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_name_in_an_expression_is_known(file: Path) -> None:
    """Metrics are those of metric_names, variables those at the top, and each variable is used."""
    dashboard = loaded(file)
    known = set(variables_of(dashboard))
    used: set[str] = set()
    for where, expr in expressions(dashboard):
        assert unknown_metrics(expr) == set(), where
        used |= set(re.findall(r"\$\{?(\w+)", expr))
    assert used <= known | _BUILT_IN
    assert known - {"datasource", "runbooks"} <= used


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_legend_names_labels_that_its_expression_keeps(file: Path) -> None:
    """A label that was summed away would be an empty word."""
    for panel in panels_of(loaded(file)):
        for target in panel.get("targets", ()):
            kept = {
                label.strip()
                for labels in re.findall(r"by \(([^)]*)\)", target["expr"])
                for label in labels.split(",")
            }
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= kept, panel["title"]


def test_every_matcher_names_a_label_that_the_metric_has() -> None:
    """As docs/metrics.md lists them; a wrong one would match nothing, or everything."""
    table = re.findall(
        r"^\| `(\w+)` \| ([\w, ]*) ?\|", (CHECKOUT / "docs" / "metrics.md").read_text(), re.MULTILINE
    )
    labels = {name: {one.strip() for one in listed.split(",")} for name, listed in table}
    assert labels.keys() == NAMES
    told = [expr for file in FILES for _, expr in expressions(loaded(file))] + [rule.expr for rule in rules()]
    for expr in told:
        for name, matchers in re.findall(r"(\w+)\{([^}]*)\}", expr):
            if name not in OTHERS:
                matched = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
                assert matched <= labels[_SUFFIX.sub("", name)], expr


def test_every_stage_shows_rate_errors_duration_and_its_queue() -> None:
    """RED and age for every stage whose work is steps; ingestion's waits in Redis."""
    for page, queue in {
        "orchestration": Queue.ORCHESTRATION,
        "agent_runs": Queue.AGENT_RUNS,
        "aggregation": Queue.AGGREGATION,
        "dispatch": Queue.DISPATCH,
        "replay_and_dead_letters": Queue.REPLAY,
    }.items():
        told = " ".join(expr for _, expr in expressions(loaded(FOLDER / f"{page}.json")))
        for name in (
            *(metric_names.STEPS, f"{metric_names.STEP_DURATION}_bucket", metric_names.QUEUE_AGE),
            *(metric_names.QUEUE_DEPTH, f"{metric_names.STEP_WAIT}_bucket"),
        ):
            assert f'{name}{{queue="{queue.value}"' in told, f"{page}: {name}"
    told = " ".join(expr for _, expr in expressions(loaded(FOLDER / "ingestion.json")))
    assert all(
        name in told
        for name in (metric_names.EVENTS, metric_names.INGESTION_DURATION, metric_names.QUEUE_LENGTH)
    )


def test_every_metric_is_on_a_dashboard() -> None:
    """What nobody looks at need not be measured."""
    told = " ".join(expr for file in FILES for _, expr in expressions(loaded(file)))
    told += " ".join(rule.expr for rule in rules())
    assert {name for name in NAMES if name not in told} == set()


def test_a_word_has_one_colour() -> None:
    """And a colour one meaning."""
    words = [word for words in MEANING.values() for word in words]
    assert len(words) == len(set(words))


def test_every_link_to_a_runbook_leads_to_a_page() -> None:
    """The variable says where the folder is served; the names are ours."""
    links = {
        link["url"] for file in FILES for panel in panels_of(loaded(file)) for link in panel.get("links", ())
    }
    assert links
    for url in links:
        assert url.startswith("${runbooks}/")
        assert (RUNBOOKS / url.removeprefix("${runbooks}/")).is_file(), url


def test_every_expression_parses(tmp_path: Path) -> None:
    """Of all dashboards at once: promtool reads them as recorded series."""
    found = [
        substituted(expr, variables_of(dashboard))
        for dashboard in map(loaded, FILES)
        for _, expr in expressions(dashboard)
    ]
    series = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(found)]
    wrapped = tmp_path / "panels.yml"
    wrapped.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": series}]}))
    checked = promtool("check", "rules", wrapped)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(found)} rules found" in checked.stdout
    assert len(found) > 100


def test_rules_and_the_example_configuration_are_valid() -> None:
    """As promtool reads them."""
    for arguments in (
        ("check", "rules", RULES / "recording.yml", RULES / "alerts.yml"),
        ("check", "config", RULES / "prometheus.yml"),
    ):
        checked = promtool(*arguments)
        assert checked.returncode == 0, checked.stdout + checked.stderr
