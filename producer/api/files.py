"""Files: uploads that batches read, and the results that batches write."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.responses import Response, StreamingResponse

from producer.api.call import Call, json_answer
from producer.api.errors import FINAL, ApiError, not_found
from producer.api.idempotency import object_id
from producer.api.operation import Body, Operation, Param, Reply
from producer.api.principal import Role
from producer.api.schemas.files import SCHEMAS
from producer.api.upload import Upload, receive
from producer.files.content import Content, find_content
from shared.errors import BlobMissing, IdempotencyConflict
from shared.store.files import FileRecord
from shared.store.jobs import new_id

__all__ = ["OPERATIONS", "SCHEMAS"]

MAX_PAGE = 10_000
"""Most files in a list, and what it has when nothing is said (docs/openai-wire.md §6.3)."""

SHORTEST_S, LONGEST_S = 3600, 2_592_000
"""What `expires_after[seconds]` may be (docs/openai-wire.md §6.1)."""

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


async def create_file(call: Call) -> Response:
    """Take a file; it is stored while it comes in."""
    services, settings = call.services, call.services.settings.files
    file_id = object_id(call, "file-")
    blob = f"files/{file_id}.{new_id()}"
    async with services.blobs.writer(blob) as writer:
        upload = await receive(call, writer, max_bytes=settings.max_bytes)
        ttl_s = _checked(upload, default_s=settings.ttl_s)
    now = int(time.time())
    record = FileRecord(
        file_id,
        call.principal.client,
        writer.size,
        upload.filename or "",
        "batch",
        now,
        now + ttl_s,
        blob,
        writer.digest,
    )
    known = await services.files.create(record)
    if known.blob != blob:
        await services.blobs.delete([blob])
        _check_same(known, record)
    return json_answer(file_object(known))


async def list_files(call: Call) -> Response:
    """The caller's files."""
    limit = call.number("limit", MAX_PAGE, least=1, most=MAX_PAGE)
    query = call.request.query_params
    after, order = query.get("after"), query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise ApiError(400, "order: must be asc or desc", code="invalid_value", param="order")
    page = await call.services.files.page(
        call.principal.client,
        after=after,
        limit=limit,
        is_newest_first=order == "desc",
        purpose=query.get("purpose"),
    )
    if page is None:
        raise not_found("file", after or "")
    return json_answer(list_object([file_object(one) for one in page.entries], has_more=page.has_more))


async def get_file(call: Call) -> Response:
    """One file, without its bytes."""
    record = await _owned_file(call)
    size = record.size if record.blob else (await _content(call, record)).size
    return json_answer(file_object(record, size=size))


async def get_content(call: Call) -> Response:
    """The bytes; of the results of a running batch, those that are there by now."""
    record = await _owned_file(call)
    content = await _content(call, record)
    start, end = _range(call.headers.get("range"), content.size)
    headers = {
        "Content-Length": str(end - start),
        "Accept-Ranges": "bytes",
        "Content-Type": "application/jsonl",
    }
    is_part = (start, end) != (0, content.size)
    if is_part:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{content.size}"
    pieces = content.read(call.services.blobs, start, end)
    # What cannot be read is an error, not a broken answer; so the first piece comes before the answer's head.
    try:
        first = await anext(pieces, b"")
    except BlobMissing:
        raise not_found("content of file", record.id) from None
    return StreamingResponse(_after(first, pieces), 206 if is_part else 200, headers)


async def delete_file(call: Call) -> Response:
    """Delete a file; a batch that reads it goes on."""
    record = await _owned_file(call)
    if not record.blob:
        text = f"file {record.id!r} holds the results of a batch that is running: cancel {record.batch} first"
        raise ApiError(409, text, kind="conflict", code="file_in_use", headers=FINAL)
    is_in_use = await call.services.files.delete(record)
    if not is_in_use:
        await call.services.blobs.delete([record.blob])
    return json_answer({"id": record.id, "object": "file", "deleted": True})


def file_object(record: FileRecord, *, size: int | None = None) -> dict[str, Any]:
    """A file, as OpenAI's clients read it."""
    return {
        "id": record.id,
        "object": "file",
        "bytes": record.size if size is None else size,
        "created_at": record.created_at,
        "expires_at": record.expires_at,
        "filename": record.filename,
        "purpose": record.purpose,
        "status": "processed",
        "status_details": None,
    }


