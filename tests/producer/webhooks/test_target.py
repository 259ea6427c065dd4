"""Targets: nothing inside the operator's network can be reached, however it is written."""

from __future__ import annotations

import pytest

from producer.webhooks.target import check_webhook_url, host_of, is_public
from shared.errors import InvalidRequest
from shared.settings import WebhookSettings
from tests.producer.receiver import webhook_settings

STRICT = webhook_settings(allow_private=False)

PRIVATE = {
    "loopback": ["127.0.0.1", "127.255.255.254", "::1"],
    "unspecified": ["0.0.0.0", "0.1.2.3", "::"],
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fd00::1", "fc00::1", "fec0::1"],
    "link-local": ["169.254.1.1", "fe80::1", "fe80::1%eth0"],
    "metadata": ["169.254.169.254", "100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254"],
    "carrier": ["100.64.0.1", "100.127.255.255"],
    "multicast": ["224.0.0.1", "239.1.2.3", "ff02::1"],
    "reserved": ["240.0.0.1", "255.255.255.255", "4000::1"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"],
    "benchmarks": ["198.18.0.1", "198.19.255.255", "2001:2::1"],
    "mapped": ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe"],
    "compatible": ["::127.0.0.1", "::10.0.0.1"],
    "NAT64": ["64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::10.0.0.1"],
    "6to4": ["2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:0808:0808::1", "192.88.99.1"],
    "Teredo": ["2001:0:7f00:1::", "2001::1"],
    "no address": ["", "example.com", "127.1"],
}

PUBLIC = [
    "8.8.8.8", "93.184.216.34", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1", "169.253.0.1",
    "2606:4700::1111", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8",
]  # fmt: skip


@pytest.mark.parametrize("address", [one for some in PRIVATE.values() for one in some])
def test_special_address_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_other_address_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://127.1/", "http://2130706433/", "http://0x7f.1/", "http://0x7f000001/",
        "http://017700000001/", "http://0177.0.0.1:8080/", "http://0/", "http://127.0.0.1./", "http://[::1]/",
        "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[fe80::1%25eth0]/", "https://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data/", "http://localhost/", "http://LOCALHOST:8000/", "http://localhost./",
        "http://a.localhost/", "http://[64:ff9b::7f00:1]/", "http://3232235777/", "http://192.168.257/",
    ],
)  # fmt: skip
def test_private_url_is_refused_when_handed_in(url: str) -> None:
    with pytest.raises(InvalidRequest, match="webhook_url: must not lead to") as refused:
        check_webhook_url(url, STRICT)
    assert refused.value.field == "webhook_url"
    assert check_webhook_url(url, webhook_settings()) == url


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com", "https://example.com:8443/hook?key=1", "http://example.com/", "https://8.8.8.8/",
        "https://[2606:4700::1111]/hook", "https://xn--bcher-kva.example/", "https://127.0.0.1.example.com/",
    ],
)  # fmt: skip
def test_public_url_is_taken(url: str) -> None:
    assert check_webhook_url(url, STRICT) == url


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (1, "must be a URL"),
        ("", "must be a URL"),
        ("https://example.com/a b", "must be a URL"),
        ("https://example.com/\r\nhost: x", "must be a URL"),
        ("https://bücher.example/", "ASCII"),
        ("https://１２７.0.0.1/", "ASCII"),
        ("https://example.com/" + "a" * 2048, "at most 2,048"),
        ("ftp://example.com/", "http:// or https://"),
        ("file:///etc/passwd", "http:// or https://"),
        ("//example.com/", "http:// or https://"),
        ("https://", "name a host"),
        ("https:///path", "name a host"),
        ("https://example.com:0/", "name a host"),
        ("https://example.com\\@10.0.0.1/", "name a host"),
        ("https://example.com:99999/", "cannot be read"),
        ("https://[::1/", "cannot be read"),
        ("https://user@example.com/", "user or password"),
        ("https://user:pw@example.com/", "user or password"),
        ("https://@example.com/", "user or password"),
    ],
)
def test_what_is_no_url_is_refused(url: object, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        check_webhook_url(url, STRICT)


def test_without_a_secret_there_are_no_webhooks() -> None:
    """Unsigned calls could come from anybody; the message says what the operator does."""
    with pytest.raises(InvalidRequest, match=r"\[webhooks\] secret"):
        check_webhook_url("https://example.com", WebhookSettings())


def test_host_is_named_for_the_log() -> None:
    assert host_of("https://Example.com:8443/hook?key=1") == "example.com"
    assert host_of("https://[::1/") == ""
