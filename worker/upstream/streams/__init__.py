"""Streamed answers: read piece by piece, so that a stall is seen early, and put together to the whole answer."""

from worker.upstream.streams.answer import StreamedAnswer
from worker.upstream.streams.table import STREAMS, Stream

__all__ = ["STREAMS", "Stream", "StreamedAnswer"]
