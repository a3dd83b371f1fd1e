"""Promise 4: a policy that limits what a run may spend goes by what it has spent, its models and its tools together."""

from __future__ import annotations

from app.data_plane.agent_runs.calls import PlacedCall, judge_calls
from app.data_plane.models import ModelAnswer, ToolCall
from app.data_plane.replay.rejudging import wrong_verdict
from app.kernel.facts import ActionAuthorised, ModelAnswered, ModelFailed, Recorded, ToolCalled
from app.kernel.release import Release
from tests.hostile_runs import carry, release

LOOKUP = ToolCall("1", "directory.lookup", '{"collection": "customers", "key": "octo/shop"}')
PAGE = ToolCall("2", "pages.read", '{"page": "octo-wiki"}')
MAIL = ToolCall("3", "mail.send", '{"to": "ines@octo.test", "subject": "Hello", "body": "Soon."}')
LIMIT = """
@id("spend-little") forbid (principal, action == Action::"mail.send", resource)
when { context.spend.nano_usd >= 3000 };
"""


END = ModelAnswer('{"outcome": "done", "why": "x"}', "some-model", 1, 1)
PRICES = {"directory.lookup": 1000, "pages.read": 2000}


def costly() -> Release:
    """Reading costs billionths of a dollar, and no mail is sent by a run that has cost 3,000 of them."""
    known = release()
    tools = {
        name: spec.model_copy(update={"nano_usd": PRICES.get(name, 0)}) for name, spec in known.tools.items()
    }
    policy = known.policy.model_copy(update={"cedar": known.policy.cedar + LIMIT})
    return known.model_copy(update={"tools": tools, "policy": policy})


def said(*calls: ToolCall) -> ModelAnswer:
    """An answer that calls these."""
    return ModelAnswer("", "some-model", 1, 1, calls=calls)


def mails(*answers: tuple[ToolCall, ...]) -> tuple[list[str], list[int]]:
    """What is said to the mails of a run with these answers, and what its orchestration is told that it has cost."""
    said = [ModelAnswer("", "some-model", 1, 1, calls=calls) for calls in answers]
    ended = carry(
        [*said, ModelAnswer('{"outcome": "done", "why": "x"}', "some-model", 1, 1)], pinned=costly()
    )
    assert all(isinstance(verdict, ActionAuthorised) for verdict in ended.handed_over)
    called = [fact for fact in ended.run.chain if isinstance(fact, ToolCalled)]
    verdicts = [str(fact.verdict) for fact in called if fact.tool == "mail.send"]
    return verdicts, [call.spent_nano_usd for call in ended.proposed]


def test_a_run_that_has_cost_too_much_calls_nothing_more() -> None:
    assert mails((LOOKUP,), (LOOKUP,), (MAIL,)) == (["handed_over"], [2000])
    assert mails((LOOKUP,), (PAGE,), (MAIL,)) == (["denied"], [])


def test_the_calls_before_it_in_the_same_answer_count() -> None:
    assert mails((LOOKUP,), (MAIL, PAGE)) == (["handed_over"], [1000])
    assert mails((LOOKUP,), (PAGE, MAIL)) == (["denied"], [])


def test_what_another_provider_cost_before_the_verdict_counts_again_when_it_is_verified() -> None:
    """It was asked beside the one that answered, and what is presumed of it was recorded after the answer."""
    run = carry([said(LOOKUP), said(MAIL), END], pinned=costly()).run
    place = next(
        at for at, fact in enumerate(run.chain) if isinstance(fact, ToolCalled) and fact.tool == "mail.send"
    )
    failed = ModelFailed(position=9, provider="model", code="cancelled", fate="transient", nano_usd=5000)
    before = [*run.chain[:place], failed]
    answer = run.chain[place - 1]
    assert isinstance(answer, ModelAnswered)
    (judged,) = judge_calls(run.caller, before, [PlacedCall(answer.position, 0, MAIL)], "")
    assert judged.fact.verdict == "denied"
    chain = [Recorded(run.claim.step_id, seq, "", fact) for seq, fact in enumerate([*before, judged.fact])]
    assert wrong_verdict(run.caller, chain) is None
