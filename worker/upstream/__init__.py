"""Calling providers: one adapter a wire, one pooled HTTP client an upstream."""

from worker.upstream.client import Answer, Upstream, open_upstream

__all__ = ["Answer", "Upstream", "open_upstream"]
