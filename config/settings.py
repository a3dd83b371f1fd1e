"""Settings: everything that an installation can choose, from variables named ``INTERLOCK_*``.

Secrets are not here: documents refer to them as ``env:NAME``, ``file:PATH`` or ``secret:NAME``.
"""

from __future__ import annotations

import difflib
import os
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.kernel.errors import PermanentError
from app.supervisor.run_folder import RunFolder

CHECKOUT = Path(__file__).resolve().parent.parent
"""The folder that holds ``app``, ``tasks`` and ``config``."""

PREFIX = "INTERLOCK_"


class SettingsError(PermanentError):
    """A setting has a value that it cannot have, or a name that looks like a misspelling."""

    code = "invalid_settings"


def _database_scheme(url: str) -> str:
    return _with_scheme(url, {"postgresql", "postgres"})


def _redis_scheme(url: str) -> str:
    return _with_scheme(url, {"redis", "rediss", "unix"})


def _with_scheme(url: str, allowed: set[str]) -> str:
    if urlsplit(url).scheme not in allowed:
        raise ValueError(
            f"the URL must begin with {' or '.join(f'{scheme}://' for scheme in sorted(allowed))}"
        )
    return url


def _names(value: object) -> object:
    """``a.b, c`` as the two names."""
    return (
        tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value
    )


Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
Folder = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]


class Settings(BaseSettings):
    """One installation's choices. Read once by each process: see :func:`load`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    home: Folder = CHECKOUT / ".interlock"
    """The run folder."""
    database_url: Annotated[str, AfterValidator(_database_scheme)] | None = None
    """A PostgreSQL of one's own, ``postgresql://``. Unset: the embedded one."""
    redis_url: Annotated[str, AfterValidator(_redis_scheme)] | None = None
    """A Redis of one's own, ``redis://``, ``rediss://`` or ``unix://``. Unset: the embedded one."""

    api_host: str = "127.0.0.1"
    api_port: Port = 8400
    flower_host: str = "127.0.0.1"
    flower_port: Port = 8455
    sink_host: str = "127.0.0.1"
    sink_port: Port = 8466
    """Where the demo's HTTP target listens."""

    front_lock_seconds: Seconds = 25.0
    """How long a lock in Redis may stay in front of a step; below the shortest lease (30 s)."""
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 64
    """How many steps one claim takes at most."""
    runs_per_message: Annotated[int, Field(ge=1, le=1024)] = 64
    """How many runs one message to ``agent_runs`` carries at most."""
    agent_runs_in_flight: Annotated[int, Field(ge=1, le=10_000)] = 256
    """How many model calls one process holds at once."""
    tool_modules: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)] = ()
    """A team's own modules of tools, separated by commas; every process imports them."""
    max_event_bytes: Annotated[int, Field(ge=1_000)] = 1_000_000
    """Bytes of one event, as it came over the wire."""
    telemetry: bool = True
    """Spans and metrics. Off: neither is made; logs stay."""
    trace_sample_ratio: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0
    """The share of new traces that are recorded; a trace from outside keeps its own verdict."""
    traces_per_second: Annotated[float, Field(gt=0)] = 10.0
    """How many new traces one process records a second at most: under load a sample, else all of them."""
    span_retention_hours: Annotated[float, Field(gt=0)] = 72.0
    """How long spans are kept in PostgreSQL."""
    metrics_host: str = "127.0.0.1"
    metrics_port: Port = 8477
    """Where the exporter of durable facts listens."""
    worker_metrics_port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Where a worker's or the API's own metrics are read; 0 is any free port, told in ``metrics/targets``."""
    unsafe_no_redaction: bool = False
    """For the control of a scan for secrets: logs, spans and stored words show everything. Each process warns of it."""
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    worker_shortcut: bool = True
    """Whoever finishes the last member of a stage rings the next queue at once. Off: canvases alone carry."""
    reconciler: bool = True
    """Overdue work is rung for again every ``reconcile_seconds``. Off: only messages carry."""
    reconcile_seconds: Seconds = 1.0
    anchoring: bool = True
    """The heads of chains are anchored outside the database every ``anchor_seconds``. Off: nothing is."""
    anchor_seconds: Seconds = 5.0
    anchors_folder: Folder | None = None
    """Where anchors are written; best on another disk than the database. Unset: in the run folder."""
    archive_folder: Folder | None = None
    """Where retention archives what it removes. Unset: in the run folder."""

    longest_step_seconds: Seconds = 300.0
    """The longest that one message may be worked on."""
    longest_countdown_seconds: Seconds = 60.0
    """The longest delay that a message may wait in Celery (longer ones wait in the work index)."""
    visibility_timeout_seconds: Seconds = 900.0
    """When Redis hands an unacknowledged message to another worker; a longer step would run twice."""
    unsafe_visibility_timeout_seconds: Seconds | None = None
    """For tests of redelivery: replaces the visibility timeout and its safety."""

    @model_validator(mode="after")
    def _redelivery_comes_after_the_longest_step(self) -> Self:
        needed = self.longest_step_seconds + self.longest_countdown_seconds
        if self.visibility_timeout_seconds <= needed:
            raise ValueError(
                f"visibility_timeout_seconds must be above longest_step_seconds + longest_countdown_seconds "
                f"({needed:g}); tests that want it lower set {PREFIX}UNSAFE_VISIBILITY_TIMEOUT_SECONDS"
            )
        return self

    @property
    def folder(self) -> RunFolder:
        """The run folder's paths."""
        return RunFolder(self.home)

    @property
    def anchors(self) -> Path:
        """The folder of anchors."""
        return self.anchors_folder or self.home / "anchors"

    @property
    def archive(self) -> Path:
        """The folder of retention's archives."""
        return self.archive_folder or self.home / "archive"

    @property
    def effective_database_url(self) -> str:
        """The one that was set, else the embedded server's."""
        return self.database_url or self.folder.database_url

    @property
    def effective_redis_url(self) -> str:
        """The one that was set, else the embedded server's; as redis-py reads it."""
        return self.redis_url or self.folder.redis_url

    @property
    def broker_url(self) -> str:
        """Redis's address as Celery reads it, for its broker and its result backend alike."""
        return broker_url(self.effective_redis_url)

    @property
    def effective_visibility_timeout_seconds(self) -> float:
        """What Celery's transport is told."""
        return self.unsafe_visibility_timeout_seconds or self.visibility_timeout_seconds


