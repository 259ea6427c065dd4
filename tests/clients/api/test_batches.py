"""Batches through OpenAI's client (openai-wire §12: 3, 4, 5, 6)."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai.types import Batch

from simulator import text_digest

from .batches import line, records, start, until, until_ended, upload

ORDER = ["validating", "in_progress", "finalizing", "completed"]

RESPONSES = "/v1/responses"


def test_batch_of_three_goes_through_its_states(client: openai.OpenAI) -> None:
    """States in order, counts that rise, a line for each request, all of it ASCII."""
    text = "snow \u2028 and \u00e9 and \U0001f600"
    lines = [line(f"id-{n}", "openrouter/batch-of-three", f"{text} {n}") for n in range(3)]
    made = start(client, lines, metadata={"run": "first"})
    assert (made.object, made.endpoint, made.completion_window) == ("batch", "/v1/chat/completions", "24h")
    assert made.id.startswith("batch_") and made.metadata == {"run": "first"}
    assert made.request_counts is not None and made.errors is None
    assert made.expires_at == made.created_at + 24 * 3600
    seen = [made, *until(client, made.id, lambda batch: batch.status == "completed")]
    ranks = [ORDER.index(batch.status) for batch in seen]
    assert ranks == sorted(ranks)
    done = [batch.request_counts.completed for batch in seen if batch.request_counts]
    assert done == sorted(done) and done[-1] == 3
    last = seen[-1]
    assert last.request_counts is not None and last.request_counts.failed == 0
    assert None not in (last.in_progress_at, last.finalizing_at, last.completed_at)
    assert last.usage is not None and last.usage.total_tokens > 0
    assert last.output_file_id is not None
    found = records(client, last.output_file_id)
    for n in range(3):
        answer = found[f"id-{n}"]["response"]
        assert (answer["status_code"], found[f"id-{n}"]["error"]) == (200, None)
        digest = text_digest("batch-of-three", "", f"{text} {n}")
        assert answer["body"]["choices"][0]["message"]["content"].startswith(f"echo {digest}")
    output = client.files.retrieve(last.output_file_id)
    assert output.filename == f"{last.id}_output.jsonl"
    assert output.purpose == "batch_output"
    Batch.model_validate(last.model_dump())


def test_pages_of_batches_end(client: openai.OpenAI) -> None:
    """Also one at a time."""
    made = [start(client, [line("1", "paged")]).id for _ in range(3)]
    listed = [batch.id for batch in client.batches.list(limit=1)]
    assert [each for each in listed if each in made] == made[::-1]
    assert len(set(listed)) == len(listed)


BAD_INPUT: dict[str, tuple[list[Any], str, int | None]] = {
    "a line that is no JSON": ([line("1", "m"), "{broken"], "invalid_json_line", 2),
    "an id twice": ([line("1", "m"), line("2", "m"), line("1", "m")], "duplicate_custom_id", 3),
    "another url": ([line("1", "m", url="/v1/embeddings")], "url_mismatch", 1),
    "no line": ([], "empty_file", None),
    "a stream": ([line("1", "m"), line("2", "m", stream=True)], "", 2),
}


@pytest.mark.parametrize("what", BAD_INPUT)
def test_bad_input_fails_the_batch(client: openai.OpenAI, what: str) -> None:
    """Nothing runs; the errors name code and line."""
    lines, code, number = BAD_INPUT[what]
    ended = until_ended(client, start(client, lines).id)
    assert (ended.status, ended.output_file_id, ended.error_file_id) == ("failed", None, None)
    assert ended.failed_at is not None
    assert ended.errors is not None and ended.errors.data
    error = ended.errors.data[0]
    assert error.message and error.line == number
    assert code in ("", error.code)


def test_wrong_call_is_refused_at_once(client: openai.OpenAI) -> None:
    """Parameters are checked before there is a batch; a file nobody has is one of them."""
    file_id = upload(client, [line("1", "m")])
    with pytest.raises(openai.BadRequestError):
        client.batches.create(input_file_id=file_id, endpoint="/v1/embeddings", completion_window="24h")
    with pytest.raises(openai.BadRequestError):
        window: Any = "soon"
        client.batches.create(
            input_file_id=file_id, endpoint="/v1/chat/completions", completion_window=window
        )
    with pytest.raises((openai.BadRequestError, openai.NotFoundError)):
        client.batches.create(
            input_file_id="file-nobody", endpoint="/v1/chat/completions", completion_window="24h"
        )


def test_failed_lines_stand_in_the_error_file(client: openai.OpenAI) -> None:
    """With the provider's status; the batch is completed all the same."""
    lines = [
        line("good", "openrouter/with-failures"),
        line("refused", "openrouter/sim-fault-nonsense"),
        line("broken", "openrouter/sim-fault-500"),
    ]
    ended = until_ended(client, start(client, lines).id)
    counts = ended.request_counts
    assert ended.status == "completed" and ended.errors is None
    assert counts is not None and (counts.total, counts.completed, counts.failed) == (3, 1, 2)
    assert records(client, ended.output_file_id).keys() == {"good"}
    failed = records(client, ended.error_file_id)
    assert {name: one["response"]["status_code"] for name, one in failed.items()} == {
        "refused": 400,
        "broken": 500,
    }
    assert all(
        one["error"] is None and one["response"]["body"]["error"]["message"] for one in failed.values()
    )


