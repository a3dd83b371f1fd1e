"""Secrets are drawn only where none is, and only their owner can read them."""

from __future__ import annotations

import stat
from pathlib import Path

from app.adapters.secrets import ReferencedSecrets
from app.control_plane.tenants import Tenant
from app.supervisor.secrets_folder import draw_missing, references

TENANT = Tenant(
    name="demo",
    version=1,
    api_keys=("secret:demo-api-key", "env:ELSEWHERE"),
    webhook_secrets={"github": ("secret:demo-github-webhook",)},
    signing_key="secret:demo-signing-key",
)


def test_what_is_missing_is_drawn_at_random_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    """Two installations never share a secret."""
    drawn = draw_missing(tmp_path, references([TENANT]), {})

    assert drawn == ("demo-api-key", "demo-github-webhook", "demo-signing-key")
    values = {ReferencedSecrets({}, tmp_path).resolve(f"secret:{name}") for name in drawn}
    assert len(values) == 3
    assert min(map(len, values)) >= 32
    for path in (tmp_path / "secrets").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_provided_stays_as_it_is(tmp_path: Path) -> None:
    """By a file or by a variable; a second start draws nothing."""
    wanted = references([TENANT])
    drawn = draw_missing(tmp_path, wanted, {"INTERLOCK_SECRET_DEMO_SIGNING_KEY": "provided"})
    before = (tmp_path / "secrets" / "demo-api-key").read_text()

    assert "demo-signing-key" not in drawn
    again = draw_missing(tmp_path, wanted, {"INTERLOCK_SECRET_DEMO_SIGNING_KEY": "provided"})
    assert again == ()
    assert (tmp_path / "secrets" / "demo-api-key").read_text() == before
