"""The rules for an envelope's context attributes (CloudEvents 1.0.2, sections 2 and 3), and our limits.

The limits keep (tenant, source, id) inside one entry of a PostgreSQL index.
"""

from __future__ import annotations

import re
from datetime import datetime

from interlock.errors import InvalidInputError

MAX_ID = 255
MAX_TYPE = 255
MAX_URI = 1024
MAX_TEXT = 1024
"""Characters of an id, a type, a URI (``source``, ``dataschema``), and of any other attribute."""

_NAME = re.compile(r"[a-z0-9]{1,64}")
_TENANT = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_FORBIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane * 0x10000 + last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
    + "]"
)
_CHAR = r"[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2}"
_AUTHORITY = (
    r"//(?:(?:[A-Za-z0-9\-._~!$&'()*+,;=:]|%[0-9A-Fa-f]{2})*@)?"
    r"(?:\[[0-9A-Fa-fvV:.]+\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?"
)
_TAIL = rf"(?:\?(?:{_CHAR}|[/?])*)?(?:#(?:{_CHAR}|[/?])*)?"
_URI = re.compile(
    rf"[A-Za-z][A-Za-z0-9+.\-]*:(?:{_AUTHORITY}(?:/(?:{_CHAR})*)*|/?(?:(?:{_CHAR})+(?:/(?:{_CHAR})*)*)?){_TAIL}"
)
_SEGMENT_WITHOUT_COLON = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=@]|%[0-9A-Fa-f]{2})+"
_RELATIVE = re.compile(
    rf"(?:{_AUTHORITY}(?:/(?:{_CHAR})*)*|/(?:(?:{_CHAR})+(?:/(?:{_CHAR})*)*)?"
    rf"|{_SEGMENT_WITHOUT_COLON}(?:/(?:{_CHAR})*)*)?{_TAIL}"
)
_TIME = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt](\d{2}:\d{2}):(\d{2})(?:\.\d+)?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_JSON_MEDIA_TYPE = re.compile(r"(?:application|text)/json|[a-z]+/[a-z0-9!#$&^_.+-]+\+json")


def is_uri(text: str) -> bool:
    """Whether ``text`` is a URI with a scheme (RFC 3986, section 3)."""
    return _URI.fullmatch(text) is not None


def is_uri_reference(text: str) -> bool:
    """Whether ``text`` is a URI or a relative reference (RFC 3986, section 4.1)."""
    return is_uri(text) or _RELATIVE.fullmatch(text) is not None


def is_time(text: str) -> bool:
    """Whether ``text`` is a moment with its offset (RFC 3339, section 5.6; leap seconds included)."""
    match = _TIME.fullmatch(text)
    if match is None:
        return False
    day, minute, second = match.groups()
    try:
        datetime.fromisoformat(f"{day}T{minute}:{'59' if second == '60' else second}+00:00")
    except ValueError:
        return False
    return True


def is_traceparent(text: str) -> bool:
    """Whether ``text`` is a usable trace parent (W3C Trace Context, section 3.2)."""
    return _TRACEPARENT.fullmatch(text) is not None


def is_json_media_type(text: str) -> bool:
    """Whether ``text`` names JSON in UTF-8 (RFC 8259; ``+json`` of RFC 6839)."""
    kind, *parameters = (part.strip().lower() for part in text.split(";"))
    if not _JSON_MEDIA_TYPE.fullmatch(kind):
        return False
    charsets = [part.partition("=")[2].strip('"') for part in parameters if part.startswith("charset=")]
    return all(charset in {"utf-8", "utf8", "us-ascii"} for charset in charsets)


def check_name(name: str) -> None:
    """Raises InvalidInputError unless ``name`` may name an attribute (lower-case letters and digits)."""
    if not _NAME.fullmatch(name):
        raise invalid("An attribute's name", "is not made of 1 to 64 lower-case letters and digits")


def check_tenant(tenant: str) -> None:
    """Raises InvalidInputError unless ``tenant`` may name a tenant."""
    if not tenant:
        raise InvalidInputError(
            "missing_tenant",
            "The event names no tenant.",
            "Add the extension attribute tenantid (in HTTP's binary mode the header ce-tenantid).",
        )
    if not _TENANT.fullmatch(tenant):
        raise invalid(
            "tenantid", "is not 1 to 63 lower-case letters, digits, - or _, beginning with a letter"
        )


def check_text(name: str, text: str, limit: int = MAX_TEXT) -> None:
    """Raises InvalidInputError unless ``text`` is non-empty, short enough and made of allowed characters."""
    if not text:
        raise invalid(name, "is empty")
    if len(text) > limit:
        raise invalid(name, f"has more than {limit} characters")
    if _FORBIDDEN.search(text):
        raise invalid(name, "holds a control character or a code point that is not a character")


def invalid(name: str, why: str) -> InvalidInputError:
    """The error for an attribute that breaks a rule."""
    return InvalidInputError(
        "invalid_attribute", f"{name} {why}.", "Correct the attribute (CloudEvents 1.0, section 3)."
    )
