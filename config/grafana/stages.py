"""A page for each stage of the pipeline, in an event's order."""

from __future__ import annotations

from app.data_plane.ports import Queue
from app.telemetry import metric_names as names
from config.grafana.overview import OF_WORKFLOW, WORKFLOW
from config.grafana.panels import Dashboard, Row, Variable
from config.grafana.promql import else_zero, increase, quantile, rate, share, total
from config.grafana.rows import durations, figure, graph, notes, steps_of, waiting_for


def ingestion() -> Dashboard:
    """Events, before there is a step: they come over HTTP and as messages."""
    arrived = rate(names.EVENTS)
    return Dashboard(
        name="ingestion",
        title="Ingestion",
        description="Events from the API, webhooks and clients' messages, until each is accepted or refused.",
        rows=(
            Row(
                "Rate, errors, duration",
                (
                    graph(
                        "Events",
                        "A second: accepted, not subscribed to by any workflow, refused, or sent again.",
                        (rate(names.EVENTS, "state"), "{{state}}"),
                        unit="reqps",
                        stacked=True,
                    ),
                    graph(
                        "Refused",
                        "Their share of all events: not signed, not readable, or of an unknown type.",
                        (share(rate(names.EVENTS, where='state="refused"'), arrived), "refused"),
                        unit="percentunit",
                    ),
                    durations(
                        "Duration of acceptance",
                        "From the request or message to its commit.",
                        names.INGESTION_DURATION,
                    ),
                ),
            ),
            Row(
                "Waiting",
                (
                    graph(
                        "Messages in Redis",
                        "Clients' messages that no worker has taken, and reports of what gave up.",
                        (
                            total(
                                names.QUEUE_LENGTH, "queue_name", where='queue_name=~"ingestion|dead_letter"'
                            ),
                            "{{queue_name}}",
                        ),
                        alerts=("MessagesNotTaken",),
                    ),
                    graph(
                        "Orchestrations started",
                        "A second, by workflow and lane; an event may start several.",
                        (rate(names.ORCHESTRATIONS_STARTED, "workflow", "lane"), "{{workflow}} {{lane}}"),
                        unit="reqps",
                        stacked=True,
                    ),
                ),
            ),
            notes(
                "- `python -m app submit FILE`: send an event to the running service",
                "- `python -m app dead-letters list`: refused messages are there with their digest, and why",
                "- `python -m app releases list`: which workflows take events now",
            ),
        ),
    )


def orchestration() -> Dashboard:
    """Advancing: which stage starts next."""
    return Dashboard(
        name="orchestration",
        title="Orchestration",
        description="Steps that decide what comes next; and where every open orchestration stands.",
        variables=(WORKFLOW,),
        rows=(
            steps_of(Queue.ORCHESTRATION, "Orchestrations that were carried one step further"),
            waiting_for(Queue.ORCHESTRATION),
            Row(
                "Orchestrations",
                (
                    graph(
                        "Open, by status",
                        "What waits for a release, for consent or for a person does not go on by itself.",
                        (total(names.ORCHESTRATIONS_OPEN, "status", where=OF_WORKFLOW), "{{status}}"),
                        stacked=True,
                        alerts=("WaitingForRelease", "ApprovalsWaiting"),
                    ),
                    graph(
                        "Ended, by status",
                        "Orchestrations a second.",
                        (rate(names.ORCHESTRATIONS_CLOSED, "status", where=OF_WORKFLOW), "{{status}}"),
                        unit="reqps",
                        stacked=True,
                        alerts=("OrchestrationsFailing",),
                    ),
                    graph(
                        "Duration from acceptance to the end, p95",
                        "By workflow; includes what waited for people.",
                        (
                            quantile(0.95, names.ORCHESTRATION_DURATION, "workflow", where=OF_WORKFLOW),
                            "{{workflow}}",
                        ),
                        unit="s",
                        alarming=600,
                        alerts=("OrchestrationsSlow",),
                    ),
                ),
            ),
            Row(
                "The journal",
                (
                    graph(
                        "Facts",
                        "Recorded a second, by kind.",
                        (rate(names.FACTS, "kind"), "{{kind}}"),
                        unit="reqps",
                    ),
                    graph(
                        "Done again",
                        "Facts that mean another attempt, by queue and cause: a lost worker, a rejected answer, "
                        "a delivery that did not get through.",
                        (rate(names.RETRIES, "queue", "cause"), "{{queue}}: {{cause}}"),
                        unit="reqps",
                    ),
                ),
            ),
            notes(
                "- `python -m app runs list` and `python -m app runs explain ID`: where it stands, and why",
                "- `python -m app releases list`: what an orchestration that waits for its release is pinned to",
                "- `python -m app runs cancel ID --actor YOU --reason WHY`: end one",
            ),
        ),
    )