def list_object(data: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """A page of objects, in OpenAI's envelope."""
    ids = [one["id"] for one in data]
    first, last = (ids[0], ids[-1]) if ids else (None, None)
    return {"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": has_more}


async def _owned_file(call: Call) -> FileRecord:
    file_id = call.path("id")
    record = await call.services.files.get(file_id)
    if record is None or not call.principal.owns(record.client):
        raise not_found("file", file_id)
    return record


async def _content(call: Call, record: FileRecord) -> Content:
    services = call.services
    content = await find_content(record, services.files, services.batches)
    if content is None:
        raise not_found("file", record.id)
    return content


async def _after(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


def _checked(upload: Upload, *, default_s: int) -> int:
    """See that the form says what it has to; returns for how long the file is kept, in seconds."""
    fields = upload.fields
    if upload.filename is None:
        raise ApiError(400, "file: this field is required", code="missing_required_parameter", param="file")
    purpose = fields.get("purpose")
    if purpose is None:
        raise ApiError(
            400, "purpose: this field is required", code="missing_required_parameter", param="purpose"
        )
    if purpose != "batch":
        raise ApiError(
            400, "purpose: only files for batches are taken: batch", code="invalid_value", param="purpose"
        )
    return _kept_s(fields, default_s)


def _kept_s(fields: Mapping[str, str], default_s: int) -> int:
    anchor, seconds = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return default_s
    if anchor != "created_at":
        raise ApiError(
            400,
            "expires_after.anchor: must be created_at",
            code="invalid_value",
            param="expires_after.anchor",
        )
    is_number = seconds is not None and re.fullmatch(r"[0-9]{1,9}", seconds) is not None
    if seconds is None or not is_number or not SHORTEST_S <= int(seconds) <= LONGEST_S:
        text = f"expires_after.seconds: must be a whole number from {SHORTEST_S} to {LONGEST_S}"
        raise ApiError(400, text, code="invalid_value", param="expires_after.seconds")
    return int(seconds)


def _check_same(known: FileRecord, asked: FileRecord) -> None:
    def content(one: FileRecord) -> tuple[object, ...]:
        return one.digest, one.filename, one.purpose, one.expires_at - one.created_at

    if content(known) != content(asked):
        text = f"the idempotency key belongs to {known.id}, which was uploaded with another content"
        raise IdempotencyConflict(text, job_id=known.id)


def _range(header: str | None, size: int) -> tuple[int, int]:
    """From where to where; the whole where nothing, or nothing that is understood, is asked for (RFC 9110)."""
    match = _RANGE.fullmatch(header or "")
    if match is None or match[1] == match[2] == "":
        return 0, size
    if match[1] == "":
        start, end = max(0, size - int(match[2])), size
    else:
        start, end = int(match[1]), min(size, int(match[2]) + 1) if match[2] else size
    if start >= end:
        raise ApiError(
            416, "there are no such bytes in this file", headers={"Content-Range": f"bytes */{size}"}
        )
    return start, end


_ID = Param("id", "path", {"type": "string"}, "Id of the file")
_FILE = {"$ref": "#/components/schemas/File"}

OPERATIONS = (
    Operation(
        "POST",
        "/files",
        create_file,
        "Upload the input of a batch",
        Role.SUBMIT,
        "files",
        body=Body({"$ref": "#/components/schemas/FileUpload"}, media="multipart/form-data"),
        replies={200: Reply("The file", _FILE)},
    ),
    Operation(
        "GET",
        "/files",
        list_files,
        "The caller's files",
        Role.READ,
        "files",
        params=(
            Param("after", "query", {"type": "string"}, "Go on behind this file"),
            Param("limit", "query", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE}, "Most files"),
            Param("order", "query", {"enum": ["asc", "desc"]}, "By time; newest first if nothing is said"),
            Param("purpose", "query", {"type": "string"}, "Only files with this purpose"),
        ),
        replies={200: Reply("Some of them", {"$ref": "#/components/schemas/FileList"})},
    ),
    Operation(
        "GET",
        "/files/{id}",
        get_file,
        "A file",
        Role.READ,
        "files",
        params=(_ID,),
        replies={200: Reply("The file", _FILE)},
    ),
    Operation(
        "GET",
        "/files/{id}/content",
        get_content,
        "What is in a file; of a running batch's results, what is there so far",
        Role.READ,
        "files",
        params=(_ID, Param("Range", "header", {"type": "string"}, "bytes=from-to")),
        replies={
            200: Reply("All of it", media="application/jsonl"),
            206: Reply("The part", media="application/jsonl"),
        },
    ),
    Operation(
        "DELETE",
        "/files/{id}",
        delete_file,
        "Delete a file; a batch that reads it goes on",
        Role.SUBMIT,
        "files",
        params=(_ID,),
        replies={200: Reply("It is gone", {"$ref": "#/components/schemas/FileDeleted"})},
    ),
)
