"""``rerun``: an event is started anew under a named release, linked to the original. Pure.

It is another orchestration with another id, so that its actions have keys of their own: it may send again what the
original had confirmed.
"""

from __future__ import annotations

from collections.abc import Mapping

from app.data_plane.ports import Change, Claim, History, NewStep, Queue
from app.data_plane.replay.plan import rerun_id
from app.data_plane.replay.register import Beginning, ReplayEnd, ReplayRow
from app.kernel.facts import OrchestrationStarted
from interlock.identity import advance_id


def begin_anew(original: History, row: ReplayRow, last_ordinal: int) -> Beginning:
    """The rerun's first fact, and the trace that it has until one of its own is begun.

    Args:
        last_ordinal: of the reruns before it. Only one replay of an orchestration is open at a time, and only its
            step's holder can record what it begins: no other rerun can take the next ordinal meanwhile.
    """
    first = original.facts[0].fact
    assert isinstance(first, OrchestrationStarted), "it was judged before"
    ordinal = last_ordinal + 1
    started = first.model_copy(
        update={
            "release": row.release,
            "lane": "rerun",
            "ordinal": ordinal,
            "replay_of": original.orchestration_id,
        }
    )
    return Beginning(rerun_id(original.tenant_id, first, ordinal), started, None)


def rerun(claim: Claim, row: ReplayRow, beginning: Beginning, contents: Mapping[str, bytes]) -> Change:
    """What carrying out the replay records.

    Args:
        contents: the event's, raw and normalised; kept once more, as another orchestration rests on it.
    """
    key = beginning.orchestration_id
    return Change(
        tenant_id=claim.tenant_id,
        orchestration_id=claim.orchestration_id,
        claim=claim,
        contents=contents,
        new_steps=(NewStep(advance_id(key), claim.tenant_id, key, Queue.ORCHESTRATION),),
        begins=beginning,
        ends_replay=ReplayEnd(
            row.replay_id,
            "done",
            f"rerun as {key} under release {row.release[:12]}",
            new_orchestration_id=key,
        ),
    )
