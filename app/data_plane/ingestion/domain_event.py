"""The normalised event: what templates see as ``event``, whatever the source wrote.

Strings are "" and never null, so that conditions need no guards; texts are cut, so that an event stays small.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from interlock.canonical import JsonObject

MAX_BODY = 20_000
"""Characters kept of a body, a description or a summary; ``truncated`` tells that some were cut."""
MAX_LINE = 1_000
"""Characters kept of any other string."""
MAX_ITEMS = 100
"""Items kept of a list."""


def _cut_line(value: object) -> object:
    return value[:MAX_LINE] if isinstance(value, str) else value


def _cut_items(value: object) -> object:
    return tuple(value[:MAX_ITEMS]) if isinstance(value, (list, tuple)) else value


Line = Annotated[str, BeforeValidator(_cut_line)]
Lines = Annotated[tuple[Line, ...], BeforeValidator(_cut_items)]
Integer = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class Part(BaseModel):
    """A part of a normalised event: frozen, nothing unknown in it, no value coerced."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Repository(Part):
    """Where it happened."""

    full_name: Line
    owner: Line = ""
    name: Line = ""
    private: bool = False
    default_branch: Line = ""


class Sender(Part):
    """Who did it."""

    login: Line
    kind: Line = ""
    """``User``, ``Bot``, ``Organization``, as the source names it."""


class Comment(Part):
    """What was written below an issue or a pull request."""

    body: str
    truncated: bool = False
    author: Line = ""
    author_association: Line = ""
    url: Line = ""


class Issue(Part):
    """An issue or a pull request (schema ``issue``, version 2)."""

    SECTION: ClassVar[str] = "issue"
    VERSION: ClassVar[int] = 2
    kind: Literal["issue", "pull_request"] = "issue"
    number: Integer = 0
    title: Line
    body: str = ""
    truncated: bool = False
    state: Line = ""
    labels: Lines = ()
    author: Line = ""
    author_association: Line = ""
    url: Line = ""
    comments: Integer = 0
    draft: bool = False


class Check(Part):
    """What a build, a test or a deployment said (schema ``check``, version 1)."""

    SECTION: ClassVar[str] = "check"
    VERSION: ClassVar[int] = 1
    kind: Line
    name: Line = ""
    status: Line = ""
    conclusion: Line = ""
    """``success``, ``failure``, ``pending`` or another word of the source; "" when there is none yet."""
    head_sha: Line = ""
    branch: Line = ""
    url: Line = ""
    summary: str = ""
    truncated: bool = False
    app: Line = ""
    environment: Line = ""


class Alert(Part):
    """A weakness that was found (schema ``alert``, version 1)."""

    SECTION: ClassVar[str] = "alert"
    VERSION: ClassVar[int] = 1
    kind: Line
    number: Integer = 0
    state: Line = ""
    severity: Literal["critical", "high", "medium", "low", "unknown"] = "unknown"
    identifiers: Lines = ()
    package: Line = ""
    ecosystem: Line = ""
    summary: Line = ""
    description: str = ""
    truncated: bool = False
    url: Line = ""
    fixed_in: Line = ""
    path: Line = ""


class Activity(Part):
    """Anything else (schema ``activity``, version 1)."""

    SECTION: ClassVar[str] = "activity"
    VERSION: ClassVar[int] = 1
    kind: Line
    title: Line = ""


Section = Issue | Check | Alert | Activity


class DomainEvent(Part):
    """One normalised event; its section is named by its schema."""

    type: str
    source_kind: Literal["github", "interlock"]
    action: Line = ""
    repository: Repository | None = None
    sender: Sender | None = None
    section: Section
    comment: Comment | None = None
    """Only with an issue."""

    def to_json(self) -> JsonObject:
        """The event as templates see it."""
        section = self.section
        event: dict[str, object] = self.model_dump(mode="json", exclude={"section", "comment"})
        event["schema"] = f"{section.SECTION}/{section.VERSION}"
        event[section.SECTION] = section.model_dump(mode="json")
        if isinstance(section, Issue):
            event["comment"] = None if self.comment is None else self.comment.model_dump(mode="json")
        return event  # type: ignore[return-value]  # model_dump(mode="json") gives JSON values


def cut(text: str) -> tuple[str, bool]:
    """The text within ``MAX_BODY``, and whether some was cut."""
    return text[:MAX_BODY], len(text) > MAX_BODY
