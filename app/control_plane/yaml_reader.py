"""YAML as documents are written in it: plain JSON values, no duplicate keys, no aliases.

YAML 1.1 reads ``on`` as true, ``2020-01-01`` as a date and ``012`` as ten. Documents are hashed and run on
other machines, so here a plain word is what JSON would make of it, and everything else is text.
"""

from __future__ import annotations

import re
from collections.abc import Hashable

import yaml

from app.control_plane.problems import Problem
from interlock.canonical import JsonValue, NotCanonicalError, canonical_bytes

MAX_BYTES = 1_000_000
MAX_DEPTH = 64
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class _RefusedError(ValueError):
    def __init__(self, line: int, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason
        self.remedy = remedy


class _Loader(yaml.SafeLoader):
    """SafeLoader without YAML 1.1's surprises; its resolvers are set below the class."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _RefusedError(line, "anchors and aliases are not supported", "Write the value out.")
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _RefusedError(line, f"the document is nested deeper than {MAX_DEPTH} levels", "Flatten it.")
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = True) -> dict[Hashable, JsonValue]:
        mapping: dict[Hashable, JsonValue] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=deep)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise _RefusedError(line, f"the key {key!r} is not text", "Put it in quotes.")
            if key in mapping:
                raise _RefusedError(line, f"the key {key!r} is there twice", "Keep one of the two.")
            mapping[key] = self.construct_object(value_node, deep=deep)
        return mapping


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:null", r"^(?:null|)$", ["n", ""]),
    ("tag:yaml.org,2002:bool", r"^(?:true|false)$", ["t", "f"]),
    ("tag:yaml.org,2002:int", r"^-?(?:0|[1-9][0-9]*)$", list("-0123456789")),
    (
        "tag:yaml.org,2002:float",
        r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+(?:[eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)$",
        list("-0123456789"),
    ),
):
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), _first)


def read_yaml(body: bytes, path: str) -> JsonValue | Problem:
    """The JSON value that ``body`` is in YAML, or why it is none; problems name it by ``path``."""
    if len(body) > MAX_BYTES:
        return Problem(path, "", f"the file is larger than {MAX_BYTES} bytes", "Split it.")
    try:
        text = body.decode("utf-8")
        value: JsonValue = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
        if _NUL.search(canonical_bytes(value)):
            return Problem(path, "", "a text has a NUL character", "Remove it.")
    except UnicodeDecodeError as error:
        return Problem(path, "", f"byte {error.start} is not UTF-8", "Save the file as UTF-8.")
    except _RefusedError as refused:
        return Problem(path, f"line {refused.line}", refused.reason, refused.remedy)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f"line {mark.line + 1}" if mark else ""
        return Problem(path, line, f"it is not YAML: {error.problem}", "Correct the syntax.")
    except yaml.YAMLError as error:
        return Problem(path, "", f"it is not YAML: {type(error).__name__}", "Remove unprintable characters.")
    except NotCanonicalError as error:
        return Problem(path, "", f"it is not JSON: {error}", "Use plain JSON values.")
    except ValueError as error:
        # Python refuses integers of more than 4,300 digits in this way.
        return Problem(path, "", f"a value cannot be read: {error}", "Put it in quotes.")
    return value
