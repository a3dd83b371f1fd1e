"""Flower is never served without a password, and whoever asks is told where it is and not what it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.adapters.secrets import SecretUnavailableError
from app.supervisor.flower_access import access, basic_auth
from app.supervisor.secrets_folder import draw_missing


def test_the_drawn_password_is_asked_for(tmp_path: Path) -> None:
    """Of the one user that there is."""
    draw_missing(tmp_path, ["secret:flower"], {})
    file = tmp_path / "secrets" / "flower"
    assert basic_auth({}, tmp_path) == [f"operator:{file.read_text().strip()}"]
    assert str(access({}, tmp_path)) == f"user operator, password in {file}"


def test_what_the_operator_chose_wins(tmp_path: Path) -> None:
    """Flower's own variable, as Flower reads it."""
    chosen = {"FLOWER_BASIC_AUTH": "ada:one,bob:two", "INTERLOCK_SECRET_FLOWER": "three"}
    assert basic_auth(chosen, tmp_path) == ["ada:one", "bob:two"]
    assert str(access(chosen, tmp_path)) == "as FLOWER_BASIC_AUTH says"


@pytest.mark.parametrize(
    "environment",
    [{}, *({"FLOWER_BASIC_AUTH": text} for text in ("", "ada", "ada:", ":one", "ada:one,", "ada:one,bob"))],
    ids=str,
)
def test_without_a_password_there_is_no_flower(tmp_path: Path, environment: dict[str, str]) -> None:
    """An empty variable is none: what an empty ``.env`` leaves must not open it to everybody."""
    with pytest.raises(SecretUnavailableError):
        basic_auth(environment, tmp_path)
