"""The sections that are plain numbers and switches, one model per concern."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from shared.settings.masking import shown_url
from shared.settings.section import Section

DAY_S = 86_400
MIB = 1024 * 1024


def default_data_dir(home: Path) -> Path:
    """Where the embedded Redis keeps its files when nothing else is said (XDG base directories)."""
    return home / ".local" / "share" / "chatq" / "redis"


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError('must be IP addresses or networks, like "127.0.0.1" or "10.0.0.0/8"') from None
    return text


def _redis_url(url: str) -> str:
    if not re.fullmatch(r"((rediss?|unix|(rediss?\+)?sentinels?)://\S+)?", url):
        raise ValueError("must be a redis://, rediss://, unix:// or Sentinel address, or empty")
    return url


def _host_port(address: str) -> str:
    match = re.fullmatch(r"(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})", address)
    if match is None or int(match[1]) > 65_535:
        raise ValueError('must be an address and a port, like "127.0.0.1:3220" or "[::1]:3220"')
    return address


class RoutingSettings(Section):
    """Where models go that name no provider, and when a job moves to another one."""

    default_provider: str = "ollama"
    """Gets every bare model name, and every name with an unknown prefix. Must be a configured provider."""

    bare: Literal["default", "infer"] = "default"
    """Where bare names go. `infer`: to the provider that the name speaks of (`gpt-5`: openai), else the default."""

    failover_after_s: float = Field(default=5.0, ge=0, le=DAY_S)
    """A candidate that stays closed for longer than this, in seconds, hands its jobs to the next one."""


class RedisSettings(Section):
    """The server that holds queues, jobs and results."""

    url: Annotated[str, AfterValidator(_redis_url)] = ""
    """`redis://`, `rediss://`, `unix://` or Sentinel; `CHATQ_REDIS_URL` overrides it. Empty: embedded."""

    data_dir: Path = Field(default_factory=lambda: default_data_dir(Path.home()), strict=False)
    """Files of the embedded server.

    Empty in the file: `$XDG_DATA_HOME/chatq/redis`, or `~/.local/share/chatq/redis`.
    """

    socket_timeout_s: float = Field(default=5.0, ge=0.05, le=300)
    """Longest wait for one answer of Redis, in seconds; blocking waits add their own time to it."""

    connect_timeout_s: float = Field(default=5.0, ge=0.05, le=300)
    """Longest time to open a connection to Redis, in seconds."""

    retry_s: float = Field(default=20.0, ge=0, le=600)
    """How long a lost Redis is retried before an error is raised, in seconds. 0: not at all."""

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Show the address without user and password."""
        shown = {"url": shown_url(self.url) if self.url else ""}
        return [(name, shown.get(name or "", value)) for name, value in super().__repr_args__()]


class JobSettings(Section):
    """What a job may cost, and how long it is kept."""

    max_attempts: int = Field(default=3, ge=1, le=20)
    """Upstream calls a job may start. Waiting for a rate limit is not an attempt."""

    result_ttl_s: int = Field(default=DAY_S, ge=1, le=366 * DAY_S)
    """How long a completed job and its answer can be read, in seconds."""

    failure_ttl_s: int = Field(default=7 * DAY_S, ge=1, le=366 * DAY_S)
    """How long a job that ended without an answer can be read, in seconds; people look into these later."""

    max_body_bytes: int = Field(default=4 * MIB, ge=1024, le=64 * MIB)
    """Largest request body that is accepted, in bytes of JSON (chatd's limit)."""

    max_answer_bytes: int = Field(default=16 * MIB, ge=1024, le=256 * MIB)
    """Largest upstream answer that is read, in bytes; a longer one fails the job."""

    expires_in_s: float = Field(default=0.0, ge=0, le=366 * DAY_S)
    """Deadline for jobs that state none, in seconds after submit. 0: no deadline."""

    backoff_base_s: float = Field(default=0.5, ge=0.001, le=600)
    """Upper end of the random delay after the first failed attempt, in seconds; doubles with each."""

    backoff_max_s: float = Field(default=30.0, ge=0.001, le=DAY_S)
    """No backoff is longer than this, in seconds."""

    max_rate_limit_waits: int = Field(default=50, ge=0, le=10_000)
    """How often one job may wait for a 429 before it fails: no upstream may hold it for ever."""

    @model_validator(mode="after")
    def _backoff_order(self) -> Self:
        if self.backoff_base_s > self.backoff_max_s:
            base, most = self.backoff_base_s, self.backoff_max_s
            raise ValueError(f"backoff_base_s ({base:g}) must not be over backoff_max_s ({most:g})")
        return self


