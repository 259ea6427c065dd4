"""What a caller may send a minute, as OpenAI's headers say it (docs/openai-wire.md §2).

Some clients set their own pace by them, and ask with an empty request first. How much is left is not said: what is
too much waits here, and one client takes a zero for a refusal.
"""

from __future__ import annotations

from producer.api.services import Services
from shared.errors import JobRejected

UNLIMITED_RPM, UNLIMITED_TPM = 1_000_000, 1_000_000_000
"""Said where the settings know no limit: the queue takes it, and clients want a number."""


def limit_headers(services: Services, model: object) -> dict[str, str]:
    """The limits of a model's first candidate, as the settings state them; none for a name that leads nowhere."""
    try:
        candidate = services.producer.router.resolve(model if isinstance(model, str) else "").candidates[0]
    except JobRejected:
        return {}
    provider = services.registry.registered.get(candidate.provider)
    if provider is None:
        return {}
    entry = provider.models.get(candidate.model)
    stated = (entry.limits, provider.limits) if entry is not None else (provider.limits,)
    rpm = min((limits.rpm for limits in stated if limits.rpm), default=UNLIMITED_RPM)
    tpm = min((limits.tpm for limits in stated if limits.tpm), default=UNLIMITED_TPM)
    return {"x-ratelimit-limit-requests": f"{rpm:.0f}", "x-ratelimit-limit-tokens": f"{tpm:.0f}"}
