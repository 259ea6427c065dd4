"""The simulator's settings."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    ValidationError,
    field_validator,
)

from simulator.distribution import Distribution
from simulator.faults import Fault

_ROUNDING = 1e-9
"""Room for probabilities such as 0.1 + 0.2 + 0.7."""


def _to_distribution(value: object) -> object:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return Distribution.parse(str(value))
    return value


DistributionText = Annotated[
    Distribution, BeforeValidator(_to_distribution), PlainSerializer(str, return_type=str)
]
Probability = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
RateHeaders = Literal["openai", "retry-after", "none"]
Charge = Literal["actual", "max"]

_STRICT = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)


class LimitSettings(BaseModel):
    """What an account or a model may use."""

    model_config = _STRICT

    rpm: Count | None = None
    """Requests per minute; None: no limit."""
    tpm: Count | None = None
    """Tokens per minute, as `charge` counts them; None: no limit."""
    concurrency: Count | None = None
    """Calls at the same time; None: no limit."""


class SimulatorConfig(LimitSettings):
    """How the stand-in behaves; its own limits are the account's.

    Distributions are given as text, see `simulator.distribution`.
    """

    host: str = "127.0.0.1"
    """Address to listen on; loopback only, because the simulator answers anybody."""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """TCP port; 0 takes a free one."""
    models: tuple[str, ...] | None = None
    """The only models known, by exact name; None: every model is. `sim-…` directives are always known."""
    key: SecretStr | None = None
    """The key every chat call must carry, where its wire has it: Bearer, `x-api-key`, `x-goog-api-key` or `?key=`;
    None: no key is asked for."""
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0
    """Same seed and same request: same answer, and the n-th call of it meets the same latency and fault."""
    latency: DistributionText = Distribution("fixed", 0.0)
    """Seconds from the end of the request to the first byte of the answer."""
    output_tokens: DistributionText = Distribution("lognormal", 16.0, 0.5)
    """Words in an answer, one token each; the request's own cap cuts it, and 8,192 is the most. The thoughts of a
    request that asks for some are as long, drawn apart, and count against the cap first."""
    faults: dict[Fault, Probability] = Field(default_factory=dict)
    """Probability of each fault; together at most 1."""
    fault_first: Annotated[int, Field(ge=0)] | None = None
    """Faults of the mix strike only the first N calls of each distinct request; None: any call."""
    retry_after_s: Annotated[float, Field(ge=0, le=86400)] = 1.0
    """What the fault `429` states as Retry-After."""
    trickle_interval_s: Annotated[float, Field(gt=0, le=3600)] = 1.0
    """Pause between two bytes of the fault `trickle`."""
    oversize_bytes: Annotated[int, Field(ge=1, le=2**32)] = 32 * 1024 * 1024
    """The faults `oversize` and `gzip-bomb` send a body of at least this size, on the wire or unpacked."""
    model_limits: dict[str, LimitSettings] = Field(default_factory=dict)
    """Limits of models, by exact name, beside the account's: a call needs room in both and is charged to both."""
    slice_s: Annotated[float, Field(gt=0, le=60)] = 60.0
    """How long a share of the minute's allowance may be used up at once: 60 lets a whole minute's burst pass, 1
    enforces 60,000 per minute as 1,000 per second. At least one request passes; a call of more tokens than a slice
    has waits for a full one and leaves it in debt."""
    charge: Charge = "actual"
    """Tokens charged on admission. `actual`: prompt plus output really used. `max`: prompt plus the cap that the
    request names, and without a cap the longest answer possible (8,192), as Azure OpenAI counts."""
    rate_headers: RateHeaders = "openai"
    """How limits are told: `openai` says what is left on every answer, and the wait on a 429, in headers and words;
    `retry-after` says only the wait, in whole seconds in that header; `none` says nothing. Anthropic's wire has
    headers of its own; Gemini's has none and states the wait as RetryInfo in the error, unless `none`."""
    log_path: Path | None = None
    """JSONL file to which a record of every chat call is appended; None: memory only."""
    log_ring: Count = 200_000
    """How many of the latest records stay in memory."""

    @field_validator("host")
    @classmethod
    def _loopback_only(cls, host: str) -> str:
        try:
            is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            is_loopback = False
        if not is_loopback:
            raise ValueError(f"{host!r} is not a loopback address: use 127.0.0.1, ::1 or localhost")
        return host

    @field_validator("faults")
    @classmethod
    def _at_most_certain(cls, faults: dict[Fault, float]) -> dict[Fault, float]:
        if sum(faults.values()) > 1 + _ROUNDING:
            raise ValueError(f"the probabilities add up to {sum(faults.values()):g}; at most 1 is possible")
        return faults

    def changed(self, changes: dict[str, Any]) -> SimulatorConfig:
        """A copy with some fields replaced, validated like a new one.

        Raises:
            ValueError: An unknown or fixed field (address, log), or a value out of range.
        """
        fixed = sorted(_FIXED_WHILE_RUNNING & changes.keys())
        if fixed:
            raise ValueError(f"{', '.join(fixed)}: cannot change while the simulator runs")
        return SimulatorConfig.model_validate({**dict(self), **changes})


def explain(exc: ValidationError) -> str:
    """The first complaint about settings, in one line that names the field but never a value of its own."""
    first = exc.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(step) for step in first["loc"])
    return f"{field}: {first['msg'].removeprefix('Value error, ')}"


_FIXED_WHILE_RUNNING = frozenset(("host", "port", "log_path", "log_ring"))