def test_batch_without_any_answer_is_completed(client: openai.OpenAI) -> None:
    """Clients assert an output file: it is empty."""
    ended = until_ended(client, start(client, [line("1", "openrouter/sim-fault-nonsense")]).id)
    assert ended.status == "completed" and ended.completed_at is not None
    assert records(client, ended.output_file_id) == {} and ended.output_file_id is not None
    assert records(client, ended.error_file_id).keys() == {"1"}


def test_responses_run_in_batches_too(client: openai.OpenAI) -> None:
    lines = [line(f"{n}", "openrouter/responses-batch", f"say {n}", url=RESPONSES) for n in range(3)]
    ended = until_ended(client, start(client, lines, endpoint=RESPONSES).id)
    assert ended.status == "completed"
    found = records(client, ended.output_file_id)
    assert found.keys() == {"0", "1", "2"}
    for one in found.values():
        body = one["response"]["body"]
        assert (body["object"], body["status"]) == ("response", "completed")
        assert body["usage"]["input_tokens_details"].keys() >= {"cached_tokens", "cache_write_tokens"}


def test_cancel_keeps_what_is_done(client: openai.OpenAI) -> None:
    """Every request is accounted for once, in one of the files."""
    quick = [line(f"quick-{n}", "openrouter/cancelled-quick") for n in range(5)]
    slow = [line(f"slow-{n}", "openrouter/sim-latency-30") for n in range(5)]
    made = start(client, [*quick, *slow])
    until(client, made.id, lambda batch: bool(batch.request_counts and batch.request_counts.completed == 5))
    cancelling = client.batches.cancel(made.id)
    assert cancelling.status in ("cancelling", "cancelled") and cancelling.cancelling_at is not None
    ended = until_ended(client, made.id)
    assert ended.status == "cancelled" and ended.cancelled_at is not None
    output, errors = records(client, ended.output_file_id), records(client, ended.error_file_id)
    assert output.keys() == {one["custom_id"] for one in quick}
    assert errors.keys() == {one["custom_id"] for one in slow}
    assert {(one["response"], one["error"]["code"]) for one in errors.values()} == {(None, "batch_cancelled")}
    assert client.batches.cancel(made.id).status == "cancelled"


def test_window_ends_the_batch(client: openai.OpenAI) -> None:
    """What was done is kept, the rest says that it expired."""
    quick = [line(f"quick-{n}", "openrouter/expired-quick") for n in range(5)]
    slow = [line(f"slow-{n}", "openrouter/sim-latency-30") for n in range(5)]
    ended = until_ended(client, start(client, [*quick, *slow], window="2s").id)
    assert ended.status == "expired" and ended.expired_at is not None
    output, errors = records(client, ended.output_file_id), records(client, ended.error_file_id)
    assert output.keys() == {one["custom_id"] for one in quick}
    assert errors.keys() == {one["custom_id"] for one in slow}
    assert {(one["response"], one["error"]["code"]) for one in errors.values()} == {(None, "batch_expired")}


def test_input_can_be_deleted_while_it_runs(client: openai.OpenAI) -> None:
    """People do that; it is refused for good, or the batch goes on."""
    file_id = upload(client, [line(f"{n}", "openrouter/sim-latency-0.3") for n in range(5)])
    made = client.batches.create(
        input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    try:
        client.files.delete(file_id)
    except openai.ConflictError as exc:
        assert exc.response.headers["x-should-retry"] == "false"
    ended = until_ended(client, made.id)
    assert (ended.status, len(records(client, ended.output_file_id))) == ("completed", 5)


def test_unknown_batch_is_not_found(client: openai.OpenAI) -> None:
    for call in (client.batches.retrieve, client.batches.cancel):
        with pytest.raises(openai.NotFoundError):
            call("batch_nobody")
