"""Guards: a target's URL that could never be delivered to is told when it is published, not when an action fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.control_plane.documents import read_documents
from app.control_plane.problems import DocumentError, Problem
from app.control_plane.target_urls import InvalidTargetUrlError, TargetUrl, read_target_url
from app.control_plane.tenants import Tenant

PLACE = "tenants/demo/1/tenant.yaml"


def publish_with(folder: Path, url: str, allow: str = "[]") -> tuple[Problem, ...]:
    """The problems of the shipped documents when their tenant's tracker is at ``url``."""
    path = folder / PLACE
    old = "tracker: {url: env:INTERLOCK_DEMO_SINK_URL, allow: [127.0.0.0/8]}"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, f'tracker: {{url: "{url}", allow: {allow}}}'))
    try:
        read_documents(folder)
    except DocumentError as error:
        return error.problems
    return ()


@pytest.mark.parametrize(
    ("url", "reason", "remedy"),
    [
        ("ftp://tracker.example", "neither http nor https", "https://"),
        ("tracker.example", "neither http nor https", "env:NAME"),
        ("https://user:word@tracker.example", "a user before the host", "`secret`"),
        ("https://tracker.example/?a=b", "a query", "Leave it out"),
        ("https://tracker.example/#a", "a fragment", "Leave it out"),
        ("https://tracker.example?", "a query", "Leave it out"),
        ("https://tracker.example/a b", "a space", "Take it out"),
        ("https://tracker\\texample", "cannot be seen", "Take it out"),
        ("https://tracker.example\\r\\n", "cannot be seen", "Take it out"),
        ("https://tracker.example\\\\@other.example", "a backslash", "Take it out"),
        ("https:///path", "host or port cannot be read", "https://host:port/path"),
        ("https://:443", "host or port cannot be read", "https://host:port/path"),
        ("https://tracker.example:0", "no such port", "between 1 and 65535"),
        ("https://tracker.example:65536", "no such port", "between 1 and 65535"),
        ("https://[tracker", "it is no URL", "https://host:port/path"),
        ("https://[::1%25lo]", "host or port cannot be read", "https://host:port/path"),
        ("https://[::12345]", "it is no URL", "https://host:port/path"),
        ("https://tracker..example", "cannot be a name", "letters, digits and hyphens"),
        ("https://-tracker.example", "cannot be a name", "letters, digits and hyphens"),
        ("https://tracker.example.", "cannot be a name", "none at its end"),
        ("https://①②⑦.0.0.1", "no letters of a name", "xn--"),
        ("https://straße.example", "no letters of a name", "xn--"),
        ("https://0x7f.1", "unusual spelling", "192.0.2.1"),
        ("https://tracker.example/" + "x" * 2000, "longer than 2000", "Shorten"),
    ],
)
def test_what_is_wrong_with_a_url_is_told_with_its_place_and_what_to_do(
    folder: Path, url: str, reason: str, remedy: str
) -> None:
    (problem,) = publish_with(folder, url)
    assert (problem.path, problem.field) == (PLACE, "targets.tracker.url")
    assert reason in problem.reason
    assert remedy in problem.remedy
    assert url not in str(problem), "who writes a password there must not read it in a log"
    assert "word" not in str(problem)


@pytest.mark.parametrize("network", ["127.0.0.1/8", "127", "everything", "10.0.0.0/33", "::1/0"])
def test_an_allowed_network_that_is_none_is_told_too(folder: Path, network: str) -> None:
    (problem,) = publish_with(folder, "https://tracker.example", f'[10.0.0.0/8, "{network}"]')
    assert problem.field == "targets.tracker.allow.1"
    assert "no network" in problem.reason


def test_every_wrong_target_is_told_at_once(folder: Path) -> None:
    path = folder / PLACE
    path.write_text(
        path.read_text().replace("url: env:INTERLOCK_DEMO_SINK_URL", "url: ftp://tracker.example")
    )
    with pytest.raises(DocumentError) as refused:
        read_documents(folder)
    assert [problem.field for problem in refused.value.problems] == [
        f"targets.{name}.url" for name in ("forge", "pager", "tracker")
    ]


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("https://tracker.example", TargetUrl("https", "tracker.example", 443, "")),
        ("http://Tracker.Example:8080/", TargetUrl("http", "tracker.example", 8080, "")),
        ("HTTPS://tracker_1/in/side/", TargetUrl("https", "tracker_1", 443, "/in/side")),
        ("https://bücher.example/ä%20b", TargetUrl("https", "xn--bcher-kva.example", 443, "/%C3%A4%20b")),
        ("https://xn--bcher-kva.example", TargetUrl("https", "xn--bcher-kva.example", 443, "")),
        ("http://127.0.0.1:80", TargetUrl("http", "127.0.0.1", 80, "")),
        ("http://[2001:DB8:0::1]:80/a", TargetUrl("http", "2001:db8::1", 80, "/a")),
        ("http://4711.example", TargetUrl("http", "4711.example", 80, "")),
    ],
)
def test_a_good_url_has_one_reading(folder: Path, url: str, parts: TargetUrl) -> None:
    assert read_target_url(url) == parts
    assert url.startswith("HTTPS") or publish_with(folder, url) == ()


@pytest.mark.parametrize("reference", ["env:TRACKER_URL", "secret:tracker-url"])
def test_a_reference_is_no_url_and_is_looked_at_when_it_is_resolved(folder: Path, reference: str) -> None:
    assert publish_with(folder, reference) == ()


def test_a_tenant_that_was_published_before_with_such_a_url_can_still_be_read() -> None:
    """Else its keys and its other targets would be gone with an upgrade."""
    url = "https://user@tracker.example"
    tenant = Tenant.model_validate({"name": "demo", "version": 1, "targets": {"tracker": {"url": url}}})
    with pytest.raises(InvalidTargetUrlError):
        read_target_url(tenant.targets["tracker"].url)
