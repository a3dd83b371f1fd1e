"""Guards: what commands print of replays for programs is redacted like what they print for people."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from app.cli.replay_trail_view import Entry, Together, one_as_json
from app.cli.replay_view import plans_as_json
from app.data_plane.replay.plan import Effect, ReplayPlan
from app.data_plane.replay.register import ReplayRow
from app.data_plane.replay.request import Subject
from app.kernel.errors import ConflictError
from interlock.identity import idempotency_key

TOKEN = "ghp_" + "a1B2" * 9
KEY = idempotency_key("orc_" + "0" * 32, "main", 0, "0" * 64)
EFFECT = Effect("act_1", TOKEN, "comment", "tracker", "will_be_sent", f"it said {TOKEN}", KEY, 0)
PLAN = ReplayPlan("orc_1", "resume", "dead_lettered", "0" * 64, (EFFECT,), (), earlier=(f"ann: {TOKEN}",))
ROW = ReplayRow(
    *("rep_1", "demo", "orc_1", "", "resume", "0" * 64, "ann", "1" * 64, "2" * 64, "requested", "", ""),
    *(datetime(2026, 1, 1, tzinfo=UTC), None),
)


def test_plans_and_refusals_are_redacted_and_keep_their_keys() -> None:
    of = Subject("demo", "orc_1")
    shown = plans_as_json([(of, PLAN), (of, ConflictError(f"{TOKEN} is in the way", f"Ask {TOKEN}."))])
    assert TOKEN not in json.dumps(shown)
    assert KEY in json.dumps(shown)


def test_a_kept_plan_is_redacted_in_the_audit_trail() -> None:
    kept = {"effects": [{"name": TOKEN, "why": TOKEN, "idempotency_key": KEY}]}
    shown = one_as_json(Entry(ROW, TOKEN, kept, None), Together((ROW,), (kept,)))  # type: ignore[arg-type]
    assert TOKEN not in json.dumps(shown)
    assert KEY in json.dumps(shown)
