"""Runs sets of cases through a reader and counts what was recovered, what came out wrong and what was rejected."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from app.data_plane.parsing.answer import Parsed, read, read_as

ROOT = Path(__file__).parents[3]
DEVELOPMENT_SET = ROOT.parent / "shared" / "data" / "parsing" / "cases.jsonl"
UNTYPED_SET = Path(__file__).with_name("untyped_cases.jsonl")
TYPED_SET = Path(__file__).with_name("typed_cases.jsonl")
REJECTED = object()
"""What a reader gives for an answer that it rejects, and what a case expects that has to be rejected."""


@dataclass(frozen=True)
class Case:
    """One answer and what it should give."""

    id: str
    text: str
    expected: Any
    schema: dict[str, Any] | None = None
    path: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the standard parser reads it."""
        try:
            json.loads(self.text)
        except ValueError:
            return False
        return True


@dataclass
class Score:
    """How a reader did on a set."""

    recovered: int = 0
    wrong: list[str] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many cases there were."""
        return self.recovered + len(self.wrong) + len(self.rejected)

    def __str__(self) -> str:
        def share(count: int) -> str:
            return f"{count / max(self.total, 1):.1%}"

        return (
            f"{self.total} cases: {share(self.recovered)} recovered, {share(len(self.wrong))} wrong, "
            f"{share(len(self.rejected))} rejected"
        )


def development_set() -> list[Case]:
    """The shared set; without it the test that asks for it is skipped, and in CI it fails."""
    if not DEVELOPMENT_SET.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{DEVELOPMENT_SET} is not there")
        pytest.skip(f"{DEVELOPMENT_SET} is not there")
    return [
        Case(told["id"], told["text"], REJECTED if told.get("expect_error") else told.get("expect"))
        for told in map(json.loads, DEVELOPMENT_SET.read_text().splitlines())
    ]


def typed_set() -> list[Case]:
    """Our own set: answers with the schema that asks for them."""
    return [
        Case(
            told["id"],
            told["text"],
            told.get("expect", REJECTED),
            told["schema"],
            told.get("expect_rejection"),
        )
        for told in map(json.loads, TYPED_SET.read_text().splitlines())
    ]


def untyped_set() -> list[Case]:
    """Our own set without schemas; what expects nothing has to be rejected."""
    return [
        Case(told["id"], told["text"], told.get("expect", REJECTED))
        for told in map(json.loads, UNTYPED_SET.read_text().splitlines())
    ]


def outcome(case: Case) -> Any:
    """What our reader makes of a case."""
    found = read(case.text) if case.schema is None else read_as(case.text, case.schema)
    return found.value if isinstance(found, Parsed) else REJECTED


def equal(left: Any, right: Any) -> bool:
    """Whether two values are the same JSON, in which 1 is 1.0, and is not true."""
    if left is REJECTED or right is REJECTED:
        return left is right
    return bool(left == right) and json.dumps(_shape(left)) == json.dumps(_shape(right))


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shape(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_shape(item) for item in value]
    return isinstance(value, bool)


def score(cases: Iterable[Case], reader: Callable[[Case], Any] = outcome) -> Score:
    """Read all cases and count."""
    counted = Score()
    for case in cases:
        found = reader(case)
        if equal(found, case.expected):
            counted.recovered += 1
        elif found is REJECTED:
            counted.rejected.append(case.id)
        else:
            counted.wrong.append(case.id)
    return counted
