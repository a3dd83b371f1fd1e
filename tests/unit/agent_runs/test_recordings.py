"""Guards: what was recorded of an answer is what is read again, and an answer without calls is its text alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.data_plane.agent_runs.recordings import RecordingError, read_recording, recording
from app.data_plane.models import ModelAnswer, ToolCall

TEXTS = st.text(st.characters(), max_size=50)
"""With lone surrogates."""
CALLS = st.lists(st.builds(ToolCall, TEXTS, TEXTS, TEXTS), max_size=5).map(tuple)


def answer(text: str, *calls: ToolCall) -> ModelAnswer:
    return ModelAnswer(text, "some-model", 1, 1, calls=calls)


def clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


@given(TEXTS, CALLS)
def test_what_is_read_is_what_was_answered(text: str, calls: tuple[ToolCall, ...]) -> None:
    read = read_recording(recording(answer(text, *calls)), len(calls))
    written = tuple(ToolCall(clean(call.call_id), clean(call.tool), clean(call.arguments)) for call in calls)
    assert read == (clean(text), written)
    assert recording(answer(read[0], *read[1])) == recording(answer(text, *calls))


@given(TEXTS)
def test_without_calls_the_bytes_are_the_text(text: str) -> None:
    assert recording(answer(text)) == text.encode("utf-8", "replace")


def test_with_calls_the_bytes_are_canonical_json() -> None:
    assert recording(answer("a\ud800", ToolCall("c1", "issues.read", "{"))) == (
        b'{"calls":[{"arguments":"{","id":"c1","tool":"issues.read"}],"text":"a?"}'
    )


def test_an_answer_without_calls_that_looks_like_a_recording_is_its_text() -> None:
    text = recording(answer("", ToolCall("c1", "issues.read", "{}"))).decode()
    assert read_recording(recording(answer(text)), 0) == (text, ())


@pytest.mark.parametrize("body", [b"", b"plain", b"\xff", b"[]", b'{"text": "", "calls": []}'])
def test_a_recording_that_is_not_what_its_fact_says_is_an_error(body: bytes) -> None:
    with pytest.raises(RecordingError) as raised:
        read_recording(body, 1)
    assert raised.value.remedy
