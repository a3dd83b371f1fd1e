"""The page of the agents' runs: models, tools, providers, tokens, budgets."""

from __future__ import annotations

from app.data_plane.ports import Queue
from app.telemetry import metric_names as names
from config.grafana.overview import budgets, circuits, hops
from config.grafana.panels import Dashboard, Row, Variable
from config.grafana.promql import count_rate, else_zero, quantile, rate, share, total
from config.grafana.rows import graph, notes, steps_of, waiting_for

OF_MODEL = 'gen_ai_request_model=~"$model"'
_WHICH = ("gen_ai_provider_name", "gen_ai_request_model")
_CALLED = "{{gen_ai_provider_name}} {{gen_ai_request_model}}"


def agent_runs() -> Dashboard:
    """One run asks models and calls tools, within budgets."""
    return Dashboard(
        name="agent_runs",
        title="Agent runs",
        description="Runs, the models they ask, the tools they call, and what it costs.",
        variables=(Variable("model", "Model", f"{names.MODEL_DURATION}_count", "gen_ai_request_model"),),
        rows=(
            steps_of(Queue.AGENT_RUNS, "Runs"),
            waiting_for(Queue.AGENT_RUNS),
            _models(),
            _providers(),
            _tools(),
            _costs(),
            notes(
                "- `python -m app providers status`, `python -m app providers history`: breakers, and why they moved",
                "- `python -m app budgets list`: what may be spent, what was, and what is held",
                "- `python -m app runs explain ID`: whom each run asked, and what came back",
            ),
        ),
    )


def _models() -> Row:
    asked = count_rate(names.MODEL_DURATION, *_WHICH, where=OF_MODEL)
    failed = count_rate(names.MODEL_DURATION, *_WHICH, where=f'{OF_MODEL}, error_type!=""')
    return Row(
        "Models",
        (
            graph(
                "Questions",
                "A second, by provider and model.",
                (asked, _CALLED),
                unit="reqps",
                stacked=True,
            ),
            graph(
                "Questions without an answer",
                "Their share of all that were asked.",
                (share(failed, asked), _CALLED),
                unit="percentunit",
            ),
            graph(
                "Why there was no answer",
                "A second, by provider and error.",
                (
                    else_zero(
                        count_rate(
                            names.MODEL_DURATION,
                            "gen_ai_provider_name",
                            "error_type",
                            where=f'{OF_MODEL}, error_type!=""',
                        )
                    ),
                    "{{gen_ai_provider_name}}: {{error_type}}",
                ),
                unit="reqps",
            ),
            graph(
                "Duration of a question, p95",
                "By provider and model.",
                (quantile(0.95, names.MODEL_DURATION, *_WHICH, where=OF_MODEL), _CALLED),
                unit="s",
            ),
        ),
    )


def _providers() -> Row:
    return Row(
        "Providers and their breakers",
        (
            circuits(),
            graph(
                "Breakers by state",
                "How many are closed, open, or let one question through to see.",
                (total(names.CIRCUIT_STATE, "state"), "{{state}}"),
                stacked=True,
                alerts=("CircuitOpen",),
            ),
            graph(
                "Moves of breakers",
                "A second, by where to; one that moves all the time flaps.",
                (rate(names.CIRCUIT_CHANGES, "to", "provider", "model"), "{{to}} {{provider}} {{model}}"),
                unit="reqps",
            ),
            graph(
                "Questions not let through",
                "A second, by provider and reason.",
                (
                    rate(names.BREAKER_REFUSALS, "provider", "model", "reason"),
                    "{{provider}} {{model}}: {{reason}}",
                ),
                unit="reqps",
            ),
        ),
    )


def _tools() -> Row:
    return Row(
        "Tools and verdicts",
        (
            graph(
                "Calls of tools",
                "A second, by outcome and tool.",
                (count_rate(names.TOOL_DURATION, "outcome", "tool"), "{{outcome}} {{tool}}"),
                unit="reqps",
                stacked=True,
            ),
            graph(
                "Duration of a call, p95",
                "By tool.",
                (quantile(0.95, names.TOOL_DURATION, "tool"), "{{tool}}"),
                unit="s",
            ),
            graph(
                "Verdicts",
                "A second, by effect: what the gateway said of calls and actions.",
                (count_rate(names.VERDICT_DURATION, "effect"), "{{effect}}"),
                unit="reqps",
                stacked=True,
            ),
            graph(
                "Duration of a verdict, p95",
                "By effect.",
                (quantile(0.95, names.VERDICT_DURATION, "effect"), "{{effect}}"),
                unit="s",
            ),
        ),
    )


def _costs() -> Row:
    return Row(
        "Tokens, budgets, fallbacks",
        (
            graph(
                "Tokens",
                "A second, by model and type.",
                (
                    rate(names.MODEL_TOKENS, "gen_ai_request_model", "gen_ai_token_type", where=OF_MODEL),
                    "{{gen_ai_request_model}} {{gen_ai_token_type}}",
                ),
                stacked=True,
            ),
            budgets(),
            hops(),
        ),
    )
