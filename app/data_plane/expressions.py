"""CEL: the only language that templates compute in. Its errors are values, its inputs are capped.

The library has no step limit, so what bounds an evaluation is the size of the expression (capped when the release is
compiled) and of the variables (capped here).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, cast

from app.telemetry.redaction import redact_known
from interlock.canonical import JsonValue, NotCanonicalError, canonical_bytes

if TYPE_CHECKING:
    import cel

MAX_SCOPE_BYTES = 256_000
"""The most that an expression's variables may weigh together, in bytes of canonical JSON."""

# What the CEL library raises while it evaluates.
_EVALUATION_ERRORS = (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError)


@dataclass(frozen=True, slots=True)
class ExpressionError:
    """Why an expression has no value: a value itself, so that a condition which cannot be told is a recorded fact."""

    reason: str


class Scope:
    """The variables of expressions. Made once for many: converting them costs twenty times an evaluation."""

    def __init__(self, variables: Mapping[str, JsonValue]) -> None:
        # Only here: the library takes half a second to load, and most processes evaluate nothing.
        import cel

        size = len(canonical_bytes(variables if isinstance(variables, dict) else dict(variables)))
        self._too_large = size > MAX_SCOPE_BYTES
        self._context = cel.Context() if self._too_large else cel.Context(variables=dict(variables))

    def add(self, name: str, value: JsonValue) -> None:
        """Let the expressions that come now see one more variable."""
        self._context.add_variable(name, value)

    def evaluate(self, expression: str) -> JsonValue | ExpressionError:
        """The expression's value as JSON, or why there is none. Never raises for what the expression does."""
        if self._too_large:
            return ExpressionError(f"the variables weigh more than {MAX_SCOPE_BYTES} bytes")
        try:
            value = _program(expression).execute(self._context)
        except _EVALUATION_ERRORS as error:
            return ExpressionError(f"{type(error).__name__}: {redact_known(str(error))[:200]}")
        return _as_json(value)

    def holds(self, expression: str | None) -> bool | ExpressionError:
        """Whether a condition holds; no condition always does, and one that is not a boolean is an error."""
        if expression is None:
            return True
        value = self.evaluate(expression)
        if isinstance(value, (bool, ExpressionError)):
            return value
        return ExpressionError(f"the condition is a {type(value).__name__}, not a boolean")


@lru_cache(maxsize=4096)
def _program(expression: str) -> cel.Program:
    import cel

    return cel.compile(expression)


def _as_json(value: object) -> JsonValue | ExpressionError:
    if value is None or isinstance(value, (bool, str, int)):
        return value
    try:
        canonical_bytes(cast("JsonValue", value))
    except NotCanonicalError as error:
        return ExpressionError(f"the value is not JSON: {redact_known(str(error))}")
    return cast("JsonValue", value)
