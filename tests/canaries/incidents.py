"""Five incidents as the on-call meets them, and what must be readable although every secret in them is hidden."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from tests.canaries.service import Running


@dataclass(frozen=True, slots=True)
class Incident:
    """What somebody is paged for, where they look, and what they must be able to read there.

    Args:
        symptom: what they know at first.
        found_by: a fact of that kind stands in the journal of the orchestration that is looked at.
        command: what they run; ``ID`` is the orchestration.
        wanted: patterns, each of which must be found in what that prints.
    """

    symptom: str
    found_by: str
    command: tuple[str, ...]
    wanted: tuple[str, ...]


INCIDENTS = (
    Incident(
        "the provider says that our key is wrong",
        '"code":"provider_credentials"',
        ("runs", "explain", "ID"),
        (r"model gave no answer: provider_credentials", r"providers model/1 \(openai_compatible, canary-1\)"),
    ),
    Incident(
        "a target refuses what we send",
        '"kind":"delivery_failed"',
        ("runs", "explain", "ID"),
        (r"notes\.post at tracker", r"http_400 \(status 400\)", r"dead_lettered"),
    ),
    Incident(
        "a tool of ours breaks",
        '"kind":"tool_failed"',
        ("runs", "explain", "ID"),
        (r"It called notes\.break", r"notes\.break gave no result in \d+ ms: tool_failed \(defect\)"),
    ),
    Incident(
        "a worker died in the middle of a run",
        '"kind":"step_lapsed"',
        ("runs", "trace", "ID"),
        (r"invoke_agent teller", r"the one before \(left no span: its worker was lost\)"),
    ),
    Incident(
        "an approval was slow",
        '"kind":"approval_granted"',
        ("runs", "trace", "ID"),
        (r"approval_wait", r"notes\.ask", r"granted"),
    ),
)


def look(one: Running, incident: Incident) -> str:
    """What the command says of the first orchestration with such a fact."""
    with one.database() as connection:
        row = connection.execute(
            "SELECT coalesce(w.orchestration_id, j.chain_id) FROM journal j"
            " LEFT JOIN work_index w ON w.step_id = j.chain_id"
            " WHERE convert_from(j.body, 'UTF8') LIKE %s ORDER BY 1 LIMIT 1",
            [f"%{incident.found_by}%"],
        ).fetchone()
    assert row is not None, f"no fact with {incident.found_by}"
    return one.command(*[row[0] if word == "ID" else word for word in incident.command])


def missing(incident: Incident, said: str) -> list[str]:
    """What cannot be read there."""
    flat = re.sub(r"\s+", " ", said)
    return [pattern for pattern in incident.wanted if not re.search(pattern, flat)]


def traceback_of_the_broken_tool(one: Running) -> str:
    """The log line that tells where our tool broke: the kinds of errors and the places, and not what they say."""
    for line in (one.home / "logs" / "agent_runs.log").read_text(errors="replace").splitlines():
        if "tools.py" in line and line.startswith("{"):
            told = json.loads(line)
            if "ValueError" in str(told.get("exception", "")):
                return str(told["exception"])
    return ""
