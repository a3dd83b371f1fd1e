"""A release: the compiled, frozen, content-addressed set of documents that one workflow's orchestrations are pinned to.

The control plane compiles it, the data plane runs it, and neither knows the other. It holds everything that decides,
and nothing that differs between environments (addresses, secrets, worker counts).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from app.kernel.document import Expression, Frozen, Name, ToolName, absent, empty
from app.kernel.tool_spec import AgentTool, Approval, Reads, ToolSpec
from interlock.canonical import digest

GATEWAY = "gateway/1"
"""Name and version of the rules that judge calls and actions, as releases that are compiled now have them."""

Channel = Literal["stable", "canary", "shadow"]

EventPath = Annotated[str, Field(pattern=r"^event(\.[A-Za-z_][A-Za-z0-9_]*)+$", max_length=200)]
"""A field of the normalised event, as ``event.repository.full_name``; of a list, every member."""

Usd = Annotated[str, Field(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?$")]
"""Money in US dollars, as text: a float would not be exact."""


class Budget(Frozen):
    """What may be spent at one level; what is not named is not limited."""

    tokens: int | None = Field(default=None, ge=0, exclude_if=absent)
    """Of prompts and answers together."""
    usd: Usd | None = Field(default=None, exclude_if=absent)
    calls: int | None = Field(default=None, ge=0, exclude_if=absent)
    seconds: float | None = Field(default=None, ge=0, exclude_if=absent)
    """Wall time of calls, added up."""


class Price(Frozen):
    """What a model costs: micro-dollars for a million tokens. Frozen in the release, so that cost can be recomputed."""

    input_per_million: int = Field(ge=0)
    output_per_million: int = Field(ge=0)
    source: str
    """Where it is from, with its version: ``genai-prices/0.2.3``, or the provider's document."""


class Lookup(Frozen):
    """A read-only question that is answered before the first stage; its answer is a part of the state snapshot."""

    name: Name
    tool: ToolName
    arguments: Mapping[str, Expression]


class Aggregation(Frozen):
    """How a stage's proposals become one outcome.

    ``over`` names the fields that a vote is about; the outcome is the winning side's first proposal in the
    template's order. ``weights`` is used by ``weighted`` alone (an agent without a weight has weight 1).
    """

    rule: Literal["first_valid", "majority", "weighted"]
    version: int = 1
    over: tuple[str, ...] = ()
    weights: Mapping[Name, int] = {}


class Review(Frozen):
    """A person is asked for a stage's outcome, and for how long."""

    expires_seconds: float = Field(default=86_400.0, gt=0, le=31_536_000)
    """After this the orchestration fails: every wait ends."""


class Stage(Frozen):
    """A barrier: its agents run, and when all are final their proposals are aggregated."""

    name: Name
    after: tuple[Name, ...] = ()
    when: Expression | None = None
    agents: tuple[Name, ...] = Field(min_length=1)
    proposal: Mapping[str, JsonValue]
    """JSON Schema (the subset of ``app.data_plane.agent_runs.proposals``) that each agent's answer must fit."""
    aggregation: Aggregation
    timeout_seconds: float = Field(default=30.0, gt=0, le=270)
    """Of one run, from its claim on; below the longest step that the broker's visibility timeout allows for (300 s)."""
    fallback: Mapping[str, JsonValue] | None = None
    """The outcome when no proposal is valid: a safe default. Without this and the two below the orchestration fails."""
    fallback_rule: Mapping[str, Expression] | None = Field(default=None, exclude_if=absent)
    """In place of a safe default: the outcome's fields as CEL over ``event``, ``snapshot`` and ``stages``."""
    fallback_review: Review | None = Field(default=None, exclude_if=absent)
    """In place of a safe default: a person completes the stage."""
    run_budget: Budget | None = Field(default=None, exclude_if=absent)
    """For each run of this stage."""
    call_budget: Budget | None = Field(default=None, exclude_if=absent)
    """For each question to a model."""


class Target(Frozen):
    """What a target promises about repeats. Its address and secret belong to the tenant, not to the release.

    ``honours_keys``: it applies a key once, and knows it again for ``key_ttl_seconds`` from its first attempt on.
    ``timeout_seconds`` is how long one attempt may take; what has not been applied a moment later never will be.
    """

    name: Name
    honours_keys: bool = False
    key_ttl_seconds: int = Field(default=86_400, gt=0, le=3_155_760_000)
    timeout_seconds: float = Field(default=10.0, gt=0, le=270)
    max_attempts: int = Field(default=5, ge=1, le=20)
    probe_path: str | None = Field(
        default=None, pattern=r"^/[!-~]*\{key\}[!-~]*$", exclude_if=lambda value: value is None
    )
    """Where ``GET`` tells what became of an idempotency key: 200 it was applied, 404 it was not, else unknown.

    A 404 is believed while the target still keeps the key (``key_ttl_seconds``).

    Left out of the release's digest where it is not used, as every field that is added to a document must be: the
    same document has the same digest in every version of Interlock.
    """


