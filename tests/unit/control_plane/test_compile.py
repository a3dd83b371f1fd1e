"""A release is closed and checked, and its digest is over everything that decides and over nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import pytest

from app.control_plane.compile import UnknownProviderError, compile_all, compile_release
from app.control_plane.documents import Documents, read_documents
from app.control_plane.problems import DocumentError, Problem
from app.data_plane.tools import shipped_tools
from app.kernel.release import Release, ScriptedProvider

K = TypeVar("K")
V = TypeVar("V")

ROOT = Path(__file__).parents[3]
WORKFLOW = "workflows/issue-triage/1/workflow.yaml"
RISK_FALLBACK = "    fallback: {risk: medium, why: No agent could judge the change.}\n"


def digest_of(folder: Path, workflow: str = "issue-triage") -> str:
    return compile_release(read_documents(folder), workflow, 1, shipped_tools()).digest


def problems_of(folder: Path) -> tuple[Problem, ...]:
    with pytest.raises(DocumentError) as refused:
        compile_all(read_documents(folder), shipped_tools())
    return refused.value.problems


def backwards(mapping: Mapping[K, V]) -> dict[K, V]:
    """The same mapping, inserted from its end."""
    return dict(reversed(list(mapping.items())))


def replace(folder: Path, file: str, old: str, new: str) -> None:
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("documents", ["config", "tests/benchmark/documents"])
def test_every_workflow_in_the_repository_compiles(documents: str) -> None:
    assert compile_all(read_documents(ROOT / documents), shipped_tools())


@pytest.mark.parametrize("workflow", ["issue-triage", "ci-failure", "security-alert"])
def test_a_shipped_workflow_asks_three_agents_reads_once_and_writes_once(workflow: str) -> None:
    release = compile_release(read_documents(ROOT / "config"), workflow, 1, shipped_tools())
    assert max(len(stage.agents) for stage in release.template.stages) >= 3
    assert {tool.effect for tool in release.tools.values()} == {"read", "write"}
    assert all(stage.fallback is not None for stage in release.template.stages)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (WORKFLOW, "why: No agent gave a usable label.", "why: No agent gave a usable label!"),
        (WORKFLOW, "rule: majority", "rule: weighted"),
        (
            WORKFLOW,
            "{name: pager, honours_keys: true}",
            '{name: pager, honours_keys: true, probe_path: "/keys/{key}"}',
        ),
        (WORKFLOW, "agents: [classifier, maintainer", "agents: [maintainer, classifier"),
        ("agents/classifier/1/instructions.md", "You label", "You  label"),
        ("agents/classifier/1/agent.yaml", "event.issue.body", "event.issue.title"),
        ("providers/scripted/1/classifier.yaml", "priority: p1", "priority: p2"),
        ("providers/scripted/1/provider.yaml", "scripted-1", "scripted-2"),
        ("policies/issue-triage/1/policy.cedar", "permit (", "permit  ("),
    ],
)
def test_one_byte_changed_makes_another_digest(folder: Path, file: str, old: str, new: str) -> None:
    before = digest_of(folder)
    replace(folder, file, old, new)
    assert digest_of(folder) != before


def test_a_tool_of_another_declared_version_makes_another_digest(folder: Path) -> None:
    tools = dict(shipped_tools())
    tools["tracker.triage_issue"] = tools["tracker.triage_issue"].model_copy(update={"version": 2})
    changed = compile_release(read_documents(folder), "issue-triage", 1, tools)
    assert changed.digest != digest_of(folder)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("providers/scripted/1/log-reader.yaml", "It reports no failure.", "All is well."),
        ("tenants/demo/1/reference/services.yaml", "docs-guild", "somebody-else"),
        (WORKFLOW, "name: issue-triage\n", "# A comment.\nname:   issue-triage\n"),
    ],
)
def test_what_does_not_decide_here_changes_no_digest(folder: Path, file: str, old: str, new: str) -> None:
    """Another workflow's rules, a tenant's data, and how a file is laid out."""
    before = digest_of(folder)
    replace(folder, file, old, new)
    assert digest_of(folder) == before


def test_the_order_in_which_documents_were_read_does_not_matter(folder: Path) -> None:
    documents = read_documents(folder)
    turned = Documents(
        workflows=backwards(documents.workflows),
        agents=backwards(documents.agents),
        policies=backwards(documents.policies),
        providers=backwards(documents.providers),
    )
    tools = backwards(shipped_tools())
    assert compile_all(documents, shipped_tools()) == compile_all(turned, tools)


def test_the_order_in_which_files_were_written_does_not_matter(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for file in sorted((file for file in folder.rglob("*") if file.is_file()), reverse=True):
        copy = other / file.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    assert digest_of(other) == digest_of(folder)


def test_hash_randomisation_does_not_matter(folder: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from app.control_plane.compile import compile_all;"
        "from app.control_plane.documents import read_documents; from app.data_plane.tools import shipped_tools;"
        "print([r.digest for r in compile_all(read_documents(Path(sys.argv[1])), shipped_tools())])"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", program, str(folder)],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    (answer,) = answers
    assert digest_of(folder) in answer


def test_a_release_holds_only_what_its_workflow_uses(folder: Path) -> None:
    release = compile_release(read_documents(folder), "ci-failure", 1, shipped_tools())
    (provider,) = release.providers.values()
    assert isinstance(provider, ScriptedProvider)
    assert {rule.agent for rule in provider.rules} == set(release.agents)
    assert set(release.tools) == {"directory.lookup", "pager.notify_owner", "tracker.record_check"}


def test_a_release_read_back_from_its_json_has_the_same_digest(folder: Path) -> None:
    for release in compile_all(read_documents(folder), shipped_tools()):
        assert Release.model_validate_json(release.model_dump_json()).digest == release.digest


# ruff: noqa: E501 - the table below reads by its columns
BROKEN: list[tuple[str, str, str, str, str]] = [
    # file, what is replaced, by what, the problem's field, a part of its reason
    (WORKFLOW, "    after: [classify]\n    when: stages", "    after: [triage]\n    when: stages", "stages.answer.after", "no stage 'triage'"),
    (WORKFLOW, "  - name: classify\n", "  - name: classify\n    after: [next_step]\n", "stages", "cycle"),
    (WORKFLOW, "after: [answer, risk]", "after: [next_step]", "stages", "cycle"),
    (WORKFLOW, "  - name: risk\n", "  - name: answer\n", "stages", "'answer' is there twice"),
    (WORKFLOW, "  queue-keeper: 1\n", "  queue-keeper: 7\n", "agent_versions.queue-keeper", "no agent 'queue-keeper' of version 7"),
    (WORKFLOW, "agents: [coordinator, queue-keeper]", "agents: [coordinator, oracle]", "agent_versions", "'oracle' has no version"),
    (WORKFLOW, "  classifier: 1\n", "  classifier: 1\n  log-reader: 1\n", "agent_versions.log-reader", "no stage calls"),
    (WORKFLOW, "target: pager", "target: pigeon", "actions.notify.target", "no target 'pigeon'"),
    (WORKFLOW, "tool: pager.notify_owner", "tool: pager.shout", "actions.notify.tool", "no tool 'pager.shout'"),
    (WORKFLOW, "tool: pager.notify_owner", "tool: directory.lookup", "actions.notify.tool", "only reads"),
    (WORKFLOW, "tool: directory.lookup", "tool: reference.record", "lookups.repository.tool", "lookups only read"),
    (WORKFLOW, "      number: event.issue.number\n", "", "actions.triage.arguments", "needs the argument 'number'"),
    (WORKFLOW, "      number: event", "      colour: '1'\n      number: event", "actions.triage.arguments.colour", "no such argument"),
    (WORKFLOW, "when: stages.classify.needs_answer", "when: stages.classify.needs_answr", "stages.answer.when", "needs_answr"),
    (WORKFLOW, "when: stages.classify.needs_answer", "when: stages.risk.risk == 'low'", "stages.answer.when", "stages.risk, which is not there"),
    (WORKFLOW, "when: stages.classify.needs_answer", "when: stages.classify.", "stages.answer.when", "not CEL"),
    (WORKFLOW, "next_step: stages.next_step.step", "next_step: decision.label", "decision.next_step", "unknown variable 'decision'"),
    (WORKFLOW, "security-reviewer: 3", "log-reader: 3", "stages.risk.aggregation.weights", "'log-reader' is not in this stage"),
    (WORKFLOW, "over: [label]", "over: [colour]", "stages.classify.aggregation.over", "no field 'colour'"),
    (WORKFLOW, "rule: majority, over: [label]", "rule: majority", "stages.classify.aggregation.over", "none is named"),
    (WORKFLOW, "needs_answer: {type: boolean}", "needs_answer: {type: text}", "stages.classify.proposal", "needs_answer"),
    (WORKFLOW, "fallback: {risk: medium", "fallback: {risk: huge", "stages.risk.fallback", "does not fit"),
    (WORKFLOW, RISK_FALLBACK, RISK_FALLBACK + "    fallback_review: {}\n", "stages.risk", "fallback and fallback_review"),
    (WORKFLOW, RISK_FALLBACK, "    fallback_review: {}\n    fallback_rule: {risk: '\"low\"', why: '\"?\"'}\n", "stages.risk", "fallback_rule and fallback_review"),
    (WORKFLOW, RISK_FALLBACK, "    fallback_review: {expires_seconds: 0}\n", "stages.2.fallback_review.expires_seconds", "greater than 0"),
    (WORKFLOW, RISK_FALLBACK, "    fallback_rule: {risk: stages.next_step.step, why: '\"?\"'}\n", "stages.risk.fallback_rule.risk", "stages.next_step, which is not there"),
    (WORKFLOW, RISK_FALLBACK, "    fallback_rule: {risk: stages.risk.risk, why: '\"?\"'}\n", "stages.risk.fallback_rule.risk", "stages.risk, which is not there"),
    (WORKFLOW, RISK_FALLBACK, "    fallback_rule: {risk: stages.classify.colour, why: '\"?\"'}\n", "stages.risk.fallback_rule.risk", "stages.classify.colour, which is not there"),
    (WORKFLOW, RISK_FALLBACK, "    fallback_rule: {risk: decision.label, why: '\"?\"'}\n", "stages.risk.fallback_rule.risk", "unknown variable 'decision'"),
    (WORKFLOW, RISK_FALLBACK, "    fallback_rule: {risk: '\"low\"'}\n", "stages.risk.fallback_rule", "needs the field 'why'"),
    (WORKFLOW, RISK_FALLBACK, "    fallback_rule: {risk: '\"low\"', why: '\"?\"', who: '\"?\"'}\n", "stages.risk.fallback_rule.who", "no field 'who'"),
    (WORKFLOW, "{name: pager, honours_keys: true}", '{name: pager, probe_path: "/keys/{id}/{key}"}', "targets.pager.probe_path", "only {key} is known"),
    (WORKFLOW, "{name: pager, honours_keys: true}", '{name: pager, probe_path: "/keys/{key}/{key}"}', "targets.pager.probe_path", "once"),
    (WORKFLOW, "{name: pager, honours_keys: true}", '{name: pager, probe_path: "/keys#{key}"}', "targets.pager.probe_path", "fragment"),
    (WORKFLOW, "{name: pager, honours_keys: true}", '{name: pager, probe_path: "/keys"}', "targets.1.probe_path", "should match pattern"),
    (WORKFLOW, "policy: issue-triage", "policy: anarchy", "policy", "no policy 'anarchy'"),
    ("agents/answer-writer/1/agent.yaml", "stages.classify.label", "stages.risk.risk", "inputs.label", "in stage 'answer'"),
    ("agents/classifier/1/agent.yaml", "providers: [scripted]", "providers: [oracle]", "provider_versions", "other providers"),
    ("agents/classifier/1/agent.yaml", "{scripted: 1}", "{scripted: 9}", "provider_versions.scripted", "no provider 'scripted' of version 9"),
    ("providers/scripted/1/classifier.yaml", "&& inputs.fresh", "&& inputs.stale", "classifier.rules.1.when", "inputs.stale"),
    ("providers/scripted/1/classifier.yaml", "label: security", "label: alarm", "classifier.rules.0.answer", "does not fit"),
    ("providers/scripted/1/classifier.yaml", "  - answer: {label: housekeeping", "  - failure: {code: provider_busy}\n    answer: {label: housekeeping", "classifier.rules.6", "both an answer and a failure"),
    ("providers/scripted/1/classifier.yaml", "  - answer: {label: housekeeping, priority: p4, needs_answer: false, why: Nothing in the text asks for more.}", "  - delay_seconds: 1", "classifier.rules.6", "neither an answer nor a failure"),
    ("policies/issue-triage/1/policy.cedar", "permit (", "permit", "", "not Cedar"),
    ("policies/issue-triage/1/policy.cedar", '@id("page-the-owner")\n', "", "", "no @id"),
    ("policies/issue-triage/1/policy.cedar", "arguments.comment like", "arguments.coment like", "", "not valid"),
    ("policies/issue-triage/1/policy.cedar", 'Action::"pager.notify_owner"', 'Action::"pager.shout"', "", "not valid"),
    ("policies/issue-triage/1/policy.cedar", 'resource == Target::"pager"', "resource == ?resource", "", "template with slots"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "field", "reason"), BROKEN)
def test_a_broken_document_is_refused_with_its_path_and_field(
    folder: Path, file: str, old: str, new: str, field: str, reason: str
) -> None:
    replace(folder, file, old, new)
    found = problems_of(folder)
    matching = [problem for problem in found if problem.field == field and reason in problem.reason]
    assert matching, [str(problem) for problem in found]
    assert file.startswith(matching[0].path)
    assert all(problem.remedy for problem in found)


@pytest.mark.parametrize(
    "fallback",
    [
        "fallback_review: {expires_seconds: 3600}",
        'fallback_rule: {risk: \'stages.classify.priority == "p1" ? "high" : "low"\', why: \'"by rule"\'}',
    ],
)
def test_a_rule_or_a_person_may_answer_in_place_of_a_safe_default(folder: Path, fallback: str) -> None:
    """Each fallback is a part of what decides: another one, another digest."""
    before = digest_of(folder)
    replace(folder, WORKFLOW, RISK_FALLBACK, f"    {fallback}\n")
    assert digest_of(folder) != before


def test_the_problems_of_all_workflows_are_told_together(folder: Path) -> None:
    for workflow in ("ci-failure", "security-alert"):
        replace(folder, f"workflows/{workflow}/1/workflow.yaml", "policy_version: 1", "policy_version: 9")
    assert {problem.path.split("/")[1] for problem in problems_of(folder)} == {"ci-failure", "security-alert"}


def test_a_workflow_that_is_not_there_is_an_error(folder: Path) -> None:
    with pytest.raises(DocumentError, match="no such workflow"):
        compile_release(read_documents(folder), "absent", 1, shipped_tools())


def test_another_provider_for_every_agent_is_another_release(folder: Path) -> None:
    """Chosen by configuration: the release holds that provider alone, and its digest tells the two apart."""
    documents = read_documents(folder)
    own = compile_all(documents, shipped_tools())
    chosen = compile_all(documents, shipped_tools(), provider="openai")

    assert not {release.digest for release in own} & {release.digest for release in chosen}
    for release in chosen:
        assert {agent.providers for agent in release.agents.values()} == {("openai",)}
        assert list(release.providers) == ["openai"]


def test_a_provider_that_no_document_names_is_refused_with_those_there_are(folder: Path) -> None:
    """A misspelling publishes nothing."""
    with pytest.raises(UnknownProviderError) as refused:
        compile_all(read_documents(folder), shipped_tools(), provider="opnai")
    assert "anthropic, local, openai, scripted, scripted-calls" in refused.value.remedy
