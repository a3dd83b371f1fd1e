"""What is wrong with documents: all of it at once, each with its place and a remedy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from app.kernel.errors import PermanentError

SHOWN = 20
"""Problems that one error's text spells out; the rest is counted."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong: in which document, in which of its fields, why, and what to do."""

    path: str
    field: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.path}: {self.field}" if self.field else self.path
        return f"{place}: {self.reason}. {self.remedy}"


class DocumentError(PermanentError):
    """Documents cannot be read or compiled. ``problems`` holds every one that was found."""

    code = "invalid_document"

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        lines = [str(problem) for problem in self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            lines.append(f"... and {len(self.problems) - SHOWN} more.")
        super().__init__("\n".join(lines), "Nothing was published.")


def from_validation(path: str, error: ValidationError) -> list[Problem]:
    """Pydantic's findings about one document, without the values it was given."""
    found = []
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        field = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            found.append(Problem(path, field, "the field is unknown", "Remove it, or correct its name."))
        elif item["type"] == "missing":
            found.append(Problem(path, field, "the field is missing", "Add it."))
        else:
            message = item["msg"][0].lower() + item["msg"][1:]
            found.append(Problem(path, field, message, "Correct the value."))
    return found
