"""Guards: documents hold references, and no error about one holds a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.adapters.secrets import ReferencedSecrets, SecretUnavailableError


def test_each_kind_of_reference_leads_to_its_secret(tmp_path: Path) -> None:
    (tmp_path / "secrets" / "team").mkdir(parents=True)
    (tmp_path / "secrets" / "team" / "sink-key").write_text("from home\n")
    (tmp_path / "elsewhere").write_text("from file\n")
    environment = {"KEY": "from env", "INTERLOCK_SECRET_TEAM_PAGER_KEY": "named"}
    secrets = ReferencedSecrets(environment, tmp_path)
    assert secrets.resolve("env:KEY") == "from env"
    assert secrets.resolve(f"file:{tmp_path / 'elsewhere'}") == "from file"
    assert secrets.resolve("secret:team/sink-key") == "from home"
    assert secrets.resolve("secret:team/pager-key") == "named"


@pytest.mark.parametrize("reference", ["env:ABSENT", "env:EMPTY", "file:/nowhere/at/all", "secret:absent"])
def test_an_absent_secret_is_an_error_that_names_the_reference(reference: str, tmp_path: Path) -> None:
    with pytest.raises(SecretUnavailableError, match=reference):
        ReferencedSecrets({"EMPTY": " "}, tmp_path).resolve(reference)


@pytest.mark.parametrize("reference", ["hunter2", "secret:../../etc/passwd", "vault:hunter2", ""])
def test_what_is_no_reference_is_refused_without_being_quoted(reference: str, tmp_path: Path) -> None:
    """Somebody will write the secret itself where its reference belongs."""
    with pytest.raises(SecretUnavailableError) as raised:
        ReferencedSecrets({}, tmp_path).resolve(reference)
    assert "hunter2" not in str(raised.value)
    assert "passwd" not in str(raised.value)


def test_a_file_that_is_no_text_is_an_error_without_its_content(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfehunter2")
    with pytest.raises(SecretUnavailableError) as raised:
        ReferencedSecrets({}, tmp_path).resolve(f"file:{tmp_path / 'binary'}")
    assert "hunter2" not in str(raised.value)
    assert raised.value.__cause__ is None
