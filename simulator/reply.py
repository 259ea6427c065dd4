"""What goes back for one request: good answers, refusals, and answers spoiled by a fault."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.answer import Answer
from simulator.bombs import gzip_bomb, nest
from simulator.faults import Fault
from simulator.framing import HTML, JSON, Content, plain, render
from simulator.notices import stated_wait
from simulator.refusals import Refusal
from simulator.wire import ChatCall, PromptTokens, Timing, Wire

_HTML_PAGE = (
    b"<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head>"
    b"<body><h1>Bad Gateway</h1></body></html>\n"
)


@dataclass(slots=True)
class Reply:
    """Bytes to send, and the fault of their delivery."""

    status: int
    head: bytes
    body: bytes
    fault: Fault | None = None
    """How the delivery goes wrong; None: it does not."""
    filler_at: int = 0
    """Where in the body the filler of an oversized answer goes."""
    filler_bytes: int = 0


@dataclass(slots=True)
class Admitted:
    """A call that passed every gate, with all that its answer depends on."""

    wire: Wire
    call: ChatCall
    answer: Answer
    prompt: PromptTokens
    headers: bytes
    """Rate limit lines for a good answer."""
    is_keep_alive: bool
    fault: Fault | None = None


def content_reply(status: int, content: Content, *, extra: bytes = b"", is_keep_alive: bool) -> Reply:
    """A reply delivered as it should be."""
    head, body = render(status, content, extra=extra, is_keep_alive=is_keep_alive)
    return Reply(status, head, body)


def refusal_reply(refusal: Refusal, *, is_keep_alive: bool) -> Reply:
    """An error status with the wire's error body."""
    content = plain(JSON, refusal.body)
    return content_reply(refusal.status, content, extra=refusal.headers, is_keep_alive=is_keep_alive)


def good_reply(admitted: Admitted, timing: Timing) -> Reply:
    """The answer as the wire shapes it."""
    return content_reply(
        200, _answer(admitted, timing), extra=admitted.headers, is_keep_alive=admitted.is_keep_alive
    )


def faulty_reply(
    admitted: Admitted, fault: Fault, timing: Timing, *, retry_after_s: float, oversize_bytes: int
) -> Reply:
    """What the fault makes of the answer.

    Args:
        retry_after_s: The wait that the fault `429` states.
        oversize_bytes: Least size of an oversized body, on the wire or unpacked.
    """
    refusal = _refusal(admitted, fault, retry_after_s)
    if refusal is not None:
        return refusal_reply(refusal, is_keep_alive=admitted.is_keep_alive)
    content = _spoiled(admitted, fault, timing)
    if content is not None:
        return content_reply(200, content, is_keep_alive=admitted.is_keep_alive)
    if fault is Fault.GZIP_BOMB:
        bomb = plain(JSON, gzip_bomb(oversize_bytes))
        return content_reply(
            200, bomb, extra=b"content-encoding: gzip\r\n", is_keep_alive=admitted.is_keep_alive
        )
    if fault is Fault.OVERSIZE:
        return _oversized(admitted, timing, oversize_bytes)
    reply = good_reply(admitted, timing)
    reply.fault = fault
    return reply


def _answer(admitted: Admitted, timing: Timing) -> Content:
    return admitted.wire.answer(admitted.call, admitted.answer, admitted.prompt, timing)


def _refusal(admitted: Admitted, fault: Fault, retry_after_s: float) -> Refusal | None:
    """The fault's refusal, for those that are an error status."""
    wire, model = admitted.wire, admitted.call.model
    match fault:
        case Fault.RATE_LIMITED:
            refusal = wire.rate_limited(model, retry_after_s)
            refusal.headers += stated_wait(wire.dialect, retry_after_s)
            return refusal
        case Fault.RATE_LIMITED_BARE:
            return wire.rate_limited(model, None)
        case Fault.QUOTA:
            return wire.quota_used_up()
        case Fault.NO_MONEY:
            return wire.no_money()
        case Fault.UNKNOWN_MODEL:
            return wire.unknown_model(model)
        case Fault.BAD_KEY:
            return wire.bad_key()
        case Fault.SERVER_ERROR | Fault.OVERLOADED | Fault.SITE_OVERLOADED:
            return wire.failed(int(fault))
    return None


def _spoiled(admitted: Admitted, fault: Fault, timing: Timing) -> Content | None:
    """The fault's content, for those that are a well-delivered 200."""
    if fault is Fault.HTML:
        return plain(HTML, _HTML_PAGE)
    if fault is Fault.EMPTY:
        return plain(JSON, b"")
    if fault is Fault.NO_CHOICES:
        return admitted.wire.answer_without_choice(admitted.call, timing)
    if fault is Fault.BLOCKED:
        return admitted.wire.blocked(admitted.call, admitted.prompt, timing)
    if fault is Fault.ERROR_200:
        return admitted.wire.error_in_answer(admitted.call)
    if fault is Fault.ERROR_MID:
        return _broken_off(admitted, timing)
    if fault is Fault.DEEP_JSON:
        return nest(_answer(admitted, timing))
    if fault is Fault.MALFORMED:
        content = _answer(admitted, timing)
        # Half of the first JSON text, whether it is the whole body or a stream's first event.
        return Content(
            content.content_type, [content.pieces[0][: len(content.pieces[0]) // 2]], content.is_stream
        )
    return None


def _broken_off(admitted: Admitted, timing: Timing) -> Content:
    """An error after half of a stream's pieces."""
    content = _answer(admitted, timing)
    begun = content.pieces[: len(content.pieces) // 2] if content.is_stream else []
    return admitted.wire.error_in_answer(admitted.call, begun)


def _oversized(admitted: Admitted, timing: Timing, oversize_bytes: int) -> Reply:
    """Valid JSON whose text is blown up after its first word; a stream comes unchunked."""
    content = _answer(admitted, timing)
    body = b"".join(content.pieces)
    # The last one: a model's name, further in front, may hold the word too. JSON to a schema without strings holds
    # none; then the last string of all grows.
    echo_at = body.rfind(b"echo")
    filler_at = body.rindex(b'"') if echo_at < 0 else echo_at + len(b"echo")
    filler_bytes = max(1, oversize_bytes - len(body))
    head, _ = render(
        200,
        plain(content.content_type, body),
        extra=admitted.headers,
        is_keep_alive=admitted.is_keep_alive,
        announced_bytes=len(body) + filler_bytes,
    )
    return Reply(200, head, body, Fault.OVERSIZE, filler_at, filler_bytes)
