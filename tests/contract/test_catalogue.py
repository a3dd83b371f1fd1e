"""What every catalogue keeps: a published version is never edited, and publishing routes no traffic."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from app.adapters.memory.catalogue import MemoryCatalogue
from app.adapters.postgresql.catalogue import PostgresqlCatalogue
from app.adapters.postgresql.database import Database
from app.adapters.postgresql.releases import PostgresqlReleases, ReleaseUnavailableError
from app.control_plane.compile import compile_all
from app.control_plane.documents import Documents, read_documents
from app.control_plane.publishing import (
    Catalogue,
    Change,
    MisroutedReleaseError,
    Plan,
    UnexplainedChangeError,
    UnknownReleaseError,
    VersionAlreadyPublishedError,
    find,
    plan,
)
from app.data_plane.tools import shipped_tools
from app.kernel.errors import DefectError
from app.kernel.release import Release
from interlock.canonical import canonical_bytes

SHIPPED = Path(__file__).parents[2] / "config"
ALICE = Change("alice", "first release")


@pytest.fixture(params=["memory", "postgresql"])
def catalogue(request: pytest.FixtureRequest) -> Iterator[Catalogue]:
    """One catalogue of each kind, empty."""
    if request.param == "memory":
        yield MemoryCatalogue()
        return
    database = Database(request.getfixturevalue("fresh_database"), "interlock_control")
    yield PostgresqlCatalogue(database)
    database.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped documents that a test may edit."""
    copy = tmp_path / "config"
    shutil.copytree(SHIPPED, copy, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    return copy


def documents_and_releases(folder: Path) -> tuple[Documents, tuple[Release, ...]]:
    documents = read_documents(folder)
    return documents, compile_all(documents, shipped_tools())


def planned(catalogue: Catalogue, folder: Path) -> Plan:
    documents, releases = documents_and_releases(folder)
    known = {release.digest for release in catalogue.releases()}
    return plan(documents, releases, catalogue.documents(), known)


def test_what_is_published_is_read_back_as_the_same_release(catalogue: Catalogue, folder: Path) -> None:
    catalogue.publish(planned(catalogue, folder), "alice")
    _, releases = documents_and_releases(folder)
    assert {row.digest for row in catalogue.releases()} == {release.digest for release in releases}
    for release in releases:
        assert catalogue.release(release.digest) == release
        assert catalogue.release(release.digest).digest == release.digest
        row = find(catalogue, release.digest[:10])
        assert (row.workflow, row.version, row.published_by) == (
            release.workflow,
            release.template.version,
            "alice",
        )


def test_publishing_routes_no_traffic(catalogue: Catalogue, folder: Path) -> None:
    catalogue.publish(planned(catalogue, folder), "alice")
    assert catalogue.routings() == ()


def test_publishing_the_same_again_changes_nothing(catalogue: Catalogue, folder: Path) -> None:
    catalogue.publish(planned(catalogue, folder), "alice")
    before = (catalogue.documents(), catalogue.releases())
    again = planned(catalogue, folder)
    assert (again.documents, again.releases) == ((), ())
    catalogue.publish(again, "bob")
    assert (catalogue.documents(), catalogue.releases()) == before


def test_a_document_edited_after_publishing_is_refused_and_nothing_is_kept(
    catalogue: Catalogue, folder: Path
) -> None:
    catalogue.publish(planned(catalogue, folder), "alice")
    before = (catalogue.documents(), catalogue.releases())
    instructions = folder / "agents/classifier/1/instructions.md"
    instructions.write_text(instructions.read_text() + "Be brief.\n")
    with pytest.raises(VersionAlreadyPublishedError) as refused:
        planned(catalogue, folder)
    assert refused.value.code == "version_already_published"
    assert "agent classifier/1" in refused.value.what
    assert "next version" in refused.value.remedy
    assert (catalogue.documents(), catalogue.releases()) == before


def test_of_two_who_publish_other_content_at_once_one_is_refused(catalogue: Catalogue, folder: Path) -> None:
    """Both planned against an empty catalogue, so only the catalogue itself can tell."""
    mine = planned(catalogue, folder)
    instructions = folder / "agents/classifier/1/instructions.md"
    instructions.write_text(instructions.read_text() + "Be brief.\n")
    theirs = planned(catalogue, folder)
    refused: list[Exception] = []

    def publish(chosen: Plan) -> None:
        try:
            catalogue.publish(chosen, "alice")
        except VersionAlreadyPublishedError as error:
            refused.append(error)

    threads = [threading.Thread(target=publish, args=[chosen]) for chosen in (mine, theirs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    assert len(catalogue.releases()) == len(mine.releases)


def test_a_new_version_stands_beside_the_old_one(catalogue: Catalogue, folder: Path) -> None:
    catalogue.publish(planned(catalogue, folder), "alice")
    next_version(folder / "workflows/ci-failure", "workflow.yaml")
    added = planned(catalogue, folder)
    assert [str(document.key) for document in added.documents] == ["workflow ci-failure/3"]
    catalogue.publish(added, "bob")
    versions = [row.version for row in catalogue.releases() if row.workflow == "ci-failure"]
    assert versions == [1, 2, 3]


def test_a_route_says_who_moved_the_traffic_and_why(catalogue: Catalogue, folder: Path) -> None:
    catalogue.publish(planned(catalogue, folder), "alice")
    digest = next(row.digest for row in catalogue.releases() if row.workflow == "ci-failure")
    assert catalogue.route("ci-failure", "stable", digest, ALICE)
    (routing,) = catalogue.routings()
    assert (routing.workflow, routing.channel, routing.release) == ("ci-failure", "stable", digest)
    assert (routing.changed_by, routing.reason) == ("alice", "first release")
    assert find(catalogue, "ci-failure").digest == digest


def test_routing_what_is_routed_already_keeps_the_first_reason(catalogue: Catalogue, folder: Path) -> None:
    catalogue.publish(planned(catalogue, folder), "alice")
    digest = next(row.digest for row in catalogue.releases() if row.workflow == "ci-failure")
    catalogue.route("ci-failure", "stable", digest, ALICE)
    assert not catalogue.route("ci-failure", "stable", digest, Change("bob", "again"))
    assert catalogue.routings()[0].changed_by == "alice"


def test_a_release_takes_the_traffic_of_its_own_workflow_only(catalogue: Catalogue, folder: Path) -> None:
    catalogue.publish(planned(catalogue, folder), "alice")
    digest = next(row.digest for row in catalogue.releases() if row.workflow == "ci-failure")
    with pytest.raises(MisroutedReleaseError):
        catalogue.route("issue-triage", "stable", digest, ALICE)
    with pytest.raises(UnknownReleaseError):
        catalogue.route("issue-triage", "stable", "0" * 64, ALICE)
    assert catalogue.routings() == ()


@pytest.mark.parametrize("lookup", [lambda c: c.release("0" * 64), lambda c: find(c, "ci-failure")])
def test_what_is_not_published_is_not_found(
    catalogue: Catalogue, lookup: Callable[[Catalogue], object]
) -> None:
    with pytest.raises(UnknownReleaseError):
        lookup(catalogue)


@pytest.mark.parametrize(("actor", "reason"), [("", "because"), ("alice", " "), ("alice", "x" * 501)])
def test_a_change_without_an_actor_or_a_reason_is_refused(actor: str, reason: str) -> None:
    with pytest.raises(UnexplainedChangeError):
        Change(actor, reason)


def next_version(folder: Path, file: str) -> None:
    """Copies version 2 of a document to version 3."""
    shutil.copytree(folder / "2", folder / "3")
    path = folder / "3" / file
    path.write_text(path.read_text().replace("version: 2\n", "version: 3\n", 1))


class TestInPostgresql:
    """What only a database can be asked."""

    @pytest.fixture
    def database(self, fresh_database: str) -> Iterator[Database]:
        database = Database(fresh_database, "interlock_control")
        yield database
        database.close()

    def test_lookups_answer_from_the_highest_version_of_the_tenant(
        self, database: Database, folder: Path, fresh_database: str
    ) -> None:
        """Version 3 comes first here; publishing version 2 after it must not bring the old entries back."""
        two = folder / "tenants/demo/2"
        next_version(folder / "tenants/demo", "tenant.yaml")
        (folder / "tenants/demo/3/reference/services.yaml").unlink()
        set_aside = shutil.move(two, folder.parent / "set-aside")
        catalogue = PostgresqlCatalogue(database)
        catalogue.publish(planned(catalogue, folder), "alice")
        shutil.move(set_aside, two)
        catalogue.publish(planned(catalogue, folder), "alice")
        with psycopg.connect(fresh_database) as connection:
            version = connection.execute("SELECT version FROM tenants WHERE tenant_id = 'demo'").fetchone()
            rows = connection.execute(
                "SELECT DISTINCT collection FROM reference_entries ORDER BY 1"
            ).fetchall()
        assert version == (3,)
        assert [row[0] for row in rows] == ["advisories", "repositories"]

    @pytest.mark.parametrize("table", ["documents", "releases"])
    def test_the_database_itself_refuses_to_edit_what_is_published(
        self, database: Database, folder: Path, table: str, fresh_database: str
    ) -> None:
        """Not even its owner may, so that a slip in an SQL console cannot change what decided."""
        catalogue = PostgresqlCatalogue(database)
        catalogue.publish(planned(catalogue, folder), "alice")
        with psycopg.connect(fresh_database) as connection, pytest.raises(psycopg.errors.IntegrityError):
            connection.execute(f"UPDATE {table} SET body = 'x'::bytea")

    def test_a_worker_leaves_a_release_that_is_judged_by_rules_which_it_does_not_know(
        self, database: Database, folder: Path, fresh_database: str
    ) -> None:
        """Its orchestrations wait for a worker that knows them: other rules would give other verdicts."""
        published = planned(PostgresqlCatalogue(database), folder).releases[0]
        newer = published.model_copy(update={"gateway": "gateway/9"})
        with psycopg.connect(fresh_database) as connection:
            connection.execute(
                "INSERT INTO releases (digest, workflow, body, published_by) VALUES (%s, %s, %s, 'test')",
                [newer.digest, newer.workflow, canonical_bytes(newer.model_dump(mode="json"))],
            )
        with pytest.raises(ReleaseUnavailableError, match="gateway/9"):
            PostgresqlReleases(database, shipped_tools()).get(newer.digest)

    @pytest.mark.parametrize("role", ["interlock_worker", "interlock_api"])
    def test_workers_and_the_api_cannot_publish(self, folder: Path, fresh_database: str, role: str) -> None:
        database = Database(fresh_database, role)  # type: ignore[arg-type]
        catalogue = PostgresqlCatalogue(database)
        with pytest.raises(DefectError, match="InsufficientPrivilege"):
            catalogue.publish(planned(catalogue, folder), "mallory")
        database.close()
