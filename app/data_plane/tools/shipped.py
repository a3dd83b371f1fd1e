"""The shipped tools: what the shipped workflows look up, and what they do to a tracker, a pager and a forge."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from app.data_plane.tools.declaring import Arguments, Content, Outgoing, Reading, Result, Structured, tool
from interlock.canonical import JsonObject

ShortText = Annotated[str, Field(max_length=300)]
LongText = Annotated[str, Field(max_length=4000)]
ContentText = Annotated[LongText, Content]
Url = Annotated[str, Field(max_length=2000)]
Severity = Literal["critical", "high", "medium", "low", "unknown"]


class Applied(Result):
    """A target took the effect."""

    applied: bool = True


class LookupArguments(Arguments):
    """Asks for one entry of the tenant's reference data."""

    collection: ShortText
    key: ShortText


class LookupResult(Result):
    """The entry, or an empty one that was not found."""

    found: bool
    entry: Annotated[dict[str, JsonValue], Structured]


class TriageIssue(Arguments):
    """Labels an issue or pull request, gives it a priority, and answers it when ``comment`` is not empty."""

    repository: ShortText
    number: int = Field(ge=0)
    label: ShortText
    priority: Literal["p1", "p2", "p3", "p4"]
    comment: ContentText


class AddNote(Arguments):
    """Which issue, check or alert the note is about, and what it says."""

    repository: ShortText
    subject: ShortText
    note: Annotated[str, Field(min_length=1, max_length=4000), Content]


class NotifyOwner(Arguments):
    """Tells a team that something of theirs needs them."""

    owner: ShortText
    cause: ContentText
    url: Url
    urgency: Literal["now", "today", "whenever"]


class RecordCheck(Arguments):
    """Keeps a check's outcome and its likely cause beside the repository."""

    repository: ShortText
    check: LongText
    head_sha: ShortText
    conclusion: ShortText
    cause: ShortText


class OpenIncident(Arguments):
    """Opens a security incident."""

    repository: ShortText
    title: ContentText
    severity: Severity
    url: Url
    owner: ShortText


class HoldDependency(Arguments):
    """Blocks a package from being built or released in a repository, until someone lifts it."""

    repository: ShortText
    package: ShortText
    severity: Severity
    reason: ContentText


class RecordReference(Arguments):
    """The smallest write: what benchmarks and tests measure the way to an effect with."""

    subject: ShortText
    verdict: ShortText


def as_effect(name: str, arguments: Arguments) -> Outgoing[Applied]:
    """The arguments as they are, posted to where a target takes effects of that name."""
    body: JsonObject = arguments.model_dump(mode="json")
    return Outgoing(f"/v1/effects/{name}", body)


# The tenant's own people write its reference data, so that whatever an entry holds may be trusted.
@tool("directory.lookup", version=1, effect="read", capabilities=["reference.read"], trusted=True)
async def directory_lookup(arguments: LookupArguments, reading: Reading) -> LookupResult:
    """Looks up one entry of the tenant's reference data, such as who owns a repository or a service."""
    entry = await reading.entry(arguments.collection, arguments.key)
    return LookupResult(found=entry is not None, entry=dict(entry or {}))


@tool("tracker.triage_issue", version=1, effect="write", capabilities=["tracker.write"])
def triage_issue(arguments: TriageIssue) -> Outgoing[Applied]:
    """Labels an issue or pull request, gives it a priority, and answers it when the comment is not empty."""
    return as_effect("tracker.triage_issue", arguments)


@tool("tracker.add_note", version=1, effect="write", capabilities=["tracker.write"])
def add_note(arguments: AddNote) -> Outgoing[Applied]:
    """Leaves a note for the maintainers on an issue, a check or an alert, such as "issue 7"."""
    return as_effect("tracker.add_note", arguments)


@tool("tracker.record_check", version=1, effect="write", capabilities=["tracker.write"])
def record_check(arguments: RecordCheck) -> Outgoing[Applied]:
    """Keeps a check's outcome and its likely cause beside the repository."""
    return as_effect("tracker.record_check", arguments)


@tool("tracker.open_incident", version=1, effect="write", capabilities=["tracker.write"])
def open_incident(arguments: OpenIncident) -> Outgoing[Applied]:
    """Opens a security incident."""
    return as_effect("tracker.open_incident", arguments)


@tool("pager.notify_owner", version=1, effect="write", capabilities=["messages.send"])
def notify_owner(arguments: NotifyOwner) -> Outgoing[Applied]:
    """Tells a team that something of theirs needs them."""
    return as_effect("pager.notify_owner", arguments)


@tool("repository.hold_dependency", version=1, effect="write", capabilities=["repository.hold"])
def hold_dependency(arguments: HoldDependency) -> Outgoing[Applied]:
    """Blocks a package from being built or released in a repository, until someone lifts it."""
    return as_effect("repository.hold_dependency", arguments)


@tool("reference.record", version=1, effect="write")
def record_reference(arguments: RecordReference) -> Outgoing[Applied]:
    """Records a verdict on a subject: the smallest write."""
    return as_effect("reference.record", arguments)