def aggregation() -> Dashboard:
    """Proposals become a decision; the evidence by release and channel."""
    return Dashboard(
        name="aggregation",
        title="Aggregation and decisions",
        description="Proposals become decisions; how each release and channel does beside the others.",
        variables=(WORKFLOW,),
        rows=(
            steps_of(Queue.AGGREGATION, "Aggregations"),
            waiting_for(Queue.AGGREGATION),
            _by_release(),
            Row(
                "Verdicts on what decisions ask for",
                (
                    graph(
                        "Verdicts of the gateway",
                        "A second, by effect, over agents' calls and decisions' actions.",
                        (rate(f"{names.VERDICT_DURATION}_count", "effect"), "{{effect}}"),
                        unit="reqps",
                        stacked=True,
                    ),
                    graph(
                        "Orchestrations that waited for people",
                        "Open now, by workflow: consent to an action, or a stage that a person completes.",
                        (
                            total(
                                names.ORCHESTRATIONS_OPEN,
                                "status",
                                "workflow",
                                where=f'{OF_WORKFLOW}, status=~"awaiting_approval|in_review"',
                            ),
                            "{{status}} {{workflow}}",
                        ),
                        alerts=("ApprovalsWaiting",),
                    ),
                ),
            ),
            notes(
                "- `python -m app releases show WORKFLOW`: what the release is made of",
                "- `python -m app runs explain ID`: votes, rule and reasons of one decision",
                "- `python -m app runs verify ID`: decide it again from the record, offline",
            ),
        ),
    )


def _by_release() -> Row:
    which = ("workflow", "release", "channel")
    called = "{{workflow}} {{release}} {{channel}}"
    decisions = rate(names.DECISIONS, *which, where=OF_WORKFLOW)
    degraded = rate(names.DECISIONS, *which, where=f'{OF_WORKFLOW}, degraded="true"')
    of_channel = increase(names.DECISIONS, "workflow", "channel", where=OF_WORKFLOW)
    all_of_it = f"on (workflow) group_left () {increase(names.DECISIONS, 'workflow', where=OF_WORKFLOW)}"
    return Row(
        "Evidence by release and channel",
        (
            graph(
                "Decisions",
                "A second, by workflow, release and channel: who gets the traffic.",
                (decisions, called),
                unit="reqps",
                stacked=True,
            ),
            graph(
                "Degraded decisions",
                "The share that rests on a fallback. A canary far above its stable release is worse than it.",
                (share(degraded, decisions), called),
                unit="percentunit",
                alarming=0.1,
                alerts=("DecisionsDegraded",),
            ),
            graph(
                "Share of each channel",
                "Of a workflow's decisions in the chosen time.",
                (f"{of_channel} / {all_of_it}", "{{workflow}} {{channel}}"),
                unit="percentunit",
            ),
        ),
    )


