"""`[providers.<name>]`: one upstream API as data, and the five that are built in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints

from shared.settings.limits import LimitSettings
from shared.settings.masking import shown_headers
from shared.settings.section import Section

Wire = Literal["openai", "ollama", "ollama_generate"]
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


def _variable(name: str) -> str:
    # Names are printed: a key put here by mistake must be refused, not shown.
    if not re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]*)?", name):
        raise ValueError(
            "must be the name of an environment variable (letters, digits, _), not the key itself"
        )
    return name


def _headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"has a header that HTTP does not allow: {name!r}; use printable ASCII")
    return headers


def _account(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9_-]{0,64}", name):
        raise ValueError("must be an account name (a-z, 0-9, _ and -, up to 64), or empty")
    return name


UpstreamModel = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^\S(.*\S)?$")]
"""A model as its provider calls it: without chatq's prefix, and without `:cloud`."""


class ProviderModelSettings(Section):
    """What is special about one model of a provider."""

    limits: LimitSettings = LimitSettings()
    """What the provider allows for this model, besides the limits of the account."""


class ProviderSettings(Section):
    """One provider. An entry with the name of a built-in one overrides only the keys it states."""

    wire: Wire = "openai"
    """The API: `openai` (chat completions), `ollama` (/api/chat), `ollama_generate` (/api/generate)."""

    base_url: Annotated[str, AfterValidator(_base_url)] = ""
    """Address that the wire's paths are appended to. Empty: the provider is switched off."""

    key_env: Annotated[str, AfterValidator(_variable)] = ""
    """Environment variable with the API key. Empty here and in `key_file`: no key is needed."""

    key_file: str = ""
    """File of `KEY=value` lines, read when the environment has no key."""

    headers: Annotated[dict[str, str], AfterValidator(_headers)] = Field(default_factory=dict)
    """Sent with every call, over the wire's own headers."""

    timeout_s: float = Field(default=180.0, ge=0.01, le=86_400)
    """Longest time one call may take, in seconds. 180 leaves room for a cold model load (chatd's value)."""

    connect_timeout_s: float = Field(default=10.0, ge=0.01, le=600)
    """Longest time to open a connection, in seconds; part of `timeout_s`."""

    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Merged into every request body, for fields that only this provider knows."""

    account: Annotated[str, AfterValidator(_account)] = ""
    """Whose limits it draws on: limits belong to an account, not to a key. Empty: the entry's own name."""

    limits: LimitSettings = LimitSettings()
    """What the provider allows this account. Not known: the number of calls at the same time adapts."""

    models: dict[UpstreamModel, ProviderModelSettings] = Field(default_factory=dict)
    """Models with limits of their own."""

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Mask header values that are credentials, and name only the keys of `extra_body`."""
        shown = {"headers": shown_headers(self.headers), "extra_body": sorted(self.extra_body)}
        return [(name, shown.get(name or "", value)) for name, value in super().__repr_args__()]


ProviderName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,64}$")]
"""Becomes part of queue names (`<provider>.<lane>`) and of model names (`<provider>/<model>`)."""

BUILTIN_PROVIDERS: dict[str, dict[str, Any]] = {
    "ollama": {"wire": "ollama", "base_url": "http://localhost:11434"},
    "ollama_cloud": {
        "wire": "ollama_generate",
        "base_url": "https://ollama.com",
        "key_env": "OLLAMA_CLOUD_KEY",
        "key_file": "/etc/lakehouse/ollama_cloud.env",
    },
    "openrouter": {
        "wire": "openai",
        "base_url": "https://openrouter.ai/api/v1",
        "key_env": "OPENROUTER_API_KEY",
        "key_file": "/etc/lakehouse/openrouter.env",
    },
    "opencode": {
        "wire": "openai",
        "base_url": "https://opencode.ai/zen/v1",
        "key_env": "OPENCODE_API_KEY",
        "key_file": "/etc/lakehouse/opencode.env",
    },
    "kimi": {
        "wire": "openai",
        "base_url": "https://api.kimi.com/coding/v1",
        "key_env": "KIMI_API_KEY",
        "key_file": "/etc/lakehouse/kimi.env",
    },
}
"""Known without being configured; order is the order of listings. Addresses: docs/provider-wire.md."""


def builtin_providers() -> dict[str, ProviderSettings]:
    """The built-in providers with nothing overridden."""
    return {name: ProviderSettings(**spec) for name, spec in BUILTIN_PROVIDERS.items()}
