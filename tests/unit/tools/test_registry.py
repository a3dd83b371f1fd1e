"""A name is taken once, whoever takes it; a team's modules are loaded by name, or refused with the reason."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from app.data_plane.tools import check_arguments, find, load_tools, registry, shipped_tools
from app.data_plane.tools.declaring import ToolDeclarationError
from app.data_plane.tools.registry import Registry, ToolModuleError
from app.kernel.errors import NotFoundError
from tests.unit.tools.a_team import find_customer, send_letter

TEAM = "tests.unit.tools.a_team"
CLASHING = """
from app.data_plane.tools import Outgoing, tool
from app.data_plane.tools.shipped import Applied, RecordReference

@tool("aaa.first", version=1, effect="write")
def first(arguments: RecordReference) -> Outgoing[Applied]:
    "Is new."

@tool("reference.record", version=1, effect="write")
def second(arguments: RecordReference) -> Outgoing[Applied]:
    "Is not."
"""


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped tools alone."""
    monkeypatch.setattr(registry, "_registry", Registry(registry._SHIPPED))


def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> str:
    """A module of that text, importable by its name."""
    name = f"made_up_{abs(hash(text))}"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


def test_a_teams_tools_stand_beside_the_shipped_ones() -> None:
    loaded = load_tools([TEAM])
    assert set(loaded) - set(shipped_tools()) == {"customers.find", "letters.send"}
    assert list(loaded) == sorted(loaded)
    assert find("letters.send") is send_letter
    assert "to: Field required" in check_arguments("letters.send", {"text": "x"})


def test_loading_a_module_again_changes_nothing() -> None:
    assert load_tools([TEAM]) == load_tools([TEAM, TEAM])


def test_without_modules_there_are_the_shipped_tools() -> None:
    assert load_tools() == shipped_tools()


def test_a_name_that_is_taken_is_refused_and_nothing_is_taken_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 4: nobody replaces a shipped tool by loading a module."""
    name = module(tmp_path, monkeypatch, CLASHING)
    with pytest.raises(ToolDeclarationError, match=r"'reference\.record' is declared twice"):
        load_tools([name])
    assert load_tools() == shipped_tools()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise RuntimeError('no licence')", "cannot be imported (RuntimeError: no licence)"),
        ("import a_module_that_is_not_there", "ModuleNotFoundError"),
        ("x = 1", "declares no tool"),
    ],
)
def test_a_module_that_is_no_module_of_tools_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, reason: str
) -> None:
    name = module(tmp_path, monkeypatch, text)
    with pytest.raises(ToolModuleError) as refused:
        load_tools([name])
    assert reason in refused.value.what
    assert name in refused.value.what
    assert "INTERLOCK_TOOL_MODULES" in refused.value.remedy


def test_a_wrong_declaration_says_itself_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "from app.data_plane.tools import tool\n@tool('shout', version=1, effect='write')\ndef f(a): 'Shouts.'\n"
    with pytest.raises(ToolDeclarationError, match="'shout' cannot be declared"):
        load_tools([module(tmp_path, monkeypatch, text)])


def test_a_module_that_is_not_there_is_refused() -> None:
    with pytest.raises(ToolModuleError, match=r"'no\.such\.module' cannot be imported"):
        load_tools(["no.such.module"])


def test_a_tool_that_is_not_there_is_an_error_with_those_that_are() -> None:
    with pytest.raises(NotFoundError) as refused:
        find("customers.find")
    assert "directory.lookup" in refused.value.remedy
    assert check_arguments("customers.find", {}) == ["there is no tool customers.find"]
    assert find_customer.name == "customers.find"