def dispatch() -> Dashboard:
    """Effects at targets, and the people who consent to them."""
    here = 'target=~"$target"'
    attempts = rate(names.DELIVERIES, "target", where=here)
    unsuccessful = rate(names.DELIVERIES, "target", where=f'{here}, outcome!="confirmed"')
    return Dashboard(
        name="dispatch",
        title="Dispatch",
        description="Attempts at targets and what became of them; what is in doubt; what waits for consent.",
        variables=(Variable("target", "Target", names.DELIVERIES, "target"),),
        rows=(
            steps_of(Queue.DISPATCH, "Attempts at deliveries"),
            waiting_for(Queue.DISPATCH),
            Row(
                "Targets",
                (
                    graph(
                        "Answers to attempts",
                        "A second, by outcome and target.",
                        (rate(names.DELIVERIES, "outcome", "target", where=here), "{{outcome}} {{target}}"),
                        unit="reqps",
                        stacked=True,
                    ),
                    graph(
                        "Attempts without success",
                        "The share of each target's attempts that were not confirmed.",
                        (share(unsuccessful, attempts), "{{target}}"),
                        unit="percentunit",
                        alarming=0.2,
                        alerts=("DeliveriesFailing",),
                    ),
                    graph(
                        "Duration of an attempt, p95",
                        "By target.",
                        (quantile(0.95, names.DELIVERY_DURATION, "target", where=here), "{{target}}"),
                        unit="s",
                    ),
                ),
            ),
            Row(
                "Actions and people",
                (
                    graph(
                        "Actions that are not finished",
                        "By state. What is in doubt is never sent again by itself.",
                        (total(names.ACTIONS, "state"), "{{state}}"),
                        stacked=True,
                        alerts=("DeliveriesInDoubt",),
                    ),
                    graph(
                        "Approvals",
                        "A second, by what people or their deadline said.",
                        (rate(names.APPROVALS, "answer"), "{{answer}}"),
                        unit="reqps",
                        stacked=True,
                    ),
                    graph(
                        "Age of the oldest waiting approval",
                        "0 when none waits. What nobody answers expires, and its action is not carried out.",
                        (total(names.APPROVAL_AGE, function="max"), "oldest"),
                        unit="s",
                        alarming=900,
                        alerts=("ApprovalsWaiting",),
                    ),
                ),
            ),
            notes(
                "- `python -m app actions list --state in_doubt` and `python -m app actions show ID`: what was tried",
                "- `python -m app actions settle --all --target T`: say what became of many",
                "- `python -m app approvals list`: what waits for consent, and for whose",
            ),
        ),
    )


def replay() -> Dashboard:
    """What gave up, and what was done about it."""
    return Dashboard(
        name="replay_and_dead_letters",
        title="Replay and dead letters",
        description="Work that gave up, and doing it again from the record.",
        rows=(
            Row(
                "Dead letters",
                (
                    graph(
                        "Arriving",
                        "Work that gave up, a second, by queue and cause.",
                        (rate(names.DEAD_LETTERS, "queue", "cause"), "{{queue}}: {{cause}}"),
                        unit="reqps",
                        stacked=True,
                        alerts=("DeadLettersArriving",),
                    ),
                    graph(
                        "Open",
                        "Nobody has replayed or settled them; by queue and cause.",
                        (total(names.DEAD_LETTERS_OPEN, "queue", "cause"), "{{queue}}: {{cause}}"),
                        stacked=True,
                        alerts=("DeadLettersOpen",),
                    ),
                    graph(
                        "Reports that wait in Redis",
                        "What gave up outside a transaction, until a worker makes it a dead letter.",
                        (total(names.QUEUE_LENGTH, where='queue_name="dead_letter"'), "dead_letter"),
                        alerts=("MessagesNotTaken",),
                    ),
                ),
            ),
            steps_of(Queue.REPLAY, "Replays"),
            waiting_for(Queue.REPLAY),
            Row(
                "Replays",
                (
                    figure(
                        "Replays in the chosen time",
                        "Of every mode.",
                        else_zero(increase(names.REPLAYS)),
                    ),
                    graph(
                        "Replays",
                        "All there ever were, by what became of them and mode.",
                        (total(names.REPLAYS, "state", "mode"), "{{state}} {{mode}}"),
                    ),
                    graph(
                        "Done again without a replay",
                        "Attempts that the service made by itself, a second, by queue and cause.",
                        (rate(names.RETRIES, "queue", "cause"), "{{queue}}: {{cause}}"),
                        unit="reqps",
                        stacked=True,
                    ),
                ),
            ),
            notes(
                "- `python -m app dead-letters list` and `python -m app dead-letters plan ID`: what a replay would do",
                "- `python -m app dead-letters replay ID --actor YOU --reason WHY`: do it again, safely",
                "- `python -m app audit replays`: who did what again, why, and what came out",
            ),
        ),
    )