class LaneSettings(Section):
    """A lane's share of a provider while all lanes have work; an idle lane's share goes to the others."""

    interactive: int = Field(default=70, ge=1, le=1000)
    """Weight of jobs somebody waits for."""

    default: int = Field(default=25, ge=1, le=1000)
    """Weight of ordinary jobs."""

    batch: int = Field(default=5, ge=1, le=1000)
    """Weight of bulk jobs: small, never zero, so that a batch neither blocks others nor starves."""


class WorkerSettings(Section):
    """How a worker takes, runs and gives back jobs."""

    concurrency: int = Field(default=500, ge=1, le=20_000)
    """Jobs in flight per process."""

    processes: int = Field(default=1, ge=1, le=64)
    """Worker processes; more than one per core gains nothing."""

    providers: tuple[str, ...] = Field(default=(), strict=False)
    """Whose queues this worker serves. Empty: all registered providers."""

    grace_s: float = Field(default=25.0, ge=0, le=3600)
    """Time to finish running jobs after SIGTERM, in seconds; below the 30 s that supervisors often grant."""

    lease_s: float = Field(default=30.0, ge=0.2, le=3600)
    """How long a claimed job stays with a silent worker, in seconds: the wait for a rescue after a crash."""

    renew_s: float = Field(default=7.5, ge=0.05, le=1800)
    """Interval of lease renewals, in seconds; under half of `lease_s`, so that one may fail."""

    claim_batch: int = Field(default=64, ge=1, le=1000)
    """Most jobs asked for in one claim; a script that runs long blocks Redis for everybody."""

    flush_ms: int = Field(default=3, ge=0, le=1000)
    """Longest time a finished job waits to be written together with others, in milliseconds."""

    flush_batch: int = Field(default=64, ge=1, le=1000)
    """Finished jobs that are written without waiting for `flush_ms`."""

    poll_s: float = Field(default=1.0, ge=0.01, le=60)
    """Interval of the slow look for work, in seconds, in case a wake-up signal was lost."""

    metrics_port: int = Field(default=0, ge=0, le=65_535)
    """Port on the loopback interface where metrics can be read. 0: off."""

    spool_dir: str = ""
    """Folder where answers are written while Redis is away. Empty: they are kept in memory only."""

    @model_validator(mode="after")
    def _renewal_before_expiry(self) -> Self:
        if self.renew_s >= self.lease_s / 2:
            raise ValueError(
                f"renew_s ({self.renew_s:g}) must be less than half of lease_s ({self.lease_s:g}): "
                "one lost renewal must not cost the lease"
            )
        return self


class TelemetrySettings(Section):
    """The capped stream of events on attempts and outcomes."""

    enabled: bool = True
    """Whether events are written."""

    stream_maxlen: int = Field(default=100_000, ge=1, le=10_000_000)
    """Events kept; older ones are dropped."""

    @property
    def max_events(self) -> int:
        """How many events the scripts keep; 0: none are written."""
        return self.stream_maxlen if self.enabled else 0


class RqSettings(Section):
    """How much of RQ's own layout is written beside chatq's."""

    mirror: Literal["light", "full"] = "light"
    """`light`: what `rq info` and `Job.fetch` read. `full`: also RQ's result stream, which costs memory."""


class AuthSettings(Section):
    """Who may use the HTTP API."""

    token: SecretStr = SecretStr("")
    """Bearer token that clients must send. Empty: none is asked for."""

    allowed_ips: tuple[Annotated[str, AfterValidator(_network)], ...] = Field(default=(), strict=False)
    """Addresses and networks that may connect. Empty: any."""


class LogSettings(Section):
    """What is logged."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is written."""


class ApiSettings(Section):
    """The HTTP API."""

    bind: Annotated[str, AfterValidator(_host_port)] = "127.0.0.1:3220"
    """Address and port it listens on (chatd's default)."""

    cancel_dropped: bool = True
    """Whether a call whose connection is dropped, also by a server that stops, ends its job: if nobody else waits
    for that and the call has no `Idempotency-Key`, with which it may come again."""

    processes: int = Field(default=1, ge=1, le=64)
    """Processes that serve it; more than one per core gains nothing."""

    grace_s: float = Field(default=2.0, ge=0, le=600)
    """Time that calls have to end after SIGTERM, in seconds; who then still waits is told to ask again."""

    body_timeout_s: float = Field(default=30.0, ge=0.1, le=3600)
    """How long a caller may keep the server waiting for its request, in seconds; large bodies have more."""

    max_connections: int = Field(default=10_000, ge=1, le=1_000_000)
    """Connections that one process holds; further ones are told to come again."""
