"""The next version of Interlock, as far as tests need it: a tool and a kind of fact that today's code does not know."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, TypeAdapter

from app.data_plane.tools import Outgoing, registry, tool
from app.data_plane.tools.shipped import Applied, RecordReference, as_effect
from app.kernel import facts
from app.kernel.facts import AnyFact, BaseFact
from app.kernel.release import Release


@tool("reference.record_checked", version=1, effect="write")
def record_checked(arguments: RecordReference) -> Outgoing[Applied]:
    """Records a verdict on a subject, and checks it."""
    return as_effect("reference.record_checked", arguments)


NEWER_TOOL = record_checked


class Remarked(BaseFact):
    """A kind of fact of the next version."""

    kind: Literal["remarked"] = "remarked"


class _NewerPlace(facts._Place):
    fact: AnyFact | Remarked = Field(discriminator="kind")  # type: ignore[assignment]


def newer_release(older: Release) -> Release:
    """The next version of a workflow, whose actions are carried out by the newer tool."""
    template = older.template
    actions = tuple(action.model_copy(update={"tool": NEWER_TOOL.name}) for action in template.actions)
    return Release(
        **{
            **dict(older),
            "template": template.model_copy(update={"version": template.version + 1, "actions": actions}),
            "tools": {NEWER_TOOL.name: NEWER_TOOL.spec()},
        }
    )


def become_the_next_version() -> None:
    """Make this process's code the newer one. For processes of their own: it is never taken back."""
    registry._registry.add([NEWER_TOOL])
    facts._RECORDED = TypeAdapter(_NewerPlace)