class ActionTemplate(Frozen):
    """An effect that the decision may ask for: a writing tool, at a target, with arguments from the decision."""

    name: Name
    when: Expression | None = None
    tool: ToolName
    target: Name
    arguments: Mapping[str, Expression]
    approval: Approval | None = Field(default=None, exclude_if=absent)
    """For how long a person is asked, where the policy wants one's consent."""


class WorkflowTemplate(Frozen):
    """A small graph of stages, from the events it subscribes to, to the actions it may ask for."""

    name: Name
    version: int = Field(ge=1)
    description: str = ""
    subscribes: tuple[str, ...] = Field(min_length=1)
    """Event types; a trailing ``*`` matches any rest."""
    lookups: tuple[Lookup, ...] = ()
    stages: tuple[Stage, ...] = Field(min_length=1)
    decision: Mapping[str, Expression]
    """The decision's fields, each a CEL expression over ``event``, ``snapshot`` and ``stages`` (null when skipped)."""
    reason: Expression
    """A sentence for people: why this decision."""
    targets: tuple[Target, ...] = ()
    actions: tuple[ActionTemplate, ...] = ()
    policy: Name
    policy_version: int = Field(ge=1)
    agent_versions: Mapping[Name, int]
    budget: Budget | None = Field(default=None, exclude_if=absent)
    """For each orchestration."""
    trusted: tuple[EventPath, ...] = Field(default=(), exclude_if=empty)
    """The event's trusted fields: whoever sends events of these types says them, and no outsider writes them."""

    def stage(self, name: str) -> Stage:
        """The stage of that name. Raises KeyError when there is none."""
        return self._stages[name]

    def earlier(self, name: str) -> tuple[str, ...]:
        """All stages that are settled before that one starts, in the template's order; cycles are no error here."""
        direct = {stage.name: stage.after for stage in self.stages}
        seen: set[str] = set()
        left = list(direct[name])
        while left:
            before = left.pop()
            if before not in seen:
                seen.add(before)
                left.extend(direct.get(before, ()))
        return tuple(other for other in direct if other in seen)

    @cached_property
    def _stages(self) -> dict[str, Stage]:
        return {stage.name: stage for stage in self.stages}


class AgentBundle(Frozen):
    """One agent: what it is told, what it sees, and which providers answer for it, in order."""

    name: Name
    version: int = Field(ge=1)
    description: str = ""
    instructions: str = Field(min_length=1, max_length=20_000)
    inputs: Mapping[str, Expression]
    """What the agent sees: CEL over ``event``, ``snapshot`` and ``stages``. Untrusted, and marked so in the prompt."""
    providers: tuple[Name, ...] = Field(min_length=1)
    provider_versions: Mapping[Name, int]
    temperature: float = Field(default=0.0, ge=0, le=2)
    max_output_tokens: int = Field(default=1024, ge=1, le=100_000)
    timeout_seconds: float = Field(default=20.0, gt=0, le=270)
    """Of one question to a model."""
    tools: tuple[AgentTool, ...] = Field(default=(), exclude_if=empty)
    """What its models may call, and nothing else."""
    most_calls: int = Field(default=8, ge=1, le=100, exclude_if=lambda value: value == 8)
    """Of tools in one run; whoever calls more has to answer without."""
    hedge_after_seconds: float | None = Field(default=None, gt=0, le=270, exclude_if=absent)
    """When the first provider has not answered for so long, the second is asked beside it; the first answer counts."""


class ScriptedFailure(Frozen):
    """A scripted provider that fails as a real one would, for rehearsals."""

    code: Literal["provider_unreachable", "provider_timed_out", "provider_busy", "provider_failed"]
    retry_after_seconds: float | None = Field(default=None, ge=0, exclude_if=absent)


class ScriptedCall(Frozen):
    """A scripted call of a tool: arguments as CEL over ``inputs`` and ``results``, or the exact text of a model."""

    tool: str = Field(max_length=200)
    arguments: Mapping[str, Expression] | str = {}


class ScriptedRule(Frozen):
    """One answer of the scripted provider: the first rule of the agent whose ``when`` holds over ``inputs`` answers."""

    agent: Name
    when: Expression | None = None
    answer: Mapping[str, JsonValue] | str = ""
    failure: ScriptedFailure | None = Field(default=None, exclude_if=absent)
    """In place of an answer."""
    calls: tuple[ScriptedCall, ...] = Field(default=(), exclude_if=empty)
    """In place of an answer, or beside its text: the tools that are called."""
    turn: int | None = Field(default=None, ge=0, exclude_if=absent)
    """Only when the run's tools were called so often before; without it whenever ``when`` holds."""
    delay_seconds: float = Field(default=0.0, ge=0, le=600)


