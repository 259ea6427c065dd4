"""The last resort of the embedded server: fakeredis behind a TCP port on loopback. In memory only.

Run as `python -m shared.store.fake_server URL_FILE PID_FILE`: it goes to the background, as redis-server does,
and writes its URL once it listens. SIGTERM ends it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from fakeredis import FakeRedis, TcpFakeServer

from shared.store.scripts import load, script_names


def main(url_file: Path, pid_file: Path) -> None:
    """Serve until SIGTERM."""
    server = TcpFakeServer(("127.0.0.1", 0), server_type="redis", server_version=(6, 2))
    client = FakeRedis(server=server.fake_server)
    for name in script_names():
        # fakeredis ends the connection with any error reply, NOSCRIPT too, so nobody must ever get one.
        client.script_load(load(name, with_flags=False).text)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    pid_file.write_text(str(os.getpid()))
    partial = url_file.with_suffix(".new")
    partial.write_text(f"redis://127.0.0.1:{server.server_address[1]}")
    partial.rename(url_file)
    try:
        server.serve_forever(poll_interval=0.05)
    finally:
        url_file.unlink(missing_ok=True)
        pid_file.unlink(missing_ok=True)
        server.server_close()


if __name__ == "__main__":
    if os.fork() == 0:
        os.setsid()
        main(Path(sys.argv[1]), Path(sys.argv[2]))
