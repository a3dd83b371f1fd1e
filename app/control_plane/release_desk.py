"""The release desk: what the command line, and later the API, do with releases. It works on any catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.control_plane.compile import compile_all
from app.control_plane.documents import read_documents
from app.control_plane.publishing import Catalogue, Change, PublishedRelease, Routing, find, newest, plan
from app.kernel.release import Channel, Release
from app.kernel.tool_spec import ToolSpec


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be published.

    ``change`` says who and why. ``route`` lets the newest release of each workflow take its traffic as well;
    ``if_empty`` does nothing where a release is published already; ``dry_run`` only tells what would be done.
    ``provider`` answers for every agent in place of the agents' own.
    """

    folder: Path
    change: Change
    route: bool = False
    if_empty: bool = False
    dry_run: bool = False
    provider: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What was published, or would be; documents are named as ``workflow ci-failure/1``."""

    skipped: bool
    """The catalogue was not empty, and only an empty one was to be filled."""
    new_documents: tuple[str, ...] = ()
    known_documents: int = 0
    releases: Mapping[str, str] = field(default_factory=dict)
    """Workflow and version to the release's digest, of all that the folder holds."""
    new_releases: tuple[str, ...] = ()
    routed: tuple[str, ...] = ()
    """The workflows whose traffic was moved."""


class ReleaseDesk:
    """Publishes folders of documents and answers what is published."""

    def __init__(self, catalogue: Catalogue, tools: Mapping[str, ToolSpec]) -> None:
        self._catalogue = catalogue
        self._tools = tools

    def publish(self, request: Request) -> Report:
        """Read, check, compile and publish a folder.

        Raises:
            DocumentError: with everything that is wrong in the folder; nothing is published.
            UnknownProviderError: the folder has no provider of that name; nothing is published.
            VersionAlreadyPublishedError: a document was edited after it was published; nothing is published.
        """
        documents = read_documents(request.folder)
        releases = compile_all(documents, self._tools, provider=request.provider)
        published = self._catalogue.releases()
        if request.if_empty and published:
            return Report(skipped=True, releases=_named(releases))
        known = {row.digest for row in published}
        planned = plan(documents, releases, self._catalogue.documents(), known)
        if not request.dry_run:
            self._catalogue.publish(planned, request.change.actor)
        return Report(
            skipped=False,
            new_documents=tuple(str(document.key) for document in planned.documents),
            known_documents=planned.known_documents,
            releases=_named(releases),
            new_releases=tuple(release.digest for release in planned.releases),
            routed=self._route_newest(releases, request) if request.route else (),
        )

    def list(self) -> tuple[tuple[PublishedRelease, tuple[Channel, ...]], ...]:
        """Every published release, with the channels that are routed to it."""
        routings = self._catalogue.routings()
        return tuple(
            (row, tuple(routing.channel for routing in routings if routing.release == row.digest))
            for row in self._catalogue.releases()
        )

    def show(self, name: str) -> tuple[PublishedRelease, Release, tuple[Routing, ...]]:
        """A release by its digest, the beginning of it, or the name of its workflow.

        Raises:
            UnknownReleaseError: nothing goes by that name.
        """
        row = find(self._catalogue, name)
        routings = tuple(item for item in self._catalogue.routings() if item.release == row.digest)
        return row, self._catalogue.release(row.digest), routings

    def route(self, name: str, change: Change) -> tuple[PublishedRelease, bool]:
        """Let a release take its workflow's traffic on ``stable``; False when it does already.

        Raises:
            UnknownReleaseError: nothing goes by that name.
        """
        row = find(self._catalogue, name)
        return row, self._catalogue.route(row.workflow, "stable", row.digest, change)

    def _route_newest(self, releases: tuple[Release, ...], request: Request) -> tuple[str, ...]:
        routed = {
            item.workflow: item.release for item in self._catalogue.routings() if item.channel == "stable"
        }
        moved = []
        for workflow, release in newest(releases).items():
            if routed.get(workflow) == release.digest:
                continue
            if not request.dry_run:
                self._catalogue.route(workflow, "stable", release.digest, request.change)
            moved.append(workflow)
        return tuple(moved)


def _named(releases: tuple[Release, ...]) -> dict[str, str]:
    return {f"{release.workflow}/{release.template.version}": release.digest for release in releases}
