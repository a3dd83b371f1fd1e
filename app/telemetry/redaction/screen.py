"""The screen: whether a text can hold anything to redact, in one pass of one automaton.

Nearly every text holds nothing, and is done after it. The automaton is the one of Rust's regex crate, which pydantic
brings: all hints at once, in linear time, at about two nanoseconds a byte; the same in Python's ``re`` takes fifty.
It answers yes or no, so that what was found is then located by the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property

from pydantic_core import SchemaValidator, core_schema

_BEFORE = r"(?:^|[^0-9A-Za-z]|%[0-9A-Fa-f]{2}|\\[ux](?:[0-9A-Fa-f]{2}){1,2})"
"""What stands before a run of characters: also an escape in hex, of JSON, Python or a URL."""


class Screen:
    """Whether a hint is found in a text: one of ``runs`` where a run begins, or one of ``anywhere``."""

    def __init__(self, runs: Iterable[str], anywhere: Iterable[str]) -> None:
        begun = "|".join(runs)
        self._pattern = "|".join((*((f"{_BEFORE}(?:{begun})",) if begun else ()), *anywhere))

    @cached_property
    def _found(self) -> Callable[[str], bool]:
        # Made when it is first asked: most processes suspect nothing.
        return SchemaValidator(core_schema.str_schema(pattern=self._pattern)).isinstance_python

    def suspects(self, text: str) -> bool:
        """True when the rules have to look at ``text``."""
        if text.isascii():
            return self._found(text)
        # A lone surrogate is no text to the automaton, and a secret may stand beside it.
        return self._found(text.encode("utf-8", "replace").decode("utf-8", "replace"))
