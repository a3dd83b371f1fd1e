"""Whatever an expression could look at lies at or below a path that it is said to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.control_plane.reads import reads_of
from app.data_plane.expressions import ExpressionError, Scope
from app.kernel.tool_spec import Reads
from interlock.canonical import JsonValue

DECISION = {
    "owner": 'has(snapshot.service.entry.owner) ? snapshot.service.entry.owner : "unowned"',
    "risk": 'stages.risk == null ? "none" : stages.risk.risk',
    "label": "stages.classify.label",
}


@pytest.mark.parametrize(
    ("expression", "paths", "literals"),
    [
        ("event.issue.title", ["event.issue.title"], []),
        ('event["issue"].title', ["event.issue.title"], []),
        ("event['issue'][\"title\"].size()", ["event.issue.title"], []),
        ('event["a.b"].c', ["event"], []),
        ('event["\\x61"].c', ["event"], []),
        ("event[event.which].c", ["event", "event.which"], []),
        ("event.labels[0].name", ["event.labels"], []),
        (".event.a + (true ? .event.b : '')", ["event.a", "event.b"], [""]),
        ("(event).a", ["event"], []),
        ("{'k': event.a}.k + {event.b: 1}[event.c]", ["event.a", "event.b", "event.c"], ["k"]),
        ("event.labels.exists(l, l.name == 'bug' && event.on)", ["event.labels", "event.on"], ["bug"]),
        ("event.labels.filter(l, l.a).map(l, l['b'])", ["event.labels"], []),
        ("[event.a, stages.b].map(x, x.c)", ["event.a", "stages.b"], []),
        ("event.a.exists(event, event.b)", ["event", "event.a", "event.b"], []),
        ("event.title.startsWith('a') && 'b' in event.labels", ["event.labels", "event.title"], ["a", "b"]),
        ('event.a // + event.b "c"\n + event.c', ["event.a", "event.c"], []),
        ('r"""x"b"""+event.a+"c"', ["event.a"], ["c", 'x"b']),
        ('"""a\\""""+event.a+"c"', ["event.a"], ['a"', "c"]),
        ("'it\\'s' + event.a + 'event.b'", ["event.a"], ["event.b", "it's"]),
        ("b'a' == event.a ? r'\\d' : '\\u00e9'", ["event.a"], ["\\d", "é"]),
    ],
)
def test_an_expressions_paths_and_texts_are_told_from_its_text(
    expression: str, paths: list[str], literals: list[str]
) -> None:
    assert reads_of(expression, {}) == Reads(paths=tuple(paths), literals=tuple(literals))


@pytest.mark.parametrize(
    ("expression", "paths"),
    [
        ('event.repository == null ? "" : event.repository.full_name', ["event.repository.full_name"]),
        ("event.a != null && event.a.b", ["event.a.b"]),
        ("has(event.a.b) ? event.a.b.c : 1", ["event.a.b.c"]),
        ("event.a == null", ["event.a"]),
        ("has(event.a.b)", ["event.a.b"]),
        ("event.a == null ? event.a : event.a.b", ["event.a", "event.a.b"]),
        ("event.a + event.b == null ? 1 : event.b.c", ["event.a", "event.b", "event.b.c"]),
        ("event.b == null + 1 ? 1 : event.b.c", ["event.b", "event.b.c"]),
        ("event.b == event.c ? 1 : event.b.c", ["event.b", "event.b.c", "event.c"]),
        ("size(event.b) == null ? 1 : event.b.c", ["event.b", "event.b.c"]),
    ],
)
def test_whether_something_is_there_is_told_by_the_path_below_it_if_there_is_one(
    expression: str, paths: list[str]
) -> None:
    """Else each guard against null would count as reading all that an outsider wrote beside it."""
    assert list(reads_of(expression, {}).paths) == paths


