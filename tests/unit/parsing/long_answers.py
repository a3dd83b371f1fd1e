"""Long answers as models write them, 10 KB to 1 MB, made the same on every machine, with the value each holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

SIZES = (10_000, 100_000, 1_000_000)

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "summary": {"type": "string"},
        "findings": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "file": {"type": "string"},
                    "line": {"type": "integer", "minimum": 1},
                    "severity": {"type": "string", "enum": ["critical", "high", "medium", "low"]},
                    "why": {"type": "string"},
                    "labels": {"type": "array", "items": {"type": "string"}},
                    "confirmed": {"type": "boolean"},
                    "score": {"type": ["number", "null"]},
                },
                "required": ["file", "line", "severity", "why"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["summary", "findings"],
    "additionalProperties": False,
}

_TEXT = """
the request handler reads a path that the caller controls and joins it to the root of the store without a check so that
a client may leave the folder; a test covers the plain case but not the encoded one (see RFC 3986, §2.1). It's reached
from /api/v2/files/{id}, which needs no session; don't ship it: fix first, then release — naïve callers get [403]
instead of 200, as in {"status": 403}
"""
_WORDS = _TEXT.split()


@dataclass(frozen=True)
class LongAnswer:
    """One answer, the value that it holds, and whether that is all there is to it."""

    name: str
    text: str
    value: Any


def _sentence(random: Random, words: int) -> str:
    return " ".join(random.choice(_WORDS) for _ in range(words))


def _finding(random: Random) -> dict[str, Any]:
    return {
        "file": f"src/{random.choice(('api', 'store', 'web'))}/module_{random.randrange(500)}.py",
        "line": random.randrange(1, 4000),
        "severity": random.choice(("critical", "high", "medium", "low")),
        "why": _sentence(random, random.randrange(8, 60)),
        "labels": random.sample(["bug", "security", "docs", "needs-info", "p1"], random.randrange(4)),
        "confirmed": random.random() < 0.5,
        "score": random.choice((None, 1, 7.5, 0.25)),
    }


def value_of(size: int, seed: int = 7) -> dict[str, Any]:
    """A review whose JSON has about ``size`` characters."""
    random = Random(seed)
    findings: list[dict[str, Any]] = []
    written = 0
    while written < size:
        findings.append(_finding(random))
        written += len(json.dumps(findings[-1], indent=2)) + 40
    return {"summary": _sentence(random, 40), "findings": findings}


def _python(value: Any) -> str:
    return repr(value)


def _script(value: Any) -> str:
    text = json.dumps(value, indent=2)
    for name in ("summary", "findings", "file", "line", "severity", "why", "labels", "confirmed", "score"):
        text = text.replace(f'\n      "{name}":', f"\n      {name}:").replace(
            f'\n  "{name}":', f"\n  {name}:"
        )
    return "// the review\n" + text.replace("\n    },", "\n    }, // next")


_WAYS: dict[str, Callable[[Any], str]] = {
    "plain": json.dumps,
    "indented": lambda value: json.dumps(value, indent=2),
    "fenced": lambda value: (
        f"Here is the review:\n\n```json\n{json.dumps(value, indent=2)}\n```\n\nTell me if you need more."
    ),
    "in prose": lambda value: f"I read all files. {json.dumps(value)}\nThat is all.",
    "script": _script,
    "python": _python,
    "trailing commas": lambda value: (
        json.dumps(value, indent=1).replace("\n  }", ",\n  }").replace("\n ]", ",\n ]")
    ),
    "raw line ends": lambda value: json.dumps(value, indent=1).replace(" without ", "\n without "),
    "without its last bracket": lambda value: json.dumps(value, indent=1)[:-2],
    "without commas at line ends": lambda value: json.dumps(value, indent=1).replace(",\n", "\n"),
}


def long_answers(size: int) -> Iterator[LongAnswer]:
    """Every way of writing one value of this size."""
    value = value_of(size)
    for name, write in _WAYS.items():
        text = write(value)
        held = json.loads(text.replace("\n without ", "\\n without ")) if name == "raw line ends" else value
        yield LongAnswer(name, text, held)
