"""A release is named by its content: whatever is changed of a copy, the copy has another name."""

from __future__ import annotations

from app.kernel.release import Release
from tests.branching_workflow import branching_release


def test_a_changed_copy_has_a_digest_of_its_own() -> None:
    """Promise: one byte changed, another digest; also when the original's was asked for before."""
    release = branching_release()
    before = release.digest
    policy = release.policy.model_copy(update={"cedar": release.policy.cedar + " "})
    changed = release.model_copy(update={"policy": policy})
    assert changed.digest not in {before, ""}
    assert changed.digest == Release.model_validate(changed.model_dump()).digest


def test_a_release_reads_back_under_its_own_digest() -> None:
    """Promise: a worker loads exactly the release that was published."""
    release = branching_release()
    assert Release.model_validate_json(release.model_dump_json()).digest == release.digest
