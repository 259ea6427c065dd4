"""Webhooks: telling clients' own servers that a job, batch or response has ended."""
