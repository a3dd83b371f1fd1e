"""The tools that this process knows, by name: the shipped ones, and those of a team's own modules.

A tool is known by standing in a module of tools, whatever the variable is called. Each process loads the modules that
its settings name, before it publishes or runs anything.
"""

from __future__ import annotations

import importlib
import json
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType, ModuleType
from typing import get_args

from pydantic import BaseModel, ValidationError
from pydantic_core.core_schema import ErrorType

from app.data_plane.tools import shipped
from app.data_plane.tools.declaring import Arguments, Tool, ToolDeclarationError
from app.kernel.errors import NotFoundError, PermanentError
from app.kernel.tool_spec import ToolSpec
from interlock.canonical import JsonObject


class ToolModuleError(PermanentError):
    """A module of tools cannot be used."""

    code = "invalid_tool_module"


class Registry:
    """Tools by name. A name is taken once: the same tool again changes nothing, another one is refused."""

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        self._tools: Mapping[str, Tool] = {}
        self._specs: Mapping[str, ToolSpec] = {}
        self._lock = threading.Lock()
        self.add(tools)

    def add(self, tools: Iterable[Tool]) -> None:
        """Take in tools, all or none. Raises ToolDeclarationError: another tool has the name already."""
        with self._lock:
            known = dict(self._tools)
            for tool in tools:
                if known.setdefault(tool.name, tool) is not tool:
                    raise ToolDeclarationError(
                        f"The tool {tool.name!r} is declared twice.", "Give one of the two another name."
                    )
            specs = {name: self._specs.get(name) or tool.spec() for name, tool in sorted(known.items())}
            # Replaced and never changed: other threads read without the lock.
            self._tools, self._specs = known, MappingProxyType(specs)

    def find(self, name: str) -> Tool:
        """The tool of that name. Raises NotFoundError."""
        tool = self._tools.get(name)
        if tool is None:
            known = ", ".join(sorted(self._tools))
            raise NotFoundError(f"There is no tool {name!r}.", f"Name one of {known}.")
        return tool

    def specs(self) -> Mapping[str, ToolSpec]:
        """The contracts of all tools, sorted by name."""
        return self._specs


def tools_in(module: ModuleType) -> list[Tool]:
    """The tools that a module holds, each once, in the order of its variables."""
    found: list[Tool] = []
    for value in vars(module).values():
        if isinstance(value, Tool) and not any(value is one for one in found):
            found.append(value)
    return found


_SHIPPED = tuple(tools_in(shipped))
_registry = Registry(_SHIPPED)


def shipped_tools() -> Mapping[str, ToolSpec]:
    """The contracts of the shipped tools alone, by name."""
    return MappingProxyType({tool.name: _registry.specs()[tool.name] for tool in _SHIPPED})


def load_tools(modules: Sequence[str] = ()) -> Mapping[str, ToolSpec]:
    """The contracts of all tools that this process knows, those of ``modules`` among them: what compiles and runs.

    Loading a module again changes nothing.

    Raises:
        ToolModuleError: a module cannot be imported, or declares no tool.
        ToolDeclarationError: a tool is declared wrongly, or has a name that is taken.
    """
    for name in modules:
        declared = tools_in(_imported(name))
        if not declared:
            raise ToolModuleError(
                f"The module {name!r} declares no tool.",
                "Decorate a function in it with `tool(...)`, or take it out of INTERLOCK_TOOL_MODULES.",
            )
        _registry.add(declared)
    return _registry.specs()


def find(name: str) -> Tool:
    """The tool of that name. Raises NotFoundError."""
    return _registry.find(name)


def input_model(name: str) -> type[BaseModel]:
    """The model that validates a tool's arguments. Raises NotFoundError."""
    return find(name).arguments


def output_model(name: str) -> type[BaseModel]:
    """The model that reads a tool's answer. Raises NotFoundError."""
    return find(name).result


def check_arguments(name: str, arguments: JsonObject) -> list[str]:
    """What keeps these arguments from being the tool's, a clause each without their values."""
    try:
        tool = find(name)
    except NotFoundError:
        return [f"there is no tool {name}"]
    checked = validated(tool, arguments)
    return checked if isinstance(checked, list) else []


def validated(tool: Tool, arguments: JsonObject) -> Arguments | list[str]:
    """The arguments as the tool's function takes them, or what keeps them from being that, without their values."""
    try:
        # As JSON text: from Python's values a strict model takes no text for a date and no list for a tuple. And not
        # as canonical text, where 1.0 is 1: what was not a whole number must not become one on the way.
        return tool.arguments.model_validate_json(json.dumps(arguments, allow_nan=False, default=dict))
    except ValidationError as error:
        return clauses(error)
    except (TypeError, ValueError) as error:
        return [f"they are not JSON ({type(error).__name__})"]


def clauses(error: ValidationError) -> list[str]:
    """What a validator says, a clause for each fault, without the value that it is about.

    A validator of a team's own may quote the value in its error, and a member's name may be somebody's text.
    """
    return [
        f"{'.'.join(_part(part) for part in fault['loc'])}: {fault['msg'] if fault['type'] in _PLAIN else _REFUSED}"
        for fault in error.errors(include_url=False, include_input=False)
    ]


_PLAIN = frozenset(get_args(ErrorType)) - {
    "value_error",
    "assertion_error",
    "union_tag_invalid",
    "uuid_parsing",
    "url_parsing",
    "url_syntax_violation",
}
"""The faults whose words hold nothing of the value."""
_REFUSED = "a rule of the tool's own refuses it"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")


def _part(part: str | int) -> str:
    return (
        part
        if isinstance(part, str) and _NAME.fullmatch(part)
        else "*"
        if isinstance(part, str)
        else str(part)
    )


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ToolDeclarationError:
        raise
    except Exception as error:
        # A team's module may raise anything while it is imported; which module it was is what helps.
        raise ToolModuleError(
            f"The module of tools {name!r} cannot be imported ({type(error).__name__}: {error}).",
            "See that it is on PYTHONPATH and imports by itself, or correct INTERLOCK_TOOL_MODULES.",
        ) from error
