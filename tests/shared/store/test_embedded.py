"""The embedded server: one per data folder, shared by its users, keeping what it was given."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from shared.store import embedded
from shared.store.embedded import EmbeddedServer


def _client(server: EmbeddedServer) -> redis.Redis:
    return redis.Redis.from_url(server.url, decode_responses=True, protocol=2)


def test_data_survives_the_last_user(tmp_path: Path) -> None:
    """The server stops with its last user and comes back with everything."""
    with EmbeddedServer(tmp_path) as server, _client(server) as client:
        client.set("k", "v")
    assert not server.socket.exists()
    with EmbeddedServer(tmp_path) as server, _client(server) as client:
        assert client.get("k") == "v"


def test_second_user_joins_the_first(tmp_path: Path) -> None:
    """Whoever leaves first does not stop the server under the other."""
    first, second = EmbeddedServer(tmp_path), EmbeddedServer(tmp_path)
    first.release()
    with _client(second) as client:
        assert client.ping()
    second.release()
    assert not second.socket.exists()


def test_server_refuses_to_evict(tmp_path: Path) -> None:
    """Jobs are never deleted to make room."""
    with EmbeddedServer(tmp_path) as server, _client(server) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}


def test_long_path_gets_a_short_socket(tmp_path: Path) -> None:
    """A unix socket's path is limited; the data folder's is not."""
    folder = tmp_path / ("long" * 20) / ("longer" * 10)
    with EmbeddedServer(folder) as server, _client(server) as client:
        assert client.ping()


def test_without_binary_a_stand_in_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No server on this machine: it works, and says that nothing survives."""
    monkeypatch.setattr(embedded, "server_binary", lambda: None)
    with EmbeddedServer(tmp_path) as server, _client(server) as client:
        assert client.set("k", "v")
        assert "NOTHING SURVIVES" in server.warnings[0]


def test_use_is_seen_without_a_start(tmp_path: Path) -> None:
    """Of a server that runs or has run; asking leaves no trace."""
    assert not embedded.has_been_used(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with EmbeddedServer(tmp_path) as server:
        assert embedded.has_been_used(tmp_path)
    assert embedded.has_been_used(tmp_path)
    assert not server.socket.exists()
