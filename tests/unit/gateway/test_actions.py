"""Guards: an action's argument is of what its expression reads, and a model's text only where a stage is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.control_plane.compile import compile_release
from app.control_plane.documents import read_documents
from app.data_plane.gateway.provenance import Origin, Provenance, Sources, sources_of, trace_action
from app.data_plane.tools import shipped_tools
from app.kernel.release import Release
from app.kernel.tool_spec import Reads
from interlock.canonical import JsonObject, JsonValue

ROOT = Path(__file__).parents[3]
EVENT: JsonObject = {"repository": {"full_name": "acme/shop"}, "issue": {"title": "It fails", "number": 7}}
OUTCOMES: dict[str, JsonObject | None] = {
    "classify": {"label": "bug", "priority": "p1", "needs_answer": True, "why": "It says so."},
    "answer": None,
}


@pytest.fixture(scope="module")
def release() -> Release:
    """Issue triage; of its events the repository's name is trusted."""
    found = compile_release(read_documents(ROOT / "config"), "issue-triage", 1, shipped_tools())
    template = found.template.model_copy(update={"trusted": ("event.repository.full_name",)})
    reads = {
        "note": {
            "place": Reads(paths=("event.repository.full_name",)),
            "title": Reads(paths=("event.issue.title",)),
            "label": Reads(paths=("stages.classify.label",), literals=("none",)),
            "why": Reads(paths=("stages.classify.why", "event.repository.full_name")),
            "owner": Reads(paths=("snapshot.repository.entry.owner",)),
            "found": Reads(paths=("snapshot.repository.found",)),
            "missing": Reads(paths=("snapshot.repository.entry.nothing",)),
            "fixed": Reads(),
        }
    }
    lookup = found.tools["directory.lookup"].model_copy(update={"trusted": True})
    tools = {**found.tools, "directory.lookup": lookup}
    return found.model_copy(update={"template": template, "reads": reads, "tools": tools})


def traced(release: Release, argument: str, value: JsonValue) -> Provenance:
    snapshot: JsonObject = {"repository": {"found": True, "entry": {"owner": "team blue", "tier": 1}}}
    sources = sources_of(release, EVENT, snapshot, OUTCOMES)
    return trace_action(release, "note", {argument: value}, sources)[argument]


@pytest.mark.parametrize(
    ("argument", "value", "origins"),
    [
        ("place", "acme/shop", {Origin.EVENT}),
        ("place", "in acme/shop", {Origin.EVENT}),
        ("title", "It fails", {Origin.EVENT_TEXT}),
        ("title", "it fails, lowered", {Origin.EVENT_TEXT}),
        ("label", "bug", {Origin.CHOICE}),
        ("label", "none", {Origin.TEMPLATE}),
        ("why", "It says so. (acme/shop)", {Origin.MODEL, Origin.EVENT}),
        ("why", "acme/shop", {Origin.EVENT}),
        ("owner", "team blue", {Origin.LOOKUP}),
        ("found", True, {Origin.LOOKUP}),
        ("missing", "whatever", {Origin.LOOKUP}),
        ("fixed", "as written", {Origin.TEMPLATE}),
        ("fixed", "", {Origin.TEMPLATE}),
        ("unknown", "of no expression", {Origin.MODEL}),
    ],
)
def test_an_argument_is_of_what_its_expression_reads(
    release: Release, argument: str, value: JsonValue, origins: set[Origin]
) -> None:
    assert set(traced(release, argument, value).origins) == origins


def test_what_an_untrusted_lookup_says_is_a_tools_text(release: Release) -> None:
    lookup = release.tools["directory.lookup"].model_copy(update={"trusted": False})
    changed = release.model_copy(update={"tools": {**release.tools, "directory.lookup": lookup}})
    assert traced(changed, "owner", "team blue").origins == (Origin.TOOL_TEXT,)


def test_the_trusted_field_that_a_value_equals_is_named(release: Release) -> None:
    assert traced(release, "place", "acme/shop").fields == ("event.repository.full_name",)


def test_addresses_are_looked_for_where_untrusted_text_may_be(release: Release) -> None:
    assert traced(release, "why", "see www.evil.test/x").unproven == ("www.evil.test/x",)
    assert traced(release, "fixed", "see www.acme.test/x").unproven == ()


def test_an_expression_that_reads_no_stage_holds_no_models_text(release: Release) -> None:
    for argument, reads in release.reads["note"].items():
        if not any(path.startswith("stages.") for path in reads.paths):
            assert Origin.MODEL not in traced(release, argument, "a fresh text of nobody").origins


def test_results_of_a_runs_calls_and_further_texts_are_sources(release: Release) -> None:
    lookup = release.tools["directory.lookup"]
    sources = sources_of(
        release,
        EVENT,
        {},
        {},
        [(lookup, {"found": True, "entry": {}})],
        [(Origin.TEMPLATE, "inputs", "Greet ann")],
    )
    assert sources.trace({"who": "ann"})["who"].fields == ("inputs",)
    assert "greet" in sources.asked


def test_what_nobody_has_seen_is_of_its_root() -> None:
    assert Sources().origins_under("event.a") == frozenset()
