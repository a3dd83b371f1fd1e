"""Documents are read strictly: what is wrong is told at once, with its place, and nothing is guessed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.control_plane.documents import read_documents
from app.control_plane.problems import DocumentError, Problem
from app.control_plane.yaml_reader import MAX_BYTES, read_yaml

TEXT = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=40)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def problems_of(folder: Path) -> tuple[Problem, ...]:
    with pytest.raises(DocumentError) as refused:
        read_documents(folder)
    return refused.value.problems


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def test_the_shipped_documents_are_read() -> None:
    documents = read_documents(Path(__file__).parents[3] / "config")
    assert {name for name, _ in documents.workflows} == {"ci-failure", "issue-triage", "security-alert"}
    assert {name for name, _ in documents.providers} == {
        "anthropic",
        "local",
        "openai",
        "scripted",
        "scripted-calls",
    }
    assert documents.tenants["demo", 1].model.reference.collections["repositories"]


@pytest.mark.parametrize(
    "file",
    [
        "workflows/ci-failure/1/workflow.yaml",
        "agents/classifier/1/agent.yaml",
        "providers/scripted/1/provider.yaml",
        "providers/openai/1/provider.yaml",
        "tenants/demo/1/tenant.yaml",
    ],
)
def test_an_unknown_field_is_refused_with_its_document_and_name(folder: Path, file: str) -> None:
    append(folder / file, "colour: blue\n")
    (problem,) = problems_of(folder)
    assert file.startswith(problem.path)
    assert problem.field.endswith("colour")
    assert "unknown" in problem.reason
    assert "Remove it" in problem.remedy


def test_an_unknown_field_deep_inside_is_named_by_its_whole_place(folder: Path) -> None:
    path = folder / "workflows/ci-failure/1/workflow.yaml"
    path.write_text(path.read_text().replace("  - name: record\n", "  - name: record\n    colour: blue\n"))
    (problem,) = problems_of(folder)
    assert problem.field == "actions.0.colour"


def test_a_duplicate_key_is_refused_with_its_line(folder: Path) -> None:
    """YAML readers usually let the last one win: a reviewer sees one value, and the program another."""
    append(folder / "tenants/demo/1/tenant.yaml", "version: 2\n")
    (problem,) = problems_of(folder)
    assert problem.path == "tenants/demo/1/tenant.yaml"
    assert problem.field.startswith("line ")
    assert "'version' is there twice" in problem.reason


def test_a_duplicate_key_deep_inside_is_refused(folder: Path) -> None:
    path = folder / "providers/scripted/1/classifier.yaml"
    path.write_text(path.read_text().replace("{label: security,", "{label: bug, label: security,", 1))
    assert "'label' is there twice" in problems_of(folder)[0].reason


@pytest.mark.parametrize(
    ("old", "new", "field"), [("name: demo", "name: other", "name"), ("version: 1", "version: 2", "version")]
)
def test_a_document_says_the_name_and_version_of_its_folder(
    folder: Path, old: str, new: str, field: str
) -> None:
    path = folder / "tenants/demo/1/tenant.yaml"
    path.write_text(path.read_text().replace(old, new, 1))
    (problem,) = problems_of(folder)
    assert (problem.field, problem.remedy) == (field, "Make the two the same.")


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "agents/classifier/1/instructions.md").unlink()
    assert problems_of(folder)[0].path == "agents/classifier/1/instructions.md"


@pytest.mark.parametrize(
    "file", ["agents/classifier/1/Instructions.md", "agents/stray.yaml", "agents/classifier/one/agent.yaml"]
)
def test_a_file_that_nobody_reads_is_refused(folder: Path, file: str) -> None:
    path = folder / file
    path.parent.mkdir(exist_ok=True)
    path.write_text("x")
    assert len(problems_of(folder)) == 1


def test_a_readme_may_lie_anywhere(folder: Path) -> None:
    for place in ("agents", "agents/classifier", "agents/classifier/1"):
        (folder / place / "README.md").write_text("About.")
    read_documents(folder)


def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    path = folder / "agents/classifier/1/instructions.md"
    (tmp_path / "elsewhere.md").write_text("Obey.")
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere.md")
    assert "leaves the folder" in problems_of(folder)[0].reason


def test_everything_that_is_wrong_is_told_at_once(folder: Path) -> None:
    append(folder / "tenants/demo/1/tenant.yaml", "colour: blue\n")
    append(folder / "agents/classifier/1/agent.yaml", "colour: blue\n")
    (folder / "agents/maintainer/1/instructions.md").unlink()
    assert len(problems_of(folder)) == 3


def test_a_kind_without_a_folder_has_no_documents(folder: Path) -> None:
    shutil.rmtree(folder / "tenants")
    assert read_documents(folder).tenants == {}


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    assert "no such folder" in problems_of(tmp_path / "absent")[0].reason


def test_a_secret_itself_is_refused_where_a_reference_belongs(folder: Path) -> None:
    path = folder / "tenants/demo/1/tenant.yaml"
    path.write_text(path.read_text().replace("secret:demo-signing-key", "hunter2-hunter2"))
    (problem,) = problems_of(folder)
    assert problem.field == "signing_key"
    assert "hunter2" not in str(problem)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"a: [1, 2", "not YAML"),
        (b"a: &x 1\nb: *x", "aliases"),
        (b"a: !!python/object:os.system {}", "not YAML"),
        (b"1: x", "is not text"),
        (b"a: .nan\nb: " + b"[" * 100 + b"]" * 100, "nested deeper"),
        (b"[" * 100_000, "nested deeper"),
        (b"a: \xff", "not UTF-8"),
        (b'a: "\\0"', "NUL"),
        (b'a: "\\ud800"', "surrogate"),
        (b"a: \x07", "not YAML"),
        (b"a: " + b"9" * 5000, "cannot be read"),
        (b"x" * (MAX_BYTES + 1), "larger than"),
    ],
)
def test_what_is_no_document_is_refused_with_a_reason(body: bytes, reason: str) -> None:
    found = read_yaml(body, "some.yaml")
    assert isinstance(found, Problem)
    assert reason in found.reason


def test_plain_words_are_what_json_would_make_of_them() -> None:
    """YAML 1.1 makes a boolean of ``on`` and a date of a day: digests and machines would differ."""
    body = b"[on, yes, 2026-01-02, 012, 1_000, 0x1f, 1:30, ~, .inf, true, null, 7, 1.5, 1e3]"
    expected = [
        "on",
        "yes",
        "2026-01-02",
        "012",
        "1_000",
        "0x1f",
        "1:30",
        "~",
        ".inf",
        True,
        None,
        7,
        1.5,
        1000.0,
    ]
    assert read_yaml(body, "some.yaml") == expected


@given(JSON_VALUES)
def test_every_json_value_is_read_as_itself(value: object) -> None:
    """JSON is YAML, so this reader must agree with the one for JSON."""
    body = json.dumps(value, ensure_ascii=False).encode()
    assert read_yaml(body, "some.yaml") == json.loads(body)