class ScriptedProvider(Frozen):
    """Deterministic answers, as data: the default of demo and tests."""

    kind: Literal["scripted"]
    name: Name
    version: int = Field(ge=1)
    model: str = "scripted"
    rules: tuple[ScriptedRule, ...]


class BreakerPolicy(Frozen):
    """When a provider's model is no longer asked, and when it is tried again."""

    failures: int = Field(default=5, ge=1, le=1000)
    """So many in a row, over all processes, open the breaker."""
    open_seconds: float = Field(default=30.0, gt=0, le=3600)
    """After this, one question at a time probes whether it answers again."""


class DocumentedPrice(Frozen):
    """What a provider's document says that its model costs, in US dollars for a million tokens."""

    input_usd: Usd
    output_usd: Usd


class OpenAICompatibleProvider(Frozen):
    """A server that speaks OpenAI's chat completions. The address may be a reference, the key always is one."""

    kind: Literal["openai_compatible"]
    name: Name
    version: int = Field(ge=1)
    model: str
    base_url: str
    """An address, or ``env:NAME`` for one that differs between environments."""
    api_key: str = Field(pattern=r"^(env|file|secret):.+$")
    json_mode: bool = True
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = Field(
        default=None, exclude_if=absent
    )
    """Of a reasoning model: it takes no temperature, and ``max_output_tokens`` counts what it thinks as well."""
    breaker: BreakerPolicy | None = Field(default=None, exclude_if=absent)
    price: DocumentedPrice | None = Field(default=None, exclude_if=absent)
    """In place of genai-prices' one."""
    price_provider: str | None = Field(default=None, exclude_if=absent)
    """Whose price list in genai-prices; without it, any that has the model."""


class AnthropicProvider(Frozen):
    """Anthropic's messages API, or a server that speaks it."""

    kind: Literal["anthropic"]
    name: Name
    version: int = Field(ge=1)
    model: str
    base_url: str = "https://api.anthropic.com"
    """An address, or ``env:NAME`` for one that differs between environments."""
    api_key: str = Field(pattern=r"^(env|file|secret):.+$")
    thinking: Literal["adaptive", "disabled"] | None = Field(default=None, exclude_if=absent)
    """Without it the model's own default; ``max_output_tokens`` counts what it thinks as well."""
    breaker: BreakerPolicy | None = Field(default=None, exclude_if=absent)
    price: DocumentedPrice | None = Field(default=None, exclude_if=absent)
    price_provider: str | None = Field(default="anthropic", exclude_if=absent)


class LocalProvider(Frozen):
    """A model that runs in the worker's process, on the CPU and without a key."""

    kind: Literal["local"]
    name: Name
    version: int = Field(ge=1)
    model: str
    """The weights' name, as recorded with each answer."""
    context_tokens: int = Field(default=4096, ge=256, le=131_072)


Provider = Annotated[
    ScriptedProvider | OpenAICompatibleProvider | AnthropicProvider | LocalProvider,
    Field(discriminator="kind"),
]
RemoteProvider = OpenAICompatibleProvider | AnthropicProvider
"""Those that are asked over a network: they have a breaker, a price and a key."""


class Policy(Frozen):
    """What the workflow's actions are allowed to be, in Cedar; what no ``permit`` names is denied."""

    name: Name
    version: int = Field(ge=1)
    cedar: str = Field(min_length=1, max_length=200_000)


class Release(Frozen):
    """Everything that one workflow's orchestrations are decided by. Its digest names it."""

    format: Literal[1] = 1
    template: WorkflowTemplate
    agents: Mapping[Name, AgentBundle]
    providers: Mapping[Name, Provider]
    policy: Policy
    tools: Mapping[ToolName, ToolSpec]
    prices: Mapping[Name, Price] = Field(default={}, exclude_if=lambda value: not value)
    """The price table: by provider, for those whose answers cost money."""
    gateway: str = Field(default="", exclude_if=empty)
    """Name and version of the rules that judge calls and actions; empty in releases from before there were any."""
    reads: Mapping[Name, Mapping[str, Reads]] = Field(default={}, exclude_if=empty)
    """By action and argument: what its expression reads, also by way of the decision's fields."""

    @property
    def workflow(self) -> str:
        """The workflow's name."""
        return self.template.name

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the canonical JSON of the whole release: one byte changed, another digest."""
        return digest(self.model_dump(mode="json"))

    def target(self, name: str) -> Target:
        """The target of that name. Raises KeyError when the template declares none."""
        return {target.name: target for target in self.template.targets}[name]
