"""What a call is read from."""

from __future__ import annotations

from producer.api.call import read_headers
from producer.api.options import read_preference


def test_header_that_comes_twice_is_a_list() -> None:
    """RFC 9110 §5.3; so a second value stands beside the first one, and is not taken for it."""
    headers = read_headers(
        {"headers": [(b"host", b"localhost"), (b"x-source", b"caf\xe9"), (b"host", b"elsewhere.example")]}
    )
    assert headers == {"host": "localhost, elsewhere.example", "x-source": "café"}


def test_preferences_in_several_headers_are_read_together() -> None:
    headers = read_headers({"headers": [(b"prefer", b"handling=lenient"), (b"prefer", b"wait=7")]})
    assert read_preference(headers).wait_s == 7
