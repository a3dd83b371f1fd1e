"""Guards: no answer takes more than linear work, deep recursion or much memory, whatever is in it.

Seconds are measured by ``make bench ARGS=parsing``; here work is counted, as tests have no stopwatch.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from app.data_plane.parsing.answer import Parsed, Rejection, read, read_as
from app.data_plane.parsing.plain import MAX_DEPTH
from tests.unit.parsing.hostile_answers import NAMES, hostile_answer

ROOT = Path(__file__).parents[3]
SCHEMA = {
    "type": "object",
    "properties": {"severity": {"type": "string", "enum": ["low", "high"]}, "why": {"type": "string"}},
    "required": ["severity"],
    "additionalProperties": False,
}
SMALL, LARGE = 700, 2_800
_MEASURED = """
import json, resource, sys
from app.data_plane.parsing.answer import read, read_as
from tests.unit.parsing.hostile_answers import NAMES, hostile_answer
schema = json.loads(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (1_000_000_000, 1_000_000_000))
for size in (5_000_000, 1_150_000):
    for name in NAMES[:: int(sys.argv[2])]:
        text = hostile_answer(name, size)
        read(text), read_as(text, schema)
# Not ru_maxrss: that remembers what the process was before it became this program, a whole test run.
print(next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def _work(text: str) -> int:
    """How many calls reading a text takes, whatever the machine's speed."""
    count = 0

    def called(_frame: object, _event: str, _argument: object) -> None:
        nonlocal count
        count += 1

    sys.setprofile(called)
    try:
        read(text)
        read_as(text, SCHEMA)
    finally:
        sys.setprofile(None)
    return count


def test_four_times_the_text_takes_no_more_than_about_four_times_the_work() -> None:
    for name in NAMES:
        small, large = (_work(hostile_answer(name, size)) for size in (SMALL, LARGE))
        assert large <= 5 * small + 5_000, name


def test_answers_of_5_mb_end_within_200_mb() -> None:
    """In a process of its own, so that its peak is the parser's."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, json.dumps(SCHEMA), "41"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) < 200


@pytest.mark.parametrize("opening", ["[", '{"a":', "{a:", "[{'a':", "(", "f(", '{"a":[1,'])
def test_what_is_nested_deeper_than_the_limit_is_rejected(opening: str) -> None:
    found = read(opening * 2 * MAX_DEPTH)
    assert isinstance(found, Rejection)
    assert "nested deeper" in found.reason


def test_valid_json_up_to_the_limit_is_read_and_deeper_is_not() -> None:
    assert read("[" * MAX_DEPTH + "]" * MAX_DEPTH) == Parsed(json.loads("[" * MAX_DEPTH + "]" * MAX_DEPTH))
    assert isinstance(read("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)), Rejection)


def test_alternatives_inside_alternatives_are_tried_once_for_each_value() -> None:
    """Two alternatives that refer to themselves would double the work with every level."""
    node = {"$ref": "#/$defs/Node"}
    one = {
        "type": "object",
        "properties": {"next": node, "a": {"type": "integer"}},
        "additionalProperties": False,
    }
    two = {
        "type": "object",
        "properties": {"next": node, "b": {"type": "integer"}},
        "additionalProperties": False,
    }
    schema = {"$defs": {"Node": {"anyOf": [one, two]}}, **node}
    text = '{"next": ' * 24 + '{"b": "seven"}' + "}" * 24
    found = read_as(text, schema)
    assert isinstance(found, Parsed)
    assert isinstance(read_as(text.replace('"b"', '"c"').replace("seven", "x"), schema), Parsed | Rejection)


def test_values_with_a_schema_are_bounded_in_depth_without_recursion_of_the_interpreter() -> None:
    schema = {"$defs": {"T": {"type": "array", "items": {"$ref": "#/$defs/T"}}}, "$ref": "#/$defs/T"}
    assert isinstance(read_as("[" * 20 + "]" * 20, schema), Parsed)
    found = read_as("[" * 190 + "]" * 190, schema)
    assert isinstance(found, Rejection)
    assert "nested deeper" in found.reason
