"""`chatq webhooks`: what waits, what became of it, telling again, trying a receiver."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import standardwebhooks

from tests.producer.receiver import SECRET
from tests.support import RedisServer

from .conftest import RunChatq

JOB, ANSWERED = "0a1b", {"attempt": 1, "at": 1.7e9, "type": "job.completed", "status": 200, "error": None}
FAILED = {"attempt": 1, "at": 1.7e9, "type": "job.failed", "status": None, "error": "timeout"}


@pytest.fixture
def env(redis_url: str, redis_server: RedisServer) -> dict[str, str]:
    """A Redis with one delivery that failed, one that arrived, and one that waits."""
    with redis_server.client() as raw:
        for job_id, state, entry in ((JOB, "delivered", ANSWERED), ("0c", "failed", FAILED)):
            raw.hset(f"chatq:webhook:job:{job_id}", mapping={"state": state, "attempts": 1, "event": "evt_1"})
            raw.rpush(f"chatq:webhook-log:job:{job_id}", json.dumps(entry))
            raw.expire(f"chatq:webhook:job:{job_id}", 100)
            raw.expire(f"chatq:webhook-log:job:{job_id}", 100)
        raw.zadd("chatq:webhooks:due", {"batch:batch_1": 4e12})
    return {"CHATQ_REDIS_URL": redis_url}


def test_waiting_ends_are_listed(run_chatq: RunChatq, env: dict[str, str]) -> None:
    listed = json.loads(run_chatq("webhooks", "list", "--json", **env).stdout)
    assert listed == [{"ref": "batch:batch_1", "due_at": 4e9}]
    assert "batch:batch_1  2096-10-0" in run_chatq("webhooks", "list", **env).stdout


def test_delivery_is_shown_with_its_calls(run_chatq: RunChatq, env: dict[str, str]) -> None:
    shown = json.loads(run_chatq("webhooks", "show", JOB, "--json", **env).stdout)
    assert (shown["state"], shown["log"][0]["status"]) == ("delivered", 200)
    assert "job.failed  " in (text := run_chatq("webhooks", "show", "0c", **env).stdout)
    assert "timeout" in text


def test_end_is_told_again(run_chatq: RunChatq, env: dict[str, str]) -> None:
    """It is due now."""
    again = run_chatq("webhooks", "redeliver", "0c", "--json", **env)
    assert json.loads(again.stdout)["state"] == "pending"
    listed = json.loads(run_chatq("webhooks", "list", "--json", **env).stdout)
    assert [entry["ref"] for entry in listed] == ["job:0c", "batch:batch_1"]


@pytest.mark.parametrize("command", ["show", "redeliver"])
@pytest.mark.parametrize("object_id", ["nobody", "a b"])
def test_unknown_delivery_is_said(
    run_chatq: RunChatq, env: dict[str, str], command: str, object_id: str
) -> None:
    result = run_chatq("webhooks", command, object_id, **env)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "nothing is known" in result.stderr


class _Noting(BaseHTTPRequestHandler):
    """Verifies what it is sent, and says 204 or, at /no, 503."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        event = standardwebhooks.Webhook(SECRET).verify(body, dict(self.headers))
        is_good = event["type"] == "webhook.test" and self.path != "/no"
        self.send_response(204 if is_good else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Noting) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_receiver_can_be_tried(run_chatq: RunChatq, url: str) -> None:
    """With a signed event, without Redis."""
    env = {"CHATQ_WEBHOOKS__SECRET": SECRET, "CHATQ_WEBHOOKS__ALLOW_PRIVATE": "true"}
    good = run_chatq("webhooks", "test", f"{url}/hook", **env)
    bad = run_chatq("webhooks", "test", f"{url}/no", **env)
    assert (good.exit_code, good.stdout) == (0, "delivered (204)\n")
    assert (bad.exit_code, bad.stdout) == (1, "http_status (503)\n")
    as_json = run_chatq("webhooks", "test", f"{url}/no", "--json", **env)
    assert json.loads(as_json.stdout) == {"status": 503, "error": "http_status"}


def test_receiver_that_may_not_be_called_is_refused(run_chatq: RunChatq, url: str) -> None:
    """And without a secret, nobody is called."""
    secret = {"CHATQ_WEBHOOKS__SECRET": SECRET}
    for env, words in ((secret, "must not lead to"), ({}, "[webhooks] secret")):
        result = run_chatq("webhooks", "test", url, **env)
        assert result.exit_code == 2
        assert words in result.stderr
