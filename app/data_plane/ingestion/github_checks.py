"""What GitHub's checks, workflows and deployments say, as ``check/1``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from app.data_plane.ingestion.domain_event import Check, cut
from app.data_plane.ingestion.lenient import first, items, section, text
from interlock.canonical import JsonObject

# Commit statuses and deployment statuses have one word where checks have two (status and conclusion).
_CONCLUSIONS = {
    "error": "failure",
    "in_progress": "pending",
    "queued": "pending",
    "waiting": "pending",
    "inactive": "neutral",
}


def _check_run(payload: JsonObject) -> Check:
    found = section(payload, "check_run")
    output = section(found, "output")
    summary, truncated = cut(_lines(text(output, "title"), text(output, "summary"), text(output, "text")))
    return Check(
        kind="check_run",
        name=text(found, "name"),
        status=text(found, "status"),
        conclusion=text(found, "conclusion"),
        head_sha=text(found, "head_sha"),
        branch=text(section(found, "check_suite"), "head_branch"),
        url=text(found, "html_url", "details_url", "url"),
        summary=summary,
        truncated=truncated,
        app=text(section(found, "app"), "slug", "name"),
    )


def _check_suite(payload: JsonObject) -> Check:
    found = section(payload, "check_suite")
    summary, truncated = cut(text(section(found, "head_commit"), "message"))
    return Check(
        kind="check_suite",
        name=text(section(found, "app"), "name", "slug"),
        status=text(found, "status"),
        conclusion=text(found, "conclusion"),
        head_sha=text(found, "head_sha"),
        branch=text(found, "head_branch"),
        url=text(found, "html_url", "url"),
        summary=summary,
        truncated=truncated,
        app=text(section(found, "app"), "slug", "name"),
    )


def _workflow_run(payload: JsonObject) -> Check:
    found = section(payload, "workflow_run")
    message = text(section(found, "head_commit"), "message")
    summary, truncated = cut(text(found, "display_title") or message)
    return Check(
        kind="workflow_run",
        name=text(found, "name") or text(section(payload, "workflow"), "name"),
        status=text(found, "status"),
        conclusion=text(found, "conclusion"),
        head_sha=text(found, "head_sha"),
        branch=text(found, "head_branch"),
        url=text(found, "html_url", "url"),
        summary=summary,
        truncated=truncated,
        app="github-actions",
    )


def _workflow_job(payload: JsonObject) -> Check:
    found = section(payload, "workflow_job")
    failed = (
        text(step, "name")
        for step in items(found, "steps")
        if isinstance(step, Mapping) and text(step, "conclusion") in {"failure", "timed_out", "cancelled"}
    )
    summary, truncated = cut(_lines(text(found, "workflow_name"), *failed))
    return Check(
        kind="workflow_job",
        name=text(found, "name"),
        status=text(found, "status"),
        conclusion=text(found, "conclusion"),
        head_sha=text(found, "head_sha"),
        branch=text(found, "head_branch"),
        url=text(found, "html_url", "url"),
        summary=summary,
        truncated=truncated,
        app="github-actions",
    )


def _deployment_status(payload: JsonObject) -> Check:
    found, deployment = section(payload, "deployment_status"), section(payload, "deployment")
    state = text(found, "state")
    environment = text(found, "environment") or text(deployment, "environment")
    summary, truncated = cut(text(found, "description") or text(deployment, "description"))
    return Check(
        kind="deployment_status",
        name=text(deployment, "task"),
        status=state,
        conclusion=_CONCLUSIONS.get(state, state),
        head_sha=text(deployment, "sha"),
        branch=text(deployment, "ref"),
        url=text(found, "log_url", "target_url", "url"),
        summary=summary,
        truncated=truncated,
        app=text(section(payload, "deployment", "performed_via_github_app"), "slug", "name"),
        environment=environment,
    )


def _status(payload: JsonObject) -> Check:
    state = text(payload, "state")
    summary, truncated = cut(text(payload, "description"))
    return Check(
        kind="status",
        name=text(payload, "context"),
        status=state,
        conclusion=_CONCLUSIONS.get(state, state),
        head_sha=text(payload, "sha"),
        branch=text(first(payload, "branches"), "name"),
        url=text(payload, "target_url") or text(section(payload, "commit"), "html_url"),
        summary=summary,
        truncated=truncated,
    )


def _lines(*parts: str) -> str:
    return "\n".join(part for part in parts if part)


CHECKS: Mapping[str, Callable[[JsonObject], Check]] = {
    "check_run": _check_run,
    "check_suite": _check_suite,
    "workflow_run": _workflow_run,
    "workflow_job": _workflow_job,
    "deployment_status": _deployment_status,
    "status": _status,
}
"""What reads which GitHub event."""