def broker_url(redis_url: str) -> str:
    """Turn redis-py's ``unix:///path?db=0`` into kombu's ``redis+socket:///path?virtual_host=0``."""
    parts = urlsplit(redis_url)
    if parts.scheme != "unix":
        return redis_url
    database = parts.query.removeprefix("db=") or "0"
    return f"redis+socket://{unquote(parts.path)}?virtual_host={database}"


@lru_cache(maxsize=1)
def load() -> Settings:
    """This process's settings, read from its environment once.

    Raises:
        SettingsError: which variable, why, and what it may be.
    """
    for name in os.environ:
        _refuse_misspelling(name)
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError(
            "The settings cannot be used: " + "; ".join(_explain(error)) + ".",
            "Correct or unset the variable; config/settings.py lists all of them.",
        ) from None


def _explain(error: ValidationError) -> list[str]:
    """One clause for each fault. The value is not repeated: a URL may hold a password."""
    reasons = []
    for fault in error.errors(include_url=False, include_input=False):
        name = f"{PREFIX}{str(fault['loc'][0]).upper()}: " if fault["loc"] else ""
        reasons.append(name + fault["msg"].removeprefix("Value error, "))
    return reasons


def _refuse_misspelling(variable: str) -> None:
    """Other ``INTERLOCK_*`` variables may exist (documents refer to them): only near misses are refused."""
    if not variable.startswith(PREFIX):
        return
    name = variable.removeprefix(PREFIX).lower()
    if name in Settings.model_fields:
        return
    near = difflib.get_close_matches(name, list(Settings.model_fields), n=1, cutoff=0.85)
    if near:
        raise SettingsError(
            f"{variable} is no setting of Interlock.",
            f"Did you mean {PREFIX}{near[0].upper()}? Else rename it.",
        )
