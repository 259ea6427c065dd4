"""Sender: one signed POST to an address that was checked, and what came of it.

The name is looked up here, the addresses it has are checked, and one of these is connected to, so that nothing can
change in between (DNS rebinding). Each call has a connection of its own: two hosts may share an address, and a
certificate speaks for one of them.
"""

from __future__ import annotations

import asyncio
import email.utils
import math
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx

from producer.webhooks.event import Event
from producer.webhooks.signature import signed_headers
from producer.webhooks.target import is_public, parse_target
from shared.errors import InvalidRequest
from shared.settings import WebhookSettings
from shared.version import VERSION

MAX_ADDRESSES = 4
"""Addresses of a host that are tried, one after the other within the time of one call."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host for a port. Raises OSError."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one call.

    Attributes:
        status: HTTP status; None without an answer.
        error: A word for what went wrong: `http_status`, `redirected`, `timeout`, `connect_failed`, `tls_failed`,
            `name_not_resolved`, `target_refused`, `bad_url`, `bad_answer`. None for a 2xx.
        retry_after_s: What the receiver asks to wait.
    """

    status: int | None
    error: str | None
    retry_after_s: float | None = None

    @property
    def is_final(self) -> bool:
        """Whether another call would be in vain: it arrived, or nobody wants it (410)."""
        return self.error is None or self.status == 410


class Sender:
    """Makes calls. Use it as an async context manager.

    Args:
        resolve: Instead of the system's resolver.
        transport: Instead of the network; is given the checked address.
        now: Unix seconds.
    """

    def __init__(
        self,
        settings: WebhookSettings,
        *,
        resolve: Resolve | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        # Own threads: names that nobody answers for must not hold up what else the loop's threads do.
        self._threads = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="webhook-dns")
        self._resolve = resolve or self._look_up
        self._now = now
        # The bare transport: no cookies, no redirects, no log of URLs, and no proxy from the environment, for it
        # would connect to what nobody has checked.
        self._transport = transport or httpx.AsyncHTTPTransport(
            trust_env=False, limits=httpx.Limits(max_connections=None, max_keepalive_connections=0)
        )

    async def __aenter__(self) -> Self:
        """Open."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self._transport.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def send(self, url: str, event: Event) -> Answer:
        """POST an event, once; whatever goes wrong is an answer, too."""
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                target = _parse(url)
                addresses = await self._addresses(target)
                return await self._post(target, addresses, event)
        except _Unsent as exc:
            return Answer(None, str(exc))
        except (TimeoutError, httpx.TimeoutException):
            return Answer(None, "timeout")
        except httpx.ConnectError as exc:
            return Answer(None, "tls_failed" if _is_about_tls(exc) else "connect_failed")
        except httpx.TransportError:
            return Answer(None, "bad_answer")
        except httpx.InvalidURL:
            return Answer(None, "bad_url")

    async def _addresses(self, target: httpx.URL) -> list[str]:
        """The addresses that may be called.

        Raises:
            _Unsent: There are none.
        """
        try:
            found = await self._resolve(target.raw_host.decode("ascii"), _port(target))
        except (OSError, UnicodeError):  # the second from a name that the resolver cannot write
            raise _Unsent("name_not_resolved") from None
        allowed = [address for address in found if self._settings.allow_private or is_public(address)]
        if not allowed:
            raise _Unsent("target_refused" if found else "name_not_resolved")
        return allowed[:MAX_ADDRESSES]

    async def _post(self, target: httpx.URL, addresses: Sequence[str], event: Event) -> Answer:
        headers = signed_headers(self._settings.secret, event.id, int(self._now()), event.body)
        headers |= {
            "host": target.netloc.decode("ascii"),
            "user-agent": f"chatq/{VERSION}",
            "content-type": "application/json",
        }
        total_s = self._settings.timeout_s
        connect_s = total_s / len(addresses)
        extensions = {
            "timeout": httpx.Timeout(total_s, connect=connect_s).as_dict(),
            # The certificate is checked for the name, and the server is asked for that one.
            "sni_hostname": target.raw_host.decode("ascii"),
        }

        async def post_to(address: str) -> Answer:
            url = target.copy_with(host=address)
            request = httpx.Request("POST", url, headers=headers, content=event.body, extensions=extensions)
            response = await self._transport.handle_async_request(request)
            try:
                return self._judge(response)  # what follows the head of the answer is not read
            finally:
                await response.aclose()

        for address in addresses[:-1]:
            with suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return await post_to(address)
        return await post_to(addresses[-1])

    def _judge(self, response: httpx.Response) -> Answer:
        status = response.status_code
        if response.is_success:
            return Answer(status, None)
        error = "redirected" if 300 <= status < 400 else "http_status"
        return Answer(status, error, read_retry_after(response.headers.get("retry-after"), self._now()))

    async def _look_up(self, host: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return [str(address[0]) for *_, address in found]


def read_retry_after(value: str | None, now: float) -> float | None:
    """`Retry-After` in seconds from now: a number of seconds or a date; None for anything else.

    Args:
        now: Unix seconds.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return seconds if math.isfinite(seconds) and seconds > 0 else None


class _Unsent(Exception):
    """No call was made; the text is the answer's `error`."""


def _parse(url: str) -> httpx.URL:
    try:
        parts = parse_target(url)
        target = httpx.URL(url)
    except (InvalidRequest, httpx.InvalidURL):
        raise _Unsent("bad_url") from None
    # Two readers of one text: where they differ, somebody tries to make them.
    if target.raw_host.decode() != parts.hostname:
        raise _Unsent("bad_url")
    return target


def _port(target: httpx.URL) -> int:
    return target.port or (443 if target.scheme == "https" else 80)


def _is_about_tls(exc: BaseException) -> bool:
    return any(isinstance(one, ssl.SSLError) for one in _causes(exc))


def _causes(exc: BaseException | None) -> Iterator[BaseException]:
    while exc is not None:
        yield exc
        exc = exc.__cause__ or exc.__context__
