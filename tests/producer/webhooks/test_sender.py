"""Sender: what is checked is what is connected to, and whatever comes of a call is an answer."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import openai
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from producer.webhooks.event import Notice, event_of
from producer.webhooks.sender import Answer, Sender, read_retry_after
from tests.producer.receiver import SECRET, Receiver, webhook_settings

EVENT = event_of("batch:batch_1", Notice("", "batch.completed", 1_700_000_000, {"id": "batch_1"}, None))
STRICT = webhook_settings(allow_private=False)


class Network(httpx.AsyncBaseTransport):
    """Notes what would be connected to; answers 200, or fails as it is told."""

    def __init__(self, *failures: type[httpx.TransportError]) -> None:
        self.requests: list[httpx.Request] = []
        self.failures = list(failures)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.failures:
            raise self.failures.pop(0)("no")
        return httpx.Response(200)

    @property
    def hosts(self) -> list[str]:
        return [request.url.host for request in self.requests]


class Names:
    """A resolver with one answer a lookup, the last for all that follow."""

    def __init__(self, *answers: Sequence[str] | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def send(url: str, names: Names, network: Network) -> Answer:
    async with Sender(STRICT, resolve=names, transport=network) as sender:
        return await sender.send(url, EVENT)


async def test_receiver_gets_what_was_signed(receiver: Receiver) -> None:
    """Over a real socket: the SDK takes the bytes and headers as they came."""
    async with Sender(webhook_settings()) as sender:
        assert await sender.send(receiver.url, EVENT) == Answer(200, None)
    (call,) = receiver.calls
    client = openai.OpenAI(api_key="k", webhook_secret=SECRET)
    assert client.webhooks.unwrap(call.body, dict(call.headers)).id == EVENT.id == call.id
    assert call.path == "/hook?key=hidden"
    assert call.headers["content-type"] == "application/json"
    assert call.headers["host"] == receiver.url.split("/")[2]


async def test_checked_address_is_the_one_connected_to() -> None:
    """By its number, while the server and its certificate are asked for by name."""
    names, network = Names(["93.184.216.34"]), Network()
    assert (await send("https://example.com:8443/hook?a=1", names, network)).error is None
    (request,) = network.requests
    assert str(request.url) == "https://93.184.216.34:8443/hook?a=1"
    assert request.headers["host"] == "example.com:8443"
    assert request.extensions["sni_hostname"] == "example.com"
    assert names.asked == [("example.com", 8443)]


async def test_international_name_is_looked_up_as_it_is_written() -> None:
    names, network = Names(["93.184.216.34"]), Network()
    assert (await send("https://XN--bcher-kva.example/", names, network)).error is None
    assert names.asked == [("xn--bcher-kva.example", 443)]


async def test_name_that_changes_its_address_reaches_nothing_private() -> None:
    """DNS rebinding: public when handed in and at the first call, private at the second."""
    names, network = Names(["93.184.216.34"], ["127.0.0.1"]), Network()
    assert (await send("https://example.com/", names, network)).error is None
    assert await send("https://example.com/", names, network) == Answer(None, "target_refused")
    assert network.hosts == ["93.184.216.34"]
    assert len(names.asked) == 2  # one lookup a call: nothing asks again behind the check


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "http://[::1]/", "http://2130706433/", "http://127.1/", "http://localhost/"]
)
async def test_private_address_is_refused_whatever_it_is_called(url: str) -> None:
    """With the system's own resolver, which reads more than is written in standards."""
    network = Network()
    async with Sender(STRICT, transport=network) as sender:
        assert (await sender.send(url, EVENT)).error in ("target_refused", "name_not_resolved")
    assert network.requests == []


async def test_private_addresses_among_others_are_left_out() -> None:
    names, network = Names(["10.0.0.1", "93.184.216.34", "::1"]), Network()
    assert (await send("https://example.com/", names, network)).error is None
    assert network.hosts == ["93.184.216.34"]


async def test_next_address_is_tried_when_nobody_listens() -> None:
    names = Names(["93.184.216.34", "2606:4700::1111", "8.8.8.8"])
    network = Network(httpx.ConnectError, httpx.ConnectTimeout)
    assert (await send("https://example.com/", names, network)).error is None
    assert network.hosts == ["93.184.216.34", "2606:4700::1111", "8.8.8.8"]


async def test_next_address_is_not_tried_when_the_call_was_made() -> None:
    """It may have arrived."""
    names, network = Names(["93.184.216.34", "8.8.8.8"]), Network(httpx.ReadError)
    assert await send("https://example.com/", names, network) == Answer(None, "bad_answer")
    assert network.hosts == ["93.184.216.34"]


@pytest.mark.parametrize(
    ("names", "network", "error"),
    [
        (Names(socket.gaierror(-2, "no")), Network(), "name_not_resolved"),
        (Names(UnicodeError("no")), Network(), "name_not_resolved"),
        (Names([]), Network(), "name_not_resolved"),
        (Names(["8.8.8.8"]), Network(httpx.ConnectError), "connect_failed"),
        (Names(["8.8.8.8"]), Network(httpx.ConnectTimeout), "timeout"),
        (Names(["8.8.8.8"]), Network(httpx.ReadTimeout), "timeout"),
        (Names(["8.8.8.8"]), Network(httpx.RemoteProtocolError), "bad_answer"),
    ],
)
async def test_what_goes_wrong_has_a_word(names: Names, network: Network, error: str) -> None:
    assert await send("https://example.com/", names, network) == Answer(None, error)