@pytest.mark.parametrize(
    ("expression", "paths", "literals"),
    [
        ("decision.owner", ["snapshot.service.entry.owner"], ["unowned"]),
        ('decision["risk"]', ["stages.risk.risk"], ["none"]),
        (
            "decision.label + decision.risk + event.a",
            ["event.a", "stages.classify.label", "stages.risk.risk"],
            ["none"],
        ),
        (
            "decision[event.a]",
            ["event.a", "snapshot.service.entry.owner", "stages.classify.label", "stages.risk.risk"],
            ["none", "unowned"],
        ),
        ("size(decision) == 1 ? '' : decision.label.size()", None, ["", "none", "unowned"]),
    ],
)
def test_a_field_of_the_decision_stands_for_what_its_own_expression_reads(
    expression: str, paths: list[str] | None, literals: list[str]
) -> None:
    found = reads_of(expression, DECISION)
    all_of_them = ["snapshot.service.entry.owner", "stages.classify.label", "stages.risk.risk"]
    assert list(found.paths) == (all_of_them if paths is None else paths)
    assert list(found.literals) == literals


LEAVES = st.sampled_from(["a", "b", None, 1])


def node(inner: st.SearchStrategy[JsonValue]) -> st.SearchStrategy[JsonValue]:
    """Mostly there, so that most paths lead somewhere."""
    return LEAVES | st.fixed_dictionaries({"a": inner, "b": inner, "c": inner})


TREES = st.fixed_dictionaries({"a": node(node(LEAVES)), "b": node(node(LEAVES)), "k": st.just("a")})
ROOTS = st.sampled_from(["event", "snapshot", "event", "(snapshot)"])
STEPS = st.sampled_from([".a", ".b", '["a"]', "['b']", "[event.k]", '["\\x61"]'])
PATHS = st.builds(lambda root, steps: root + "".join(steps), ROOTS, st.lists(STEPS, min_size=1, max_size=3))
TEXTS = st.sampled_from(["'a'", 'r"""x"b"""', '"""a\\""""', "'event.a'", "'b' // event.b \"\n"])


def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Expressions out of smaller ones, such that most have a value."""
    two, three = st.tuples(inner, inner), st.tuples(inner, inner, inner)
    return st.one_of(
        two.map("[{0[0]}, {0[1]}]".format),
        two.map("({0[0]} == {0[1]})".format),
        two.map("{{'k': {0[0]}, 'l': {0[1]}}}.k".format),
        three.map("({0[0]} == {0[1]} ? {0[2]} : 'no')".format),
        three.map("({0[0]} == null ? {0[1]} : {0[2]})".format),
        three.map("({0[0]} in [{0[1]}] || {0[2]} != null)".format),
        st.tuples(PATHS, inner).map("(has({0[0]}.a) ? {0[1]} : 0)".format),
        st.tuples(PATHS, inner).map("{0[0]}.exists(x, x == {0[1]})".format),
        st.tuples(PATHS, inner).map("[{0[0]}].map(y, [y, {0[1]}])".format),
    )


EXPRESSIONS = st.recursive(PATHS | TEXTS, larger, max_leaves=5)


def leaves(tree: JsonValue, path: str) -> Iterator[str]:
    if isinstance(tree, Mapping) and tree:
        for name, item in tree.items():
            yield from leaves(item, f"{path}.{name}")
    else:
        yield path


def is_read(leaf: str, paths: tuple[str, ...]) -> bool:
    """At, below or above a path that is listed: what is null or empty stands where something could be."""
    return any(f"{leaf}.".startswith(f"{path}.") or f"{path}.".startswith(f"{leaf}.") for path in paths)


def changed(tree: JsonValue, path: str, paths: tuple[str, ...]) -> JsonValue:
    """The tree with another value wherever nothing is said to be read."""
    if isinstance(tree, Mapping) and tree:
        return {name: changed(item, f"{path}.{name}", paths) for name, item in tree.items()}
    return tree if is_read(path, paths) else {"an outsider": "wrote this"}


@settings(max_examples=800, deadline=None)
@given(EXPRESSIONS, TREES, TREES)
def test_what_is_not_listed_makes_no_difference(
    expression: str, event: dict[str, JsonValue], snapshot: dict[str, JsonValue]
) -> None:
    """The property that the gateway rests on: an unlisted value never reaches an argument."""
    paths = reads_of(expression, {}).paths
    other = Scope({"event": changed(event, "event", paths), "snapshot": changed(snapshot, "snapshot", paths)})
    before = Scope({"event": event, "snapshot": snapshot}).evaluate(expression)
    after = other.evaluate(expression)
    # The text of an error may quote a value; it reaches nobody as an argument.
    errors = (isinstance(before, ExpressionError), isinstance(after, ExpressionError))
    assert errors == (True, True) or before == after
