"""The scripted provider: deterministic answers chosen by rules over an agent's inputs, shipped as data.

It is the default of demo and tests, and it costs microseconds: nothing leaves the process.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cel

from app.data_plane.agent_runs.prompts import prompt_bytes, result_value
from app.data_plane.agent_runs.recordings import recording
from app.data_plane.models import ModelAnswer, ModelRequest, ProviderUnavailableError, ToolCall
from app.kernel.errors import PermanentError
from app.kernel.release import ScriptedCall, ScriptedFailure, ScriptedProvider, ScriptedRule
from interlock.canonical import JsonObject, JsonValue, NotCanonicalError, canonical_bytes

# What the CEL library raises while it evaluates; an error is the value of the condition, and not true.
_EVALUATION_ERRORS = (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError)

_BYTES_PER_TOKEN = 4


class NoScriptedAnswerError(PermanentError):
    """No rule of the scripted provider holds for the agent and its inputs."""

    code = "no_scripted_answer"


class InvalidScriptError(PermanentError):
    """A rule of the scripted provider is not CEL, or a call's argument has no value."""

    code = "invalid_script"


@dataclass(frozen=True, slots=True)
class _Call:
    tool: str
    arguments: Mapping[str, cel.Program] | str

    def written(self, context: cel.Context) -> str:
        """The arguments as a model would write them."""
        if isinstance(self.arguments, str):
            return self.arguments
        try:
            values = {name: program.execute(context) for name, program in self.arguments.items()}
            return canonical_bytes(values).decode()
        except (*_EVALUATION_ERRORS, NotCanonicalError) as error:
            raise InvalidScriptError(
                f"An argument of the scripted call of {self.tool!r} has no value: {error}.",
                "Correct the expression, or let the rule's `when` keep it from inputs and results without one.",
            ) from error


@dataclass(frozen=True, slots=True)
class _Rule:
    condition: cel.Program | None
    turn: int | None
    text: str
    calls: tuple[_Call, ...]
    failure: ScriptedFailure | None
    delay_seconds: float

    def holds(self, context: cel.Context, turn: int) -> bool:
        if self.turn not in (None, turn):
            return False
        if self.condition is None:
            return True
        try:
            return self.condition.execute(context) is True
        except _EVALUATION_ERRORS:
            return False


class ScriptedModel:
    """Answers with the first rule of the asking agent whose condition holds over ``inputs`` and ``results``.

    ``results`` are those of all calls before, the oldest first, each with ``tool``, ``failed`` and ``result``. A rule
    calls its tools whether they are offered or not, as a model may.

    Raises:
        InvalidScriptError: a rule's expression does not compile.
    """

    def __init__(self, document: ScriptedProvider) -> None:
        self._name = document.name
        self._model = document.model
        rules: dict[str, list[_Rule]] = defaultdict(list)
        for rule in document.rules:
            rules[rule.agent].append(_rule(document.name, rule))
        self._rules = dict(rules)

    async def ask(self, request: ModelRequest) -> ModelAnswer:
        """The scripted answer, after the rule's delay; tokens are counted as one for every four bytes.

        Raises:
            NoScriptedAnswerError: no rule holds.
            InvalidScriptError: an argument of the rule's calls has no value.
            ProviderUnavailableError: the rule says so.
        """
        # One conversion for all rules: it costs twenty times an evaluation.
        context = cel.Context(variables={"inputs": request.inputs, "results": _results(request)})
        for rule in self._rules.get(request.agent, ()):
            if rule.holds(context, len(request.turns)):
                if rule.delay_seconds > 0:
                    await asyncio.sleep(rule.delay_seconds)
                if rule.failure is not None:
                    raise self._failed(rule.failure)
                return self._answer(request, rule.text, _calls(request, rule.calls, context))
        raise NoScriptedAnswerError(
            f"The scripted provider {self._name!r} has no rule that holds for the agent {request.agent!r}.",
            "Add a rule for that agent without a condition, as the last one.",
        )

    def _failed(self, failure: ScriptedFailure) -> ProviderUnavailableError:
        return ProviderUnavailableError(
            failure.code,
            f"The scripted provider {self._name!r} fails here because its rule says so.",
            "It rehearses an outage: look at how the workflow ends, or take the rule's `failure` away.",
            retry_after_seconds=failure.retry_after_seconds,
            # As a real one: what timed out may have been worked on.
            may_be_billed=failure.code == "provider_timed_out",
        )

    def _answer(self, request: ModelRequest, text: str, calls: tuple[ToolCall, ...]) -> ModelAnswer:
        answer = ModelAnswer(text, self._model, _bytes_asked(request) // _BYTES_PER_TOKEN + 1, 0, calls=calls)
        return replace(answer, output_tokens=len(recording(answer)) // _BYTES_PER_TOKEN + 1)


def _rule(provider: str, rule: ScriptedRule) -> _Rule:
    return _Rule(
        condition=None if rule.when is None else _compile(provider, rule.when),
        turn=rule.turn,
        text=_text(rule.answer),
        calls=tuple(_call(provider, call) for call in rule.calls),
        failure=rule.failure,
        delay_seconds=rule.delay_seconds,
    )


def _call(provider: str, call: ScriptedCall) -> _Call:
    if isinstance(call.arguments, str):
        return _Call(call.tool, call.arguments)
    return _Call(
        call.tool, {name: _compile(provider, expression) for name, expression in call.arguments.items()}
    )


def _calls(request: ModelRequest, calls: Sequence[_Call], context: cel.Context) -> tuple[ToolCall, ...]:
    turn = len(request.turns)
    return tuple(
        ToolCall(f"call-{turn}-{place}", call.tool, call.written(context)) for place, call in enumerate(calls)
    )


def _results(request: ModelRequest) -> list[JsonValue]:
    return [
        {"tool": result.call.tool, "failed": result.failed, "result": result_value(result)}
        for turn in request.turns
        for result in turn.results
    ]


def _bytes_asked(request: ModelRequest) -> int:
    if request.tools or request.turns:
        return len(prompt_bytes(request))
    return len(request.instructions.encode()) + len(canonical_bytes(request.inputs))


def _compile(provider: str, expression: str) -> cel.Program:
    try:
        return cel.compile(expression)
    except ValueError as error:
        raise InvalidScriptError(
            f"A rule of the scripted provider {provider!r} is not CEL: {expression!r}.",
            "Correct the expression; it sees two variables, inputs and results.",
        ) from error


def _text(answer: JsonObject | str) -> str:
    return canonical_bytes(answer).decode() if isinstance(answer, Mapping) else answer
