"""What GitHub's security events say, as ``alert/1``. A leaked secret's value is never copied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from app.data_plane.ingestion.domain_event import Alert, cut
from app.data_plane.ingestion.lenient import first, integer, items, section, text
from interlock.canonical import JsonObject

Severity = Literal["critical", "high", "medium", "low", "unknown"]

_SEVERITIES: Mapping[str, Severity] = {
    "critical": "critical",
    "high": "high",
    "medium": "medium",
    "moderate": "medium",
    "low": "low",
    # Code scanning's rules without a security severity have the severities of a linter.
    "error": "high",
    "warning": "medium",
    "note": "low",
}


def _severity(word: str) -> Severity:
    return _SEVERITIES.get(word.lower(), "unknown")


def _dependabot_alert(payload: JsonObject) -> Alert:
    found = section(payload, "alert")
    advisory, weakness = section(found, "security_advisory"), section(found, "security_vulnerability")
    package = section(found, "dependency", "package") or section(weakness, "package")
    description, truncated = cut(text(advisory, "description"))
    return Alert(
        kind="dependabot_alert",
        number=integer(found, "number"),
        state=text(found, "state"),
        severity=_severity(text(weakness, "severity") or text(advisory, "severity")),
        identifiers=_identifiers(advisory),
        package=text(package, "name"),
        ecosystem=text(package, "ecosystem"),
        summary=text(advisory, "summary"),
        description=description,
        truncated=truncated,
        url=text(found, "html_url", "url"),
        fixed_in=text(section(weakness, "first_patched_version"), "identifier"),
        path=text(section(found, "dependency"), "manifest_path"),
    )


def _code_scanning_alert(payload: JsonObject) -> Alert:
    found = section(payload, "alert")
    rule = section(found, "rule")
    instance = section(found, "most_recent_instance") or first(found, "instances")
    message = text(section(instance, "message"), "text")
    description, truncated = cut(message or text(rule, "full_description", "description"))
    identifier = text(rule, "id", "name")
    return Alert(
        kind="code_scanning_alert",
        number=integer(found, "number"),
        state=text(found, "state") or text(instance, "state"),
        severity=_severity(text(rule, "security_severity_level", "severity")),
        identifiers=(identifier,) if identifier else (),
        summary=text(rule, "description", "name"),
        description=description,
        truncated=truncated,
        url=text(found, "html_url", "url"),
        path=text(section(instance, "location"), "path"),
    )


def _secret_scanning_alert(payload: JsonObject) -> Alert:
    found = section(payload, "alert")
    kind = text(found, "secret_type")
    return Alert(
        kind="secret_scanning_alert",
        number=integer(found, "number"),
        state=text(found, "state") or text(found, "resolution"),
        identifiers=(kind,) if kind else (),
        summary=text(found, "secret_type_display_name", "secret_type"),
        url=text(found, "html_url", "url"),
    )


def _security_advisory(payload: JsonObject) -> Alert:
    found = section(payload, "security_advisory")
    weakness = first(found, "vulnerabilities")
    description, truncated = cut(text(found, "description"))
    return Alert(
        kind="security_advisory",
        state="withdrawn" if text(found, "withdrawn_at") else "published",
        severity=_severity(text(found, "severity")),
        identifiers=_identifiers(found),
        package=text(section(weakness, "package"), "name"),
        ecosystem=text(section(weakness, "package"), "ecosystem"),
        summary=text(found, "summary"),
        description=description,
        truncated=truncated,
        url=text(found, "html_url") or text(first(found, "references"), "url"),
        fixed_in=text(section(weakness, "first_patched_version"), "identifier"),
    )


def _repository_vulnerability_alert(payload: JsonObject) -> Alert:
    found = section(payload, "alert")
    identifiers = (text(found, "external_identifier"), text(found, "ghsa_id"))
    return Alert(
        kind="repository_vulnerability_alert",
        number=integer(found, "number"),
        state=text(found, "state"),
        severity=_severity(text(found, "severity")),
        identifiers=tuple(identifier for identifier in identifiers if identifier),
        package=text(found, "affected_package_name"),
        summary=" ".join(
            part for part in (text(found, "affected_package_name"), text(found, "affected_range")) if part
        ),
        url=text(found, "external_reference"),
        fixed_in=text(found, "fixed_in"),
    )


def _identifiers(advisory: JsonObject) -> tuple[str, ...]:
    listed = (text(item, "value") for item in items(advisory, "identifiers") if isinstance(item, Mapping))
    named = tuple(identifier for identifier in listed if identifier)
    return named or tuple(item for item in (text(advisory, "ghsa_id"), text(advisory, "cve_id")) if item)


ALERTS: Mapping[str, Callable[[JsonObject], Alert]] = {
    "dependabot_alert": _dependabot_alert,
    "code_scanning_alert": _code_scanning_alert,
    "secret_scanning_alert": _secret_scanning_alert,
    "security_advisory": _security_advisory,
    "repository_vulnerability_alert": _repository_vulnerability_alert,
}
"""What reads which GitHub event."""
