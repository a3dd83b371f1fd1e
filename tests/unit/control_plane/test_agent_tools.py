"""What agents may call is checked with the workflow, and a release holds it; and one combination is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

from app.cli.releases import _print_release
from app.control_plane.compile import compile_all, compile_release
from app.control_plane.documents import read_documents
from app.control_plane.problems import DocumentError, Problem
from app.control_plane.publishing import PublishedRelease
from app.data_plane.tools import Arguments, Outgoing, Reading, Result, Structured, shipped_tools, tool
from app.kernel.clock import SystemClock
from app.kernel.release import GATEWAY, Release
from app.kernel.tool_spec import Reads, ToolSpec

WORKFLOW = "workflows/ci-failure/1/workflow.yaml"
AGENT = "agents/on-call/1/agent.yaml"
RULES = "providers/scripted/1/on-call.yaml"
POLICY = "policies/ci-failure/1/policy.cedar"


class Subject(Arguments):
    """Of whom."""

    name: str


class Told(Result):
    """Free text."""

    text: str = ""


class Counted(Result):
    """A number."""

    count: int = 0


class Known(Result):
    """What the tenant's own people wrote."""

    text: Annotated[str, Structured] = ""
    tags: Annotated[list[str], Structured] = Field(default=[])


class Chosen(Result):
    """Nothing but a flag."""

    done: bool = True


@tool("salaries.read", version=1, effect="read", sensitive=True, trusted=True)
async def salaries(arguments: Subject, reading: Reading) -> Known:
    """Reads a salary."""
    return Known()


@tool("secrets.lookup", version=1, effect="read", sensitive=True, trusted=True)
async def secrets(arguments: Subject, reading: Reading) -> Known:
    """Reads a secret."""
    return Known()


@tool("wiki.read", version=1, effect="read")
async def wiki(arguments: Subject, reading: Reading) -> Told:
    """Reads a page that anybody may have written."""
    return Told()


@tool("wiki.count", version=1, effect="read")
async def wiki_count(arguments: Subject, reading: Reading) -> Counted:
    """Counts what anybody may have written."""
    return Counted()


@tool("crm.read", version=1, effect="read", trusted=True)
async def crm(arguments: Subject, reading: Reading) -> Told:
    """Reads a note that a customer may have written, in our own system."""
    return Told()


@tool("mail.send", version=1, effect="egress")
def mail(arguments: Subject) -> Outgoing[Chosen]:
    """Sends a mail."""
    return Outgoing("/mail", {})


@tool("pigeon.send", version=1, effect="write", idempotency="none")
def pigeon(arguments: Subject) -> Outgoing[Chosen]:
    """Sends a pigeon, which carries no key."""
    return Outgoing("/pigeon", {})


TOOLS: Mapping[str, ToolSpec] = {
    **shipped_tools(),
    **{one.name: one.spec() for one in (salaries, secrets, wiki, wiki_count, crm, mail, pigeon)},
}


def replace(folder: Path, file: str, old: str, new: str) -> None:
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1))


def append(folder: Path, file: str, text: str) -> None:
    (folder / file).write_text((folder / file).read_text().rstrip() + f"\n{text}\n")


def compiled(folder: Path) -> Release:
    return compile_release(read_documents(folder), "ci-failure", 1, TOOLS)


def problems_of(folder: Path) -> tuple[Problem, ...]:
    with pytest.raises(DocumentError) as refused:
        compiled(folder)
    return refused.value.problems


NOTE = "{tool: tracker.add_note, target: tracker}"
LOOKUP = "{tool: directory.lookup}"


def test_a_release_holds_the_tools_that_its_agents_may_call(folder: Path) -> None:
    without = compiled(folder)
    append(folder, AGENT, f"tools:\n  - {LOOKUP}\n  - {NOTE}")
    release = compiled(folder)
    assert set(release.tools) - set(without.tools) == {"tracker.add_note"}
    assert [called.tool for called in release.agents["on-call"].tools] == [
        "directory.lookup",
        "tracker.add_note",
    ]
    assert release.digest != without.digest


def test_a_release_says_which_gateway_judges_it_and_what_its_actions_read(folder: Path) -> None:
    release = compiled(folder)
    assert release.gateway == GATEWAY
    assert release.reads["notify"] == {
        "owner": Reads(paths=("snapshot.service.entry.owner",), literals=("unowned",)),
        "cause": Reads(paths=("stages.remedy.note",)),
        "url": Reads(paths=("event.check.url",)),
        "urgency": Reads(paths=("stages.remedy.urgency",), literals=("whenever",)),
    }
    assert release.reads["record"]["repository"] == Reads(
        paths=("event.repository.full_name",), literals=("unknown",)
    )


