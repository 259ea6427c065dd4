"""Signature: Standard Webhooks (standardwebhooks.com), which OpenAI's SDKs verify (docs/openai-wire.md §9)."""

from __future__ import annotations

import base64
import hashlib
import hmac

from pydantic import SecretStr

from shared.settings import SECRET_PREFIX


def signed_headers(secret: SecretStr, webhook_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers by which a receiver knows that a body is ours and fresh.

    Args:
        secret: `whsec_` and base64, or any text, which is the key as it stands; not empty.
        webhook_id: The same each time the same event is sent.
        timestamp: Of this call, Unix seconds; receivers turn away what is older than some minutes.
        body: The very bytes that are sent.
    """
    content = b"%s.%d.%s" % (webhook_id.encode(), timestamp, body)
    digest = hmac.new(_key(secret.get_secret_value()), content, hashlib.sha256).digest()
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


def _key(secret: str) -> bytes:
    if secret.startswith(SECRET_PREFIX):
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    return secret.encode()
