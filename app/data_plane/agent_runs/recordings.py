"""An answer as it is recorded, to the byte, and read again. What is interpreted is always what was recorded."""

from __future__ import annotations

from pydantic import BaseModel, ValidationError

from app.data_plane.models import ModelAnswer, ToolCall
from app.kernel.errors import DefectError
from interlock.canonical import canonical_bytes


class RecordingError(DefectError):
    """A recording is not what its fact says. Remedy: verify the orchestration's record."""

    code = "recording_unreadable"


class _Call(BaseModel):
    id: str
    tool: str
    arguments: str


class _Recording(BaseModel):
    text: str
    calls: list[_Call]


def recording(answer: ModelAnswer) -> bytes:
    """The exact text; of an answer that calls tools, text and calls as canonical JSON.

    A lone surrogate has no UTF-8, so that a question mark stands for it.
    """
    if not answer.calls:
        return answer.text.encode("utf-8", "replace")
    calls = [
        {"id": _clean(call.call_id), "tool": _clean(call.tool), "arguments": _clean(call.arguments)}
        for call in answer.calls
    ]
    return canonical_bytes({"text": _clean(answer.text), "calls": calls})


def read_recording(body: bytes, calls: int) -> tuple[str, tuple[ToolCall, ...]]:
    """The text and the calls of a recorded answer.

    Args:
        calls: how many the answer's fact says that there are; it tells the two forms apart.

    Raises:
        RecordingError: the body holds others, or is none.
    """
    if not calls:
        return body.decode("utf-8", "replace"), ()
    try:
        read = _Recording.model_validate_json(body)
    except ValidationError as error:
        raise _unreadable("cannot be read") from error
    if len(read.calls) != calls:
        raise _unreadable(f"holds {len(read.calls)} calls, and {calls} were told of")
    return read.text, tuple(ToolCall(call.id, call.tool, call.arguments) for call in read.calls)


def _unreadable(why: str) -> RecordingError:
    return RecordingError(f"A recorded answer {why}.", "Verify the orchestration's record.")


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
