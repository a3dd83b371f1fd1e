"""A target's URL, read in the one way that every reader of it agrees on, or refused: pure.

Readers of URLs differ where a URL is odd, and what one takes for the host another takes for a user's name. So what
is odd is refused, when a document is published and again when an action is delivered. Where the name leads is
another question, which is asked after it was resolved (``app/adapters/targets/addresses.py``).
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from app.kernel.errors import PermanentError

LONGEST = 2_000

_PORTS = {"http": 80, "https": 443}
_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:@%]+))(?::([0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class InvalidTargetUrlError(PermanentError):
    """The URL is not one that a target can have. Remedy: as the error says; it never repeats the URL."""

    code = "invalid_address"


class TargetUrl(NamedTuple):
    """The parts of a target's URL: a host that is plain ASCII, and a path that can stand in a request line."""

    scheme: str
    host: str
    port: int
    path: str


def read_target_url(url: str) -> TargetUrl:
    """The parts of ``url``.

    Raises:
        InvalidTargetUrlError: with what is wrong in it, and what to write instead.
    """
    _check_characters(url)
    try:
        parts = urlsplit(url)
    except ValueError:
        raise InvalidTargetUrlError("it is no URL", "Write it as https://host:port/path.") from None
    if parts.scheme not in _PORTS:
        raise InvalidTargetUrlError(
            "its scheme is neither http nor https",
            "Begin it with https://, or refer to it as env:NAME or secret:NAME.",
        )
    if "@" in parts.netloc:
        raise InvalidTargetUrlError(
            "it names a user before the host", "Take it out, and name the credential in `secret`."
        )
    found = _AUTHORITY.fullmatch(parts.netloc)
    if found is None:
        raise InvalidTargetUrlError("its host or port cannot be read", "Write it as https://host:port/path.")
    port = int(found[3]) if found[3] else _PORTS[parts.scheme]
    if not 1 <= port <= 65_535:
        raise InvalidTargetUrlError("there is no such port", "Write one between 1 and 65535, or none.")
    host = _ipv6(found[1]) if found[1] else _name(found[2])
    return TargetUrl(parts.scheme, host, port, quote(parts.path.rstrip("/"), safe="/%~"))


def _check_characters(url: str) -> None:
    # Before anything is parsed: parsers drop some of these silently, and read on as if they had not been there.
    if " " in url or "\\" in url or not url.isprintable():
        raise InvalidTargetUrlError(
            "it has a space, a backslash or a character that cannot be seen", "Take it out."
        )
    if "?" in url or "#" in url:
        raise InvalidTargetUrlError(
            "it has a query (?) or a fragment (#)", "Leave it out: the path of the effect is put behind it."
        )
    if len(url) > LONGEST:
        raise InvalidTargetUrlError(f"it is longer than {LONGEST} characters", "Shorten its path.")


def _ipv6(host: str) -> str:
    try:
        return str(IPv6Address(host))
    except AddressValueError:
        raise InvalidTargetUrlError(
            "what stands in brackets is no IPv6 address", "Write one as [2001:db8::1], without a zone."
        ) from None


def _name(host: str) -> str:
    labels = [_ascii_label(label).lower() for label in host.split(".")]
    name = ".".join(labels)
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise InvalidTargetUrlError(
            "its host cannot be a name",
            "Write a name of letters, digits and hyphens, with dots between its parts and none at its end.",
        )
    if _NUMBER.fullmatch(labels[-1]):
        return _ipv4(name)
    return name


def _ascii_label(label: str) -> str:
    """A label in ASCII; one that turns into plain ASCII is another name in disguise, as the digits in circles are."""
    if label.isascii():
        return label
    try:
        encoded = label.encode("idna").decode("ascii") if not label.isdigit() else ""
    except UnicodeError:
        encoded = ""
    if not encoded.startswith("xn--"):
        raise InvalidTargetUrlError(
            "its host has characters that are no letters of a name", "Write its ASCII form (xn--...)."
        )
    return encoded


def _ipv4(name: str) -> str:
    # No name ends in a number, so this is an address, and only its usual spelling is the same one to everybody.
    try:
        return str(IPv4Address(name))
    except AddressValueError:
        raise InvalidTargetUrlError(
            "its host is a number in an unusual spelling",
            "Write the address as four decimal numbers, 192.0.2.1.",
        ) from None
