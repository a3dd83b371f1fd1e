"""The normaliser ``github/1``: a GitHub webhook's payload to the normalised event.

Pure, and it refuses nothing: a field that is absent, or of a type GitHub does not document, is empty.
Field names: docs.github.com/webhooks/webhook-events-and-payloads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from app.data_plane.ingestion.domain_event import (
    Activity,
    Alert,
    Check,
    Comment,
    DomainEvent,
    Issue,
    Repository,
    Section,
    Sender,
    cut,
)
from app.data_plane.ingestion.github_alerts import ALERTS
from app.data_plane.ingestion.github_checks import CHECKS
from app.data_plane.ingestion.github_event import kind_of
from app.data_plane.ingestion.lenient import flag, integer, items, section, text
from interlock.canonical import JsonObject
from interlock.envelope import Envelope

NAME = "github/1"

_ISSUES = frozenset(
    {"issues", "issue_comment", "pull_request", "pull_request_review", "pull_request_review_comment"}
)
_TITLED = (
    "pull_request",
    "discussion",
    "release",
    "milestone",
    "label",
    "project",
    "team",
    "package",
    "forkee",
    "head_commit",
)
_TITLES = ("title", "name", "message", "tag_name", "full_name", "login")


def normalise(envelope: Envelope) -> DomainEvent:
    """The normalised event of a GitHub webhook, whichever event it is."""
    payload = section(envelope.data)
    kind = kind_of(envelope.type)
    return DomainEvent(
        type=envelope.type,
        source_kind="github",
        action=text(payload, "action"),
        repository=_repository(section(payload, "repository")),
        sender=_sender(section(payload, "sender")),
        section=_section(kind, payload),
        comment=_comment(payload) if kind in _ISSUES else None,
    )


def _section(kind: str, payload: JsonObject) -> Section:
    if kind in _ISSUES:
        return _issue(payload)
    reader: Callable[[JsonObject], Check | Alert] | None = CHECKS.get(kind) or ALERTS.get(kind)
    return Activity(kind=kind, title=_title(kind, payload)) if reader is None else reader(payload)


def _repository(found: JsonObject) -> Repository | None:
    if not found:
        return None
    full_name = text(found, "full_name")
    owner, _, name = full_name.partition("/")
    return Repository(
        full_name=full_name,
        owner=text(section(found, "owner"), "login", "name") or owner,
        name=text(found, "name") or name,
        private=flag(found, "private"),
        default_branch=text(found, "default_branch"),
    )


def _sender(found: JsonObject) -> Sender | None:
    return Sender(login=text(found, "login"), kind=text(found, "type")) if found else None


def _issue(payload: JsonObject) -> Issue:
    pull_request = section(payload, "pull_request")
    found = pull_request or section(payload, "issue")
    # A comment on a pull request comes with an issue that has a pull_request inside.
    of_pull_request = bool(pull_request or section(found, "pull_request"))
    kind: Literal["issue", "pull_request"] = "pull_request" if of_pull_request else "issue"
    body, truncated = cut(text(found, "body"))
    labels = (text(label, "name") for label in items(found, "labels") if isinstance(label, Mapping))
    return Issue(
        kind=kind,
        number=integer(found, "number"),
        title=text(found, "title"),
        body=body,
        truncated=truncated,
        state=text(found, "state"),
        labels=tuple(label for label in labels if label),
        author=text(section(found, "user"), "login"),
        author_association=text(found, "author_association"),
        url=text(found, "html_url", "url"),
        comments=integer(found, "comments"),
        draft=flag(found, "draft"),
    )


def _comment(payload: JsonObject) -> Comment | None:
    found = section(payload, "comment") or section(payload, "review")
    if not found:
        return None
    body, truncated = cut(text(found, "body"))
    return Comment(
        body=body,
        truncated=truncated,
        author=text(section(found, "user"), "login"),
        author_association=text(found, "author_association"),
        url=text(found, "html_url", "url"),
    )


def _title(kind: str, payload: JsonObject) -> str:
    for name in (kind, *_TITLED):
        found = text(section(payload, name), *_TITLES)
        if found:
            return found.partition("\n")[0]
    return text(payload, "ref", "zen")
