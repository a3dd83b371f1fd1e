"""Publishing: which documents and releases are new, what may not be, and which release takes the traffic.

Publishing routes no traffic. What is published is never edited: the same version with other content is
refused, and with the same content it changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from app.control_plane.documents import Document, DocumentKey, Documents
from app.kernel.document import Frozen
from app.kernel.errors import ConflictError, NotFoundError, PermanentError
from app.kernel.release import Channel, Release

MAX_WORDS = 500


class VersionAlreadyPublishedError(ConflictError):
    """A published version is never edited. Remedy: publish the change as a new version."""

    code = "version_already_published"

    def __init__(self, documents: Iterable[Document[Frozen]]) -> None:
        named = [f"{document.key} ({document.path})" for document in documents]
        verb = "is" if len(named) == 1 else "are"
        super().__init__(
            f"{', '.join(named)} {verb} published already, with other content.",
            "Undo the edit, and write the change into a folder of the next version. Nothing was published.",
        )


class UnknownReleaseError(NotFoundError):
    """No release is published under that digest or name. Remedy: see ``releases list``."""

    code = "unknown_release"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"There is no published release {name!r}.",
            "Look at `python -m app releases list`, or publish it.",
        )


class MisroutedReleaseError(PermanentError):
    """A release can only take the traffic of the workflow that it was compiled from."""

    code = "misrouted_release"


class UnexplainedChangeError(PermanentError):
    """Who moves traffic says who they are and why."""

    code = "unexplained_change"


@dataclass(frozen=True, slots=True)
class PublishedRelease:
    """A release in the catalogue."""

    digest: str
    workflow: str
    version: int
    published_at: datetime
    published_by: str


@dataclass(frozen=True, slots=True)
class Routing:
    """Which release takes a workflow's traffic on a channel, since when, by whom and why."""

    workflow: str
    channel: Channel
    release: str
    changed_at: datetime
    changed_by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Change:
    """Who changes the catalogue, and why.

    Raises:
        UnexplainedChangeError: one of the two is empty or longer than 500 characters.
    """

    actor: str
    reason: str

    def __post_init__(self) -> None:
        for name, words in (("actor", self.actor), ("reason", self.reason)):
            if not words.strip() or len(words) > MAX_WORDS or "\0" in words:
                raise UnexplainedChangeError(
                    f"The {name} is empty, or longer than {MAX_WORDS} characters, or not text.",
                    f"Say it with --{name}.",
                )


@dataclass(frozen=True, slots=True)
class Plan:
    """What publishing will add. Everything else is there already, with the same content."""

    documents: tuple[Document[Frozen], ...]
    releases: tuple[Release, ...]
    known_documents: int
    known_releases: int


class Catalogue(Protocol):
    """The published documents, releases and channels. Each method is one commit or one reading."""

    def documents(self) -> Mapping[DocumentKey, str]:
        """The digest of every published document."""
        ...

    def releases(self) -> tuple[PublishedRelease, ...]:
        """Every published release, by workflow, version, time and digest."""
        ...

    def release(self, digest: str) -> Release:
        """A release's content. Raises UnknownReleaseError."""
        ...

    def routings(self) -> tuple[Routing, ...]:
        """Every channel that a release is routed to, by workflow and channel."""
        ...

    def publish(self, plan: Plan, actor: str) -> None:
        """Add what the plan adds, all or nothing. A tenant's highest version is the current one.

        Raises:
            VersionAlreadyPublishedError: one of its versions was published with other content meanwhile.
        """
        ...

    def route(self, workflow: str, channel: Channel, release: str, change: Change) -> bool:
        """Let a release take the workflow's traffic on that channel; False when it does already.

        Orchestrations that run stay with the release they are pinned to.

        Raises:
            UnknownReleaseError: nothing is published under that digest.
            MisroutedReleaseError: the release is of another workflow.
        """
        ...


def plan(
    documents: Documents,
    releases: Iterable[Release],
    published: Mapping[DocumentKey, str],
    known: Collection[str],
) -> Plan:
    """What is new. ``published`` and ``known`` are the catalogue's documents and its releases' digests.

    Raises:
        VersionAlreadyPublishedError: naming every document that was edited after publishing.
    """
    every = documents.all()
    conflicts = [
        document for document in every if published.get(document.key, document.digest) != document.digest
    ]
    if conflicts:
        raise VersionAlreadyPublishedError(conflicts)
    compiled = tuple(releases)
    new_documents = tuple(document for document in every if document.key not in published)
    new_releases = tuple(release for release in compiled if release.digest not in known)
    return Plan(
        documents=new_documents,
        releases=new_releases,
        known_documents=len(every) - len(new_documents),
        known_releases=len(compiled) - len(new_releases),
    )


def newest(releases: Iterable[Release]) -> dict[str, Release]:
    """By workflow: the release of the highest version."""
    found: dict[str, Release] = {}
    for release in releases:
        best = found.get(release.workflow)
        if best is None or release.template.version > best.template.version:
            found[release.workflow] = release
    return dict(sorted(found.items()))


def find(catalogue: Catalogue, name: str) -> PublishedRelease:
    """A release by its digest, by 8 or more of its first characters, or by its workflow while it is routed.

    Raises:
        UnknownReleaseError: nothing goes by that name, or more than one release does.
    """
    routed = {route.workflow: route.release for route in catalogue.routings() if route.channel == "stable"}
    wanted = routed.get(name, name)
    found = [release for release in catalogue.releases() if release.digest == wanted]
    if not found and len(wanted) >= 8:
        found = [release for release in catalogue.releases() if release.digest.startswith(wanted)]
    if len(found) != 1:
        raise UnknownReleaseError(name)
    return found[0]


def check_route(workflow: str, release_workflow: str | None, digest: str) -> None:
    """Whether a release may take a workflow's traffic; ``release_workflow`` is None when it is not published.

    Raises:
        UnknownReleaseError, MisroutedReleaseError
    """
    if release_workflow is None:
        raise UnknownReleaseError(digest)
    if release_workflow != workflow:
        raise MisroutedReleaseError(
            f"The release {digest[:12]} is of the workflow {release_workflow!r}, not of {workflow!r}.",
            "Route a release of the same workflow.",
        )
