"""Ids are derived and never drawn: these are golden, because ids of yesterday must be found tomorrow."""

from __future__ import annotations

import os
import subprocess
import sys

from interlock import identity

ORCHESTRATION = "orc_5e0a"
EVENT = "evt_ab922ffaffbdb0edd4a6899e8a717524"
LIVE = "orc_cde2f27cc93290ae31d232422d8d5a1b"
RERUN = "orc_548c61a1ee167b1bd5982113eff1d864"
RUN = "run_263e3274a16193a1f34c751739b68e3f"
ADVANCE = "adv_16bd2ec6b3cd42637cd7cc14252cf96b"
AGGREGATION = "agg_449d103f1d9209741f09d00270bc6db9"
REVIEW = "rev_449d103f1d9209741f09d00270bc6db9"
ACTION = "act_230456464f2324f121dfa13327a55cb3"
KEY = "key_f0a9c92b83b03a3afec3b5472ed111bd"


def test_each_kind_of_id_is_what_it_always_was() -> None:
    """A changed derivation would start everything in flight a second time."""
    assert identity.event_key("demo", "https://github.com/a/b", "1") == EVENT
    assert identity.orchestration_id("demo", "https://github.com/a/b", "1", "issue-triage") == LIVE
    assert (
        identity.orchestration_id("demo", "https://github.com/a/b", "1", "issue-triage", "rerun", 1) == RERUN
    )
    assert identity.run_id(ORCHESTRATION, "assess", "classifier") == RUN
    assert identity.advance_id(ORCHESTRATION) == ADVANCE
    assert identity.aggregation_id(ORCHESTRATION, "assess") == AGGREGATION
    assert identity.review_id(ORCHESTRATION, "assess") == REVIEW
    assert identity.action_id(ORCHESTRATION, "label", 0) == ACTION
    assert identity.idempotency_key(ORCHESTRATION, "dispatch", 0, "0" * 64) == KEY


def test_parts_that_only_join_to_the_same_text_have_different_ids() -> None:
    """A tenant must not be able to choose names that collide with another's."""
    assert identity.event_key("a", "bc", "d") != identity.event_key("ab", "c", "d")
    assert identity.event_key("a", "b,c", "d") != identity.event_key("a", "b", "c,d")


def test_ids_do_not_depend_on_the_process_that_derives_them() -> None:
    """Hash randomisation differs between processes; ids may not."""
    code = "from interlock import identity as i; print(i.orchestration_id('demo', 's', '1', 'w'))"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert seen == {identity.orchestration_id("demo", "s", "1", "w") + "\n"}
