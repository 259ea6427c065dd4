"""Batches: a JSONL file of requests in, a JSONL file of answers out, resumable at any moment."""

from producer.batch.run import BatchRun, Plan
from producer.batch.tally import Tally
from shared.errors import BatchRefused

__all__ = ["BatchRefused", "BatchRun", "Plan", "Tally"]
