"""What ``submit`` makes of a file, before anything is sent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.cli import main as command_line
from app.cli.webhook_feed import webhook


def _submit(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    with pytest.raises(SystemExit):
        command_line.main(["submit", *arguments, "--json"])
    said = capsys.readouterr()
    answer: dict[str, object] = json.loads(said.out or said.err)
    return answer


def _file(folder: Path, value: object) -> str:
    path = folder / "event.json"
    path.write_text(json.dumps(value))
    return str(path)


def test_the_same_file_is_the_same_event_each_time_it_is_sent() -> None:
    """Ids are derived from name and content, so that a redelivery is recognised."""
    first = webhook("issue", "issues", {"action": "opened"})

    assert first == webhook("issue", "issues", {"action": "opened"})
    assert first.guid != webhook("issue", "issues", {"action": "closed"}).guid
    assert first.guid != webhook("other", "issues", {"action": "opened"}).guid


def test_a_cloudevent_is_sent_as_it_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """What the file says of id and type stands."""
    event = {"specversion": "1.0", "id": "7", "source": "https://a.example", "type": "dev.interlock.issue"}

    told = _submit(capsys, _file(tmp_path, event), "--dry-run")

    assert told["events"] == [
        {"file": str(tmp_path / "event.json"), "id": "7", "type": "dev.interlock.issue", "as": "cloudevent"}
    ]


def test_data_alone_becomes_a_cloudevent_with_type_and_source(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Without them it is refused, with what to give."""
    path = _file(tmp_path, {"title": "x"})

    refused = _submit(capsys, path, "--dry-run")["error"]
    assert isinstance(refused, dict)
    assert refused["code"] == "not_an_event"
    assert "--type" in refused["remedy"]
    told = _submit(capsys, path, "--type", "dev.interlock.issue", "--source", "urn:x", "--dry-run")
    assert "cloudevent" in json.dumps(told)


def test_a_github_payload_becomes_a_webhook(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Named by the option, or by the file."""
    named = _submit(capsys, _file(tmp_path, {"zen": "x"}), "--github-event", "ping", "--dry-run")
    wrapped = _submit(
        capsys, _file(tmp_path, {"x_github_event": "ping", "payload": {"zen": "x"}}), "--dry-run"
    )

    assert named == wrapped
    assert "com.github.ping" in json.dumps(named)


@pytest.mark.parametrize("text", ["", "{", '{"a":1,"a":2}', "[NaN]", '"\\ud800"'])
def test_what_is_no_strict_json_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str
) -> None:
    """The same strictness as the API's, before anything is sent."""
    path = tmp_path / "event.json"
    path.write_text(text)

    error = _submit(capsys, str(path), "--dry-run")["error"]

    assert isinstance(error, dict)
    assert error["code"] == "not_an_event"