@pytest.mark.parametrize(
    ("tools", "field", "reason"),
    [
        (["{tool: tracker.shout, target: tracker}"], "tools.0.tool", "no tool 'tracker.shout'"),
        (["{tool: tracker.add_note}"], "tools.0", "has the effect 'write', and no target is named"),
        (["{tool: tracker.add_note, target: pigeon}"], "tools.0.target", "declares no target 'pigeon'"),
        (
            ["{tool: directory.lookup, target: tracker}"],
            "tools.0.target",
            "only reads, and goes to no target",
        ),
        (["{tool: directory.lookup, approval: {}}"], "tools.0.approval", "nobody is asked"),
        ([LOOKUP, LOOKUP], "tools", "'directory.lookup' is there twice"),
        ([NOTE, "{tool: tracker.add_note, target: pager}"], "tools", "'tracker.add_note' is there twice"),
    ],
)
def test_a_tool_that_an_agent_cannot_have_is_refused(
    folder: Path, tools: Sequence[str], field: str, reason: str
) -> None:
    append(folder, AGENT, "\n".join(["tools:", *(f"  - {one}" for one in tools)]))
    found = [one for one in problems_of(folder) if one.field == field and reason in one.reason]
    assert found, problems_of(folder)
    assert found[0].path == AGENT
    assert found[0].remedy


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (
            "{name: loft, honours_keys: true}",
            "sends no key (its idempotency is 'none'), and the target 'loft'",
        ),
        ('{name: loft, probe_path: "/keys/{key}"}', "the target 'loft' tells what became of a key"),
        ("{name: loft}", ""),
    ],
)
def test_an_effect_without_a_key_goes_to_no_target_whose_promises_rest_on_keys(
    folder: Path, target: str, reason: str
) -> None:
    """It would be sent again there as one that is applied once, and be applied twice."""
    replace(folder, WORKFLOW, "targets:\n", f"targets:\n  - {target}\n")
    append(folder, AGENT, "tools:\n  - {tool: pigeon.send, target: loft}")
    if not reason:
        assert "pigeon.send" in compiled(folder).tools
        return
    (problem,) = problems_of(folder)
    assert (problem.path, problem.field) == (AGENT, "tools.0.target")
    assert reason in problem.reason


def test_an_action_without_a_key_goes_to_no_target_that_honours_keys(folder: Path) -> None:
    replace(folder, WORKFLOW, "targets:\n", "targets:\n  - {name: loft, honours_keys: true}\n")
    replace(
        folder,
        WORKFLOW,
        "actions:\n",
        "actions:\n  - name: fly\n    tool: pigeon.send\n    target: loft\n    arguments: {name: '\"ann\"'}\n",
    )
    (problem,) = problems_of(folder)
    assert (problem.path, problem.field) == (WORKFLOW, "actions.fly.target")


def test_an_approval_may_wait_for_an_agents_effect(folder: Path) -> None:
    append(
        folder,
        AGENT,
        "tools:\n  - {tool: tracker.add_note, target: tracker, approval: {expires_seconds: 60}}",
    )
    (called,) = compiled(folder).agents["on-call"].tools
    assert called.approval is not None


def test_an_agent_with_tools_does_not_begin_with_a_model_that_can_call_none(folder: Path) -> None:
    append(folder, AGENT, f"tools:\n  - {LOOKUP}")
    replace(folder, AGENT, "providers: [scripted]", "providers: [local, scripted]")
    replace(folder, AGENT, "{scripted: 1}", "{scripted: 1, local: 1}")
    (problem,) = problems_of(folder)
    assert (problem.path, problem.field) == (AGENT, "providers.0")
    assert "calls none" in problem.reason
    replace(folder, AGENT, "[local, scripted]", "[scripted, local]")
    assert compiled(folder)


def test_who_chooses_the_local_model_for_every_agent_chooses_what_it_cannot_do(folder: Path) -> None:
    append(folder, AGENT, f"tools:\n  - {LOOKUP}")
    assert compile_all(read_documents(folder), TOOLS, provider="local")