@pytest.mark.parametrize(
    "url", ["", "no url", "ftp://example.com/", "https://", "https://u:p@example.com/", "https://[::1/",
            "https://example.com:99999/", "https://exa mple.com/", "https://" + "a" * 3000, "https://\x00/"]
)  # fmt: skip
async def test_what_is_no_url_is_not_called(url: str) -> None:
    """Redis is untrusted: the check at the door may have been gone round."""
    names, network = Names(["8.8.8.8"]), Network()
    assert (await send(url, names, network)).error == "bad_url"
    assert (names.asked, network.requests) == ([], [])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_a_failure(receiver: Receiver, status: int) -> None:
    """Where it leads, nobody has checked."""
    receiver.answer(status, location=receiver.url)
    async with Sender(webhook_settings()) as sender:
        assert await sender.send(receiver.url, EVENT) == Answer(status, "redirected")
    assert len(receiver.calls) == 1


@pytest.mark.parametrize(
    ("status", "is_final"), [(400, False), (404, False), (429, False), (500, False), (410, True)]
)
async def test_other_status_is_a_failure(receiver: Receiver, status: int, is_final: bool) -> None:
    """410 alone says that nobody wants to hear more."""
    receiver.answer(status, retry_after="30")
    async with Sender(webhook_settings()) as sender:
        answer = await sender.send(receiver.url, EVENT)
    assert answer == Answer(status, "http_status", 30.0)
    assert answer.is_final == is_final


async def test_slow_receiver_is_given_up(receiver: Receiver) -> None:
    receiver.held.clear()
    async with Sender(webhook_settings(timeout_s=0.1)) as sender:
        assert await sender.send(receiver.url, EVENT) == Answer(None, "timeout")


async def test_slow_resolver_is_given_up() -> None:
    async def never(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    async with Sender(webhook_settings(timeout_s=0.1), resolve=never, transport=Network()) as sender:
        assert await sender.send("https://example.com/", EVENT) == Answer(None, "timeout")


async def test_endless_answer_is_not_read(receiver: Receiver) -> None:
    """The head says all that counts."""
    receiver.answers[:] = [b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n" + b"x" * 100_000]
    async with Sender(webhook_settings()) as sender:
        assert await sender.send(receiver.url, EVENT) == Answer(200, None)


async def test_endless_head_is_a_bad_answer(receiver: Receiver) -> None:
    receiver.answers[:] = [b"HTTP/1.1 200 OK\r\nx: " + b"x" * 1_000_000]
    async with Sender(webhook_settings()) as sender:
        assert await sender.send(receiver.url, EVENT) == Answer(None, "bad_answer")


async def test_what_speaks_no_tls_is_told_apart() -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"what do you want\n")
        writer.close()

    async with (
        await asyncio.start_server(serve, "127.0.0.1", 0) as server,
        Sender(webhook_settings()) as sender,
    ):
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        assert await sender.send(url, EVENT) == Answer(None, "tls_failed")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of `hooks.example`, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hooks.example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.example")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "hooks.pem"
    pem = serialization.Encoding.PEM
    form = serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()) + made.public_bytes(pem))
    return path


@pytest.mark.parametrize(
    ("host", "answer"), [("hooks.example", Answer(200, None)), ("other.example", Answer(None, "tls_failed"))]
)
async def test_certificate_must_be_of_the_name(
    receiver: Receiver, certificate: Path, host: str, answer: Answer
) -> None:
    """Though it is the address that is connected to."""
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(certificate)
    ours = ssl.create_default_context(cafile=str(certificate))
    transport, names = httpx.AsyncHTTPTransport(verify=ours), Names(["127.0.0.1"])
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=theirs)
    async with server, Sender(webhook_settings(), resolve=names, transport=transport) as sender:
        url = f"https://{host}:{server.sockets[0].getsockname()[1]}/"
        assert await sender.send(url, EVENT) == answer
    assert len(receiver.calls) == (answer.error is None)


async def test_proxy_of_the_environment_is_not_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would connect to what nobody has checked."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with Sender(webhook_settings()) as sender:
        assert (await sender.send(receiver.url, EVENT)).status == 200


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None), ("30", 30.0), ("0.5", 0.5), ("0", None), ("-1", None), ("nan", None), ("inf", None),
        ("soon", None), ("Tue, 14 Nov 2023 22:14:20 GMT", 60.0), ("Tue, 14 Nov 2023 22:12:20 GMT", None),
        ("Tue, 99 Nov 2023 22:14:20 GMT", None),
    ],
)  # fmt: skip
def test_retry_after_is_read(value: str | None, seconds: float | None) -> None:
    assert read_retry_after(value, 1_700_000_000) == seconds
