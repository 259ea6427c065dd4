"""`[providers.<name>]`: one upstream API as data."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from shared.settings.builtin_providers import BUILTIN_PROVIDERS
from shared.settings.limits import LimitSettings
from shared.settings.masking import shown_headers
from shared.settings.quirk_names import QUIRKS
from shared.settings.section import Section

Wire = Literal["openai", "ollama", "ollama_generate", "gemini", "anthropic", "responses"]
"""How a provider is spoken to; one adapter each."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2, token
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")


def _base_url(url: str) -> str:
    url = url.strip().rstrip("/")
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an impossible port or IPv6 host
        is_address = False
    if not is_address or re.search(r"\s", url):
        raise ValueError("must be an http:// or https:// address, or empty to switch the provider off")
    # Addresses are printed; a credential inside one would be printed too.
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("must have no user, password, query or fragment; use key_env, key_file or headers")
    return url


def _variables(names: str) -> str:
    # Names are printed: a key put here by mistake must be refused, not shown.
    if not all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) for name in names.split()):
        raise ValueError(
            "must be the name of an environment variable (letters, digits, _), not the key itself"
        )
    return " ".join(names.split())


def _base_url_path(path: str) -> str:
    path = path.strip().strip("/")
    if not re.fullmatch(r"[A-Za-z0-9._~/-]*", path) or ".." in path:
        raise ValueError("must be a path like /anthropic/v1, or empty")
    return f"/{path}" if path else ""


def _quirks(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in QUIRKS:
            raise ValueError(f"lists {name!r}, which is no quirk; known: {', '.join(QUIRKS)}")
    return names


def _headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"has a header that HTTP does not allow: {name!r}; use printable ASCII")
    return headers


def _header_name(name: str) -> str:
    if name and not _HEADER_NAME.fullmatch(name):
        raise ValueError("must be the name of a header, or empty")
    return name


def _account(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9_-]{0,64}", name):
        raise ValueError("must be an account name (a-z, 0-9, _ and -, up to 64), or empty")
    return name


UpstreamModel = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^\S(.*\S)?$")]
"""A model as its provider calls it: without chatq's prefix, and without `:cloud`."""


def is_pattern(name: str) -> bool:
    """Whether a key of `models` stands for more than one model."""
    return "*" in name or "?" in name


Quirks = Annotated[tuple[str, ...], Field(strict=False), AfterValidator(_quirks)]


class ProviderModelSettings(Section):
    """What is special about one model of a provider, or about those that a pattern names."""

    limits: LimitSettings = LimitSettings()
    """What the provider allows for this model, besides the limits of the account. Not for a pattern."""

    wire: Wire | None = None
    """The API that these models answer on. None: the provider's."""

    base_url_path: Annotated[str, AfterValidator(_base_url_path)] = ""
    """Put between the provider's `base_url` and the wire's path."""

    quirks: Quirks = ()
    """Quirks of these models, besides the provider's."""


class ProviderSettings(Section):
    """One provider. An entry with the name of a built-in one overrides only the keys it states."""

    wire: Wire = "openai"
    """The API: `openai` (chat completions), `responses` (OpenAI's), `anthropic` (messages), `gemini`
    (generateContent), `ollama` (/api/chat), `ollama_generate` (/api/generate)."""

    base_url: Annotated[str, AfterValidator(_base_url)] = ""
    """Address that the wire's paths are appended to. Empty: the provider is switched off."""

    key_env: Annotated[str, AfterValidator(_variables)] = ""
    """Environment variable with the API key, or several with blanks between: the first that is set counts.
    Empty here and in `key_file`: no key is needed."""

    key_file: str = ""
    """File of `KEY=value` lines, read when the environment has no key."""

    key_header: Annotated[str, AfterValidator(_header_name)] = ""
    """Header that carries the key. Empty: the wire's own. In `Authorization` it comes after `Bearer `."""

    headers: Annotated[dict[str, str], AfterValidator(_headers)] = Field(default_factory=dict)
    """Sent with every call, over the wire's own headers."""

    timeout_s: float = Field(default=180.0, ge=0.01, le=86_400)
    """Longest time one call may take, in seconds. 180 leaves room for a cold model load (chatd's value)."""

    connect_timeout_s: float = Field(default=10.0, ge=0.01, le=600)
    """Longest time to open a connection, in seconds; part of `timeout_s`."""

    stream: bool = False
    """Whether answers are asked for as streams, so that one that stops half-way is seen early. They are put
    together before anybody sees them; reading one costs the worker more than reading it in one piece."""

    stall_timeout_s: float = Field(default=60.0, ge=0.01, le=86_400)
    """Longest silence in the middle of a streamed answer, in seconds; keep-alive comments count as life."""

    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Merged into every request body, for fields that only this provider knows."""

    quirks: Quirks = ()
    """What this provider wants beyond its wire, each by name; `quirk_names.py` says what they do."""

    account: Annotated[str, AfterValidator(_account)] = ""
    """Whose limits it draws on: limits belong to an account, not to a key. Empty: the entry's own name."""

    limits: LimitSettings = LimitSettings()
    """What the provider allows this account. Not known: the number of calls at the same time adapts."""

    models: dict[UpstreamModel, ProviderModelSettings] = Field(default_factory=dict)
    """Models with limits, a wire or quirks of their own, by name or by a pattern with `*` and `?`.
    All that fit a model count; of two that name a wire or a path, the longer one."""

    @model_validator(mode="after")
    def _limits_are_of_one_model(self) -> Self:
        for pattern, entry in self.models.items():
            if is_pattern(pattern) and entry.limits != LimitSettings():
                raise ValueError(
                    f"has limits for the pattern {pattern!r}, but limits are one model's: state its exact name"
                )
        return self

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Mask header values that are credentials, and name only the keys of `extra_body`."""
        shown = {"headers": shown_headers(self.headers), "extra_body": sorted(self.extra_body)}
        return [(name, shown.get(name or "", value)) for name, value in super().__repr_args__()]


ProviderName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,64}$")]
"""Becomes part of queue names (`<provider>.<lane>`) and of model names (`<provider>/<model>`)."""


def builtin_providers() -> dict[str, ProviderSettings]:
    """The built-in providers with nothing overridden."""
    return {name: ProviderSettings(**spec) for name, spec in BUILTIN_PROVIDERS.items()}
