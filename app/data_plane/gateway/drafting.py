"""A policy to start from, written from the tools' contracts alone: what reads may read, all else answers for itself.

Every effect is permitted, and a person is asked unless three things hold: what decides (recipients, amounts, ids, URLs)
comes from a trusted place or is a choice among values that the contract names; text for people carries no address
that nothing trusted holds; and the words of the request ask for this kind of effect. Read it, then make it yours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from app.data_plane.gateway.asked import stems
from app.data_plane.gateway.hidden import content_arguments
from app.kernel.tool_spec import ToolSpec

# What people call the effects that tools are named after. A word leads to all words of its rows.
_SAME = tuple(
    tuple(row.split())
    for row in (
        "send sent mail email message write post tell reply answer forward notify dm",
        "send sent pay paid transfer refund reimburse",
        "post publish write send reply comment answer upload tell",
        "create add make set schedule book new put open write plan",
        "schedule book plan recurring standing set",
        "add append include put insert join",
        "append add include put insert write extend",
        "update change adjust edit modify set correct replace",
        "reschedule move postpone shift change",
        "delete remove erase drop discard",
        "cancel call drop remove delete",
        "reserve reservation book rent",
        "invite ask",
        "share give grant",
        "label triage tag mark",
        "hold block stop freeze",
        "record note log keep",
        "run start execute trigger launch",
    )
)
# A request may leave it to a text what to do ("do the tasks of my list"). That asks for whatever stands there, as long
# as all that decides is proven; what takes something away has to be asked for by its own word.
_DELEGATING = ("task", "todo", "todos", "action", "instruction", "step")
_TAKING_AWAY = frozenset(
    ("delete", "remove", "cancel", "erase", "drop", "discard", "purge", "revoke", "reset", "close", "destroy")
)
# A tool that fetches does what it is asked for where its address leads, and that is proven already.
_FETCHING = frozenset(
    ("get", "read", "fetch", "open", "visit", "browse", "search", "list", "find", "look", "download")
)


def draft_policy(tools: Mapping[str, ToolSpec]) -> str:
    """The policy as Cedar text, for all agents; who may call which tool stays with the agents' allowlists."""
    reading = sorted(name for name, spec in tools.items() if spec.effect == "read")
    parts = [_reads(reading)] if reading else []
    parts += [part for name in sorted(tools) if tools[name].effect != "read" for part in _effect(tools[name])]
    return "\n\n".join(parts) + "\n"


def effect_words(spec: ToolSpec) -> list[str]:
    """The words by one of which a request asks for this tool's effect: its verb's, and what people call that."""
    verbs = {_words(spec.name.rpartition(".")[2])[0], *(_words(one)[-1] for one in spec.capabilities)}
    verbs |= {stem for verb in verbs for stem in stems(verb)}
    delegating = () if verbs & _TAKING_AWAY else _DELEGATING
    return sorted(verbs.union(delegating, *(row for row in _SAME if row[0] in verbs)))


def _reads(names: list[str]) -> str:
    return f'@id("what-reads-may-read")\npermit (principal, action in [{", ".join(map(_action, names))}], resource);'


def _effect(spec: ToolSpec) -> Iterator[str]:
    scope = f"(principal, action == {_action(spec.name)}, resource)"
    yield f"@id({_text(f'allow {spec.name}')})\npermit {scope};"
    content = content_arguments(spec)
    names = sorted(_properties(spec))
    if control := [name for name in names if name not in content]:
        why = f"{spec.name} would go by what nobody trusted said"
        yield _unless(f"prove {spec.name}", why, scope, map(_is_proven, control))
    if carried := [name for name in names if name in content]:
        why = f"{spec.name} would carry an address that nobody trusted said"
        yield _unless(f"unproven addresses in {spec.name}", why, scope, map(_is_clean, carried))
    if _words(spec.name.rpartition(".")[2])[0] in _FETCHING:
        return
    why = f"nobody asked for {spec.name}"
    yield _unless(
        f"asked for {spec.name}", why, scope, [f"context.asked.containsAny({json.dumps(effect_words(spec))})"]
    )


def _unless(name: str, why: str, scope: str, conditions: Iterator[str] | list[str]) -> str:
    told = "\n  && ".join(conditions)
    return f"@id({_text(name)})\n@approval({_text(why)})\nforbid {scope}\nunless {{\n  {told}\n}};"


def _is_proven(name: str) -> str:
    # All its origins are trusted ones, or choices.
    return _of(name, '!{known}.origins.containsAny(["event_text", "tool_text", "model"])')


def _is_clean(name: str) -> str:
    return _of(name, "{known}.unproven.isEmpty()")


def _of(name: str, condition: str) -> str:
    """What has to hold of an argument where it is given; in the one form that Cedar's validator can follow."""
    known = f"context.provenance[{_text(name)}]"
    return f"(if context.provenance has {_text(name)} then {condition.format(known=known)} else true)"


def _properties(spec: ToolSpec) -> Mapping[str, object]:
    properties = spec.input_schema.get("properties")
    return properties if isinstance(properties, Mapping) else {}


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", name.casefold()) or [name.casefold()]


def _action(name: str) -> str:
    return f"Action::{_text(name)}"


def _text(value: str) -> str:
    """A Cedar text; names and reasons are plain, so JSON's escapes suffice."""
    return json.dumps(value, ensure_ascii=False)
