"""Checks a Cedar policy before it is published: against the tools' own contracts, and for what its annotations say.

A statement with ``@approval("why")`` counts only together with a person's consent: a ``permit`` with it permits
nothing without one, and a ``forbid`` with it is lifted by one. ``@four_eyes`` beside it wants two people.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import cedarpy

from app.control_plane.policy_schema import cedar_schema
from app.control_plane.statements import Statement, statements_of
from app.kernel.release import Policy
from app.kernel.tool_spec import ToolSpec

ANNOTATIONS = ("approval", "four_eyes", "id")
"""What is known; a misspelt one would silently permit without asking anybody."""


def check_policy(policy: Policy, tools: Mapping[str, ToolSpec]) -> list[str]:
    """Why ``policy`` cannot be published, a clause for each reason; empty when it can.

    Each statement has a unique ``@id``, which is how facts name it; templates with slots are refused, because
    nothing links them.
    """
    try:
        parsed = cedarpy.PolicySet.from_str(policy.cedar)
    except ValueError as error:
        return [f"it is not Cedar: {str(error).splitlines()[0][:300]}"]
    statements = statements_of(policy)
    found = list(_shape_problems(parsed, statements))
    for statement in statements:
        found.extend(_annotation_problems(statement))
    result = cedarpy.validate_policies(policy.cedar, cedar_schema(tools))
    if not result.validation_passed:
        found.extend(f"it is not valid: {str(error)[:300]}" for error in result.errors)
    return found


def _shape_problems(parsed: cedarpy.PolicySet, statements: Sequence[Statement]) -> Iterator[str]:
    if parsed.templates():
        yield "it has a template with slots, which nothing fills"
    if len(parsed) == 0:
        yield "it has no statement, so that every call and action would be denied"
        return
    for statement in statements:
        if not statement.name:
            yield f'a {statement.effect} statement has no @id("...")'
    for name, times in Counter(statement.name for statement in statements).items():
        if name and times > 1:
            yield f"two statements have the @id {name!r}"


def _annotation_problems(statement: Statement) -> Iterator[str]:
    told = f"the statement {statement.name!r}" if statement.name else f"a {statement.effect} statement"
    for name in sorted(set(statement.annotations) - set(ANNOTATIONS)):
        known = ", ".join(f"@{one}" for one in ANNOTATIONS)
        yield f"{told} has the annotation @{name}, which nobody knows (known are {known})"
    if "approval" in statement.annotations and not (statement.annotations["approval"] or "").strip():
        yield f'{told} has an @approval without a text: write why a person is asked, as @approval("...")'
    if "four_eyes" in statement.annotations and "approval" not in statement.annotations:
        yield f'{told} has @four_eyes, which counts only beside @approval("...")'
