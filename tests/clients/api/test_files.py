"""Files through OpenAI's client (openai-wire §12: 2)."""

from __future__ import annotations

from pathlib import Path

import openai
import pytest

LINES = b'{"custom_id": "1"}\n'


def test_file_lives_from_upload_to_delete(client: openai.OpenAI) -> None:
    """Each step as the client types it."""
    made = client.files.create(
        file=("lines.jsonl", LINES),
        purpose="batch",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert (made.object, made.purpose, made.filename, made.bytes) == (
        "file",
        "batch",
        "lines.jsonl",
        len(LINES),
    )
    assert made.id.startswith("file-") and made.status == "processed"
    assert made.expires_at == made.created_at + 3600
    assert client.files.wait_for_processing(made.id, poll_interval=0.01).id == made.id
    assert client.files.retrieve(made.id) == made
    assert client.files.content(made.id).read() == LINES
    deleted = client.files.delete(made.id)
    assert (deleted.id, deleted.object, deleted.deleted) == (made.id, "file", True)
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made.id)
    with pytest.raises(openai.NotFoundError):
        client.files.content(made.id)


def test_any_form_of_upload_is_taken(client: openai.OpenAI, tmp_path: Path) -> None:
    """Bytes, a path, an open file."""
    path = tmp_path / "named.jsonl"
    path.write_bytes(LINES)
    with path.open("rb") as opened:
        made = [client.files.create(file=each, purpose="batch") for each in (LINES, path, opened)]
    assert [each.filename for each in made] == ["upload", "named.jsonl", "named.jsonl"]
    assert [client.files.content(each.id).read() for each in made] == [LINES] * 3


def test_large_upload_comes_back_whole(client: openai.OpenAI) -> None:
    """Larger than any buffer."""
    data = b"0123456789abcde\n" * 500_000
    made = client.files.create(file=("large.jsonl", data), purpose="batch")
    assert made.bytes == len(data)
    assert client.files.content(made.id).read() == data


def test_pages_end_and_hold_each_file_once(client: openai.OpenAI) -> None:
    """Newest first; only those of the purpose asked for."""
    made = [client.files.create(file=(f"{n}.jsonl", LINES), purpose="batch").id for n in range(5)]
    listed = [each.id for each in client.files.list(limit=2, purpose="batch")]
    assert [each for each in listed if each in made] == made[::-1]
    assert len(set(listed)) == len(listed)
    oldest_first = [each.id for each in client.files.list(limit=2, order="asc")]
    assert [each for each in oldest_first if each in made] == made
    assert not {each.id for each in client.files.list(purpose="batch_output")} & set(made)


def test_wrong_purpose_is_refused(client: openai.OpenAI) -> None:
    """Batches are what files are for here."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.create(file=LINES, purpose="fine-tune")
    assert caught.value.param == "purpose"