@pytest.mark.parametrize(
    ("trusted", "field", "reason"),
    [
        ("[event.check.name, event.check.name]", "trusted", "'event.check.name' is there twice"),
        ("[check.name]", "trusted.0", "should match pattern"),
        ("[event]", "trusted.0", "should match pattern"),
        ("['event.labels[0]']", "trusted.0", "should match pattern"),
        ("['event.a..b']", "trusted.0", "should match pattern"),
    ],
)
def test_trusted_fields_are_paths_of_the_event_each_once(
    folder: Path, trusted: str, field: str, reason: str
) -> None:
    append(folder, WORKFLOW, f"trusted: {trusted}")
    with pytest.raises(DocumentError) as refused:
        compiled(folder)
    assert any(one.field == field and reason in one.reason for one in refused.value.problems)


CALL = "{tool: tracker.add_note, arguments: {note: 'inputs.cause + results[0].text'}}"


@pytest.mark.parametrize(
    "rule",
    [
        f"{{calls: [{CALL}]}}",
        f"{{calls: [{CALL}], answer: I look it up.}}",
        "{calls: [{tool: rm -rf, arguments: 'not even JSON'}], turn: 0}",
        "{when: size(results) > 0, answer: no proposal}",
    ],
)
def test_a_scripted_model_may_call_anything_as_a_real_one_may(folder: Path, rule: str) -> None:
    """Hostile tests call what there is not."""
    append(folder, RULES, f"  - {rule}")
    assert compiled(folder)


@pytest.mark.parametrize(
    ("rule", "field", "reason"),
    [
        ("{turn: 1}", "", "neither an answer nor a failure, and calls no tool"),
        (f"{{calls: [{CALL}], failure: {{code: provider_busy}}}}", "", "it calls tools and fails"),
        (f"{{calls: [{CALL}], answer: {{step: fix, urgency: now, note: x}}}}", "", "nobody would read"),
        (
            "{calls: [{tool: x.y, arguments: {note: inputs.nope}}]}",
            ".calls.0.arguments.note",
            "inputs.nope, which is not there",
        ),
        (
            "{calls: [{tool: x.y, arguments: {note: event.check.name}}]}",
            ".calls.0.arguments.note",
            "unknown variable 'event'",
        ),
        ("{when: results., answer: x}", ".when", "not CEL"),
    ],
)
def test_a_rule_that_can_do_nothing_is_refused(folder: Path, rule: str, field: str, reason: str) -> None:
    append(folder, RULES, f"  - {rule}")
    found = problems_of(folder)
    assert any(one.field.endswith(field) and reason in one.reason for one in found), found


def to_send(folder: Path, *, who: str = 'Agent::"on-call"', approval: str = "") -> None:
    """The on-call agent may send mails, and the policy permits it."""
    append(folder, WORKFLOW, "trusted: [event.check, event.action]")
    replace(folder, WORKFLOW, "  - {name: pager", "  - {name: mail}\n  - {name: pager")
    append(
        folder,
        POLICY,
        f'@id("mails") {approval} permit (principal == {who}, action == Action::"mail.send", resource);',
    )


def calls(folder: Path, *tools: str, agent: str = AGENT) -> None:
    append(folder, agent, "\n".join(["tools:", *(f"  - {one}" for one in tools)]))


MAIL = "{tool: mail.send, target: mail}"
SALARIES = "{tool: salaries.read}"


def test_untrusted_input_sensitive_data_and_an_external_effect_without_an_approval_are_refused(
    folder: Path,
) -> None:
    """Promise 4: the reason names all three, and what would mend it."""
    to_send(folder)
    replace(
        folder, WORKFLOW, "trusted: [event.check, event.action]", "trusted: [event.check.name, event.action]"
    )
    calls(folder, MAIL, SALARIES)
    (problem,) = problems_of(folder)
    assert (problem.path, problem.field) == (WORKFLOW, "policy")
    assert (
        "untrusted input (the input 'kind' of the agent 'history-keeper' reads event.check.kind)"
        in problem.reason
    )
    assert "sensitive data (the agent 'on-call' calls salaries.read)" in problem.reason
    assert "an external effect (the agent 'on-call' calls mail.send)" in problem.reason
    assert "the statement 'mails' permits without an approval" in problem.reason
    for word in ("@approval", "trusted", "sensitive", "effect"):
        assert word in problem.remedy


@pytest.mark.parametrize("called", ["{tool: wiki.read}", "{tool: wiki.count}", "{tool: crm.read}"])
def test_a_tools_results_are_untrusted_input_unless_they_are_trusted_and_structured(
    folder: Path, called: str
) -> None:
    to_send(folder)
    calls(folder, MAIL, SALARIES)
    assert compiled(folder), "all that the agents see of the event is trusted, and so are salaries"
    calls(folder, called, agent="agents/repairer/1/agent.yaml")
    (problem,) = problems_of(folder)
    assert f"the agent 'repairer' reads what {called[7:-1]} answers" in problem.reason


