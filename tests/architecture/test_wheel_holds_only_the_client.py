"""What a host application installs is the client and nothing of the service."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the checkout without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(folder),
        str(CHECKOUT),
    ]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_nothing_but_interlock(wheel: Path) -> None:
    """``app``, ``tasks`` and ``config`` would collide with half the world's Django projects."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()

    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"interlock"}
    assert "interlock/envelope.py" in names
    assert "interlock/py.typed" in names


@pytest.mark.parametrize("module", ["interlock.envelope", "interlock.identity"])
def test_the_wheels_envelope_and_identity_load_neither_celery_nor_redis(
    wheel: Path, tmp_path: Path, module: str
) -> None:
    """A host's web process that only builds an envelope pays for no broker."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    script = (
        f"import sys, {module} as it\n"
        f"assert it.__file__.startswith({str(tmp_path)!r}), it.__file__\n"
        "heavy = {'celery', 'kombu', 'redis', 'valkey'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    ended = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True
    )

    assert ended.returncode == 0, ended.stderr
