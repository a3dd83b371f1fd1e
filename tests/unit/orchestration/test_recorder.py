"""Recording against other writers: what moved is decided again, and nothing that was recorded is told of as lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest

from app.adapters.memory.store import MemoryStore
from app.data_plane.orchestration.recorder import MOST_ROUNDS, Plan, Recorder, Work
from app.data_plane.ports import Carrier, Change, Committed, Releases, Verdict
from app.kernel.errors import TransientError
from app.kernel.facts import CancelRequested
from app.kernel.release import Release
from tests.accepted_events import accepted_event, orchestration_of
from tests.branching_workflow import branching_release

CANCEL = CancelRequested(actor="alice", reason_digest="0" * 64)
EVENT = accepted_event("1", release=branching_release().digest)
WORK = Work("demo", orchestration_of(EVENT), None, lambda _loaded: Plan((CANCEL,)))


class ContendedStore(MemoryStore):
    """Others write first, so many times."""

    def __init__(self, others: int) -> None:
        super().__init__()
        self.others = others

    def commit(self, changes: Sequence[Change]) -> Committed:
        """See ``Store.commit``."""
        self.others -= 1
        if self.others >= 0:
            return Committed((Verdict.MOVED,) * len(changes), ())
        return super().commit(changes)


class OneRelease:
    """The branching workflow's."""

    def get(self, digest: str) -> Release:
        """See ``Releases.get``."""
        return branching_release()


def recorder(store: MemoryStore) -> Recorder:
    store.accept([EVENT])
    return Recorder(store, cast(Releases, OneRelease()), cast(Carrier, None), shortcut=False)


@pytest.mark.parametrize("others", [0, 1, MOST_ROUNDS - 1])
def test_what_moved_is_decided_again_until_it_is_recorded(others: int) -> None:
    """Also in the last round that is allowed: what is recorded is answered for."""
    store = ContendedStore(others)
    (answer,) = recorder(store).record([WORK])
    assert answer.verdict is Verdict.RECORDED
    assert [fact.kind for fact in answer.facts] == ["cancel_requested", "orchestration_closed"]


def test_whoever_never_gets_through_says_so_and_recorded_nothing() -> None:
    store = ContendedStore(MOST_ROUNDS)
    with pytest.raises(TransientError, match="written by others"):
        recorder(store).record([WORK])
    assert store.histories(["demo"], [WORK.orchestration_id])[WORK.orchestration_id].head_seq == 1


def test_nothing_to_record_is_nothing() -> None:
    assert recorder(MemoryStore()).record([]) == []
