"""A batch as OpenAI's clients read it, and what chatq adds to that (docs/openai-wire.md §7.2)."""

from __future__ import annotations

from typing import Any

from shared.money import json_usd
from shared.store.batch_record import Batch, Progress

_TIMES = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")


def batch_view(batch: Batch) -> dict[str, Any]:
    """The Batch object; counts, usage and cost are those of recorded lines."""
    spec, progress = batch.spec, batch.progress
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": spec.endpoint,
        "model": progress.model,
        "errors": {"object": "list", "data": batch.errors} if batch.errors else None,
        "input_file_id": spec.input_file_id,
        "completion_window": spec.completion_window,
        "status": batch.status,
        # Clients take a file id for the sign that a batch is over.
        "output_file_id": batch.output_file_id if batch.is_ended else None,
        "error_file_id": batch.error_file_id if batch.is_ended else None,
        "created_at": batch.created_at,
        "expires_at": batch.expires_at,
        **{f"{name}_at": batch.times.get(f"{name}_at") for name in _TIMES},
        "request_counts": {
            "total": progress.total,
            "completed": progress.completed,
            "failed": progress.failed,
        },
        "usage": _usage(progress),
        "metadata": spec.metadata,
        "chatq": _progress(batch),
    }


def _usage(progress: Progress) -> dict[str, Any]:
    return {
        "input_tokens": progress.input_tokens,
        "input_tokens_details": {"cached_tokens": progress.cached_tokens},
        "output_tokens": progress.output_tokens,
        "output_tokens_details": {"reasoning_tokens": progress.reasoning_tokens},
        "total_tokens": progress.input_tokens + progress.output_tokens,
    }


def _progress(batch: Batch) -> dict[str, Any]:
    spec, progress = batch.spec, batch.progress
    done = progress.completed + progress.failed
    left = progress.total - done
    is_moving = progress.rate_per_s > 0 and not batch.is_ended
    # Cost that is unknown is null, never 0.
    is_known = progress.cost_usd or done > progress.cost_unknown
    return {
        "progress": round(min(1.0, done / progress.total), 4) if progress.total else 0.0,
        "rate_per_s": progress.rate_per_s,
        "eta_s": round(max(0, left) / progress.rate_per_s, 1) if is_moving else None,
        "cost_usd": json_usd(progress.cost_usd) if is_known else None,
        "cost_unknown": progress.cost_unknown,
        "failures": progress.errors,
        "lane": spec.lane,
        "webhook_url": spec.webhook_url,
        "retry_of": spec.retry_of or None,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
    }