def test_what_a_lookup_found_is_untrusted_input_and_may_be_the_sensitive_data(folder: Path) -> None:
    to_send(folder)
    calls(folder, MAIL)
    lookup = "\n  - {name: hidden, tool: %s, arguments: {name: event.check.name}}"
    replace(folder, WORKFLOW, "lookups:", "lookups:" + lookup % "secrets.lookup")
    assert compiled(folder)
    replace(folder, WORKFLOW, "lookups:", "lookups:" + lookup.replace("hidden", "page") % "wiki.read")
    assert compiled(folder), "no agent sees it"
    replace(folder, AGENT, "inputs:", "inputs:\n  page: snapshot.page.text")
    (problem,) = problems_of(folder)
    assert "the input 'page' of the agent 'on-call' reads what wiki.read found" in problem.reason
    assert "sensitive data (the lookup 'hidden' by secrets.lookup)" in problem.reason


def test_without_sensitive_data_or_an_external_effect_nobody_need_be_asked(folder: Path) -> None:
    to_send(folder)
    calls(folder, MAIL, "{tool: wiki.read}")
    assert compiled(folder)
    replace(folder, AGENT, f"  - {MAIL}", f"  - {SALARIES}")
    assert compiled(folder)


FORBID = '@id("never") {} forbid (principal, action == Action::"mail.send", resource) {};'


@pytest.mark.parametrize(
    ("approval", "more", "refused"),
    [
        ("", "", True),
        ('@approval("A mail leaves the house.")', "", False),
        ("", FORBID.format('@approval("A mail leaves the house.")', ""), False),
        ("", FORBID.format("", ""), False),
        ("", FORBID.format('@approval("On Sundays.")', 'when { context.tenant == "demo" }'), True),
        ("", FORBID.format('@approval("Why.")', "").replace("(principal,", "(principal is Workflow,"), True),
        ("", FORBID.format('@approval("Why.")', "").replace("mail.send", "tracker.add_note"), True),
        (
            '@approval("A mail leaves the house.")',
            '@id("also") permit (principal is Agent, action in [Action::"mail.send"], resource)'
            ' when { context.tenant == "demo" };',
            True,
        ),
        (
            '@approval("A mail leaves the house.")',
            '@id("other") permit (principal == Agent::"repairer", action == Action::"mail.send", resource);',
            False,
        ),
    ],
)
def test_an_approval_counts_where_no_permit_goes_around_it(
    folder: Path, approval: str, more: str, refused: bool
) -> None:
    """By scope alone: what a condition excludes counts as permitted."""
    to_send(folder, approval=approval)
    append(folder, POLICY, more)
    calls(folder, MAIL, SALARIES, "{tool: wiki.read}")
    if refused:
        (problem,) = problems_of(folder)
        assert "it combines untrusted input" in problem.reason
    else:
        assert compiled(folder)


@pytest.mark.parametrize("approval", ["", '@approval("A mail leaves the house.")'])
def test_an_action_that_sends_something_out_counts_as_well(folder: Path, approval: str) -> None:
    to_send(folder, who='Workflow::"ci-failure"', approval=approval)
    calls(folder, SALARIES, "{tool: wiki.read}")
    action = "actions:\n  - {name: tell, tool: mail.send, target: mail, arguments: {name: decision.owner}}"
    replace(folder, WORKFLOW, "actions:", action)
    if approval:
        assert compiled(folder)
    else:
        (problem,) = problems_of(folder)
        assert "an external effect (the action 'tell' by mail.send)" in problem.reason


def test_what_nothing_permits_is_never_sent(folder: Path) -> None:
    to_send(folder, who='Agent::"repairer"')
    calls(folder, MAIL, SALARIES, "{tool: wiki.read}")
    assert compiled(folder)


def test_the_command_shows_what_agents_call_and_where_a_person_is_asked(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    to_send(folder, approval='@approval("A mail leaves [the house].") @four_eyes')
    calls(folder, MAIL, SALARIES)
    release = compiled(folder)
    row: dict[str, Any] = {
        "digest": release.digest,
        "workflow": "ci-failure",
        "version": 1,
        "published_at": SystemClock().now(),
        "published_by": "test",
    }
    _print_release(PublishedRelease(**row), release, ())
    shown = capsys.readouterr().out
    assert "agent on-call calls" in shown
    assert "mail.send/1 (egress) at mail" in shown
    assert "salaries.read/1 (read)" in shown
    assert "two people are asked: A mail leaves [the house]." in shown
