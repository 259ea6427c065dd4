"""Uploads: a multipart form with one file in it, written on while it comes in, so that memory stays flat."""

from __future__ import annotations

from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from producer.api.call import Call
from producer.api.errors import ApiError
from producer.files.blobs import BlobWriter

MAX_FIELDS = 20
"""Fields of a form besides the file."""

MAX_FIELD_BYTES = 4096
"""Longest value of such a field."""

MAX_FILENAME = 512
"""Longest name of a file, in characters; the rest is cut."""

FORM_BYTES = 256 * 1024
"""What a form may have around its file, at most."""


@dataclass(slots=True)
class Upload:
    """What came in.

    Attributes:
        fields: All fields but the file, by name.
        filename: As the client calls it; None = there was no file.
    """

    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None


async def receive(call: Call, writer: BlobWriter, *, max_bytes: int) -> Upload:
    """Read a multipart form; the bytes of its field `file` go to the writer.

    Args:
        max_bytes: Largest file.

    Raises:
        ApiError: 400; it is no such form. 413; the file is larger. What was written is of no use then.
        FilesUnavailable: The store does not take it.
    """
    form = _Form(_boundary(call))
    try:
        async for chunk in call.request.stream():
            for piece in form.feed(chunk):
                await writer.write(piece)
            if form.file_bytes > max_bytes:
                raise _too_large(max_bytes)
            if form.other_bytes > FORM_BYTES:
                raise _malformed("there is too much around the file")
    except FormParserError:
        raise _malformed("it cannot be read as one") from None
    except ClientDisconnect:
        raise ApiError(400, "the connection was closed in the middle of the body") from None
    if not form.is_complete:
        raise _malformed("its end is missing")
    return form.upload


class _Form:
    """A form that is fed in pieces. Of a part that is no file, the value is kept; a file's bytes are handed on."""

    def __init__(self, boundary: bytes) -> None:
        self.upload = Upload()
        self.file_bytes = 0
        self.other_bytes = 0
        self.is_complete = False
        self._pieces: list[bytes] = []
        self._header = [b"", b""]
        self._disposition = b""
        self._name = ""
        self._is_file = False
        self._value = b""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_part_data": self._take_data,
                "on_part_end": self._end_part,
                "on_header_field": lambda data, start, end: self._take_header(0, data[start:end]),
                "on_header_value": lambda data, start, end: self._take_header(1, data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._open_part,
                "on_end": self._end,
            },
        )

    def feed(self, chunk: bytes) -> list[bytes]:
        """Returns what of the chunk is the file's."""
        self._pieces = []
        taken = self.file_bytes
        self._parser.write(chunk)
        self.other_bytes += len(chunk) - (self.file_bytes - taken)
        return self._pieces

    def _begin_part(self) -> None:
        self._disposition, self._name, self._value, self._is_file = b"", "", b"", False

    def _take_header(self, place: int, data: bytes) -> None:
        self._header[place] += data

    def _end_header(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = value
        self._header = [b"", b""]

    def _open_part(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode(errors="replace")
        self._is_file = self._name == "file"
        if self._is_file:
            if self.upload.filename is not None:
                raise _malformed("it has two files")
            filename = options.get(b"filename", b"upload").decode(errors="replace")
            self.upload.filename = "".join(c for c in filename if c.isprintable())[:MAX_FILENAME] or "upload"

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        piece = data[start:end]
        if self._is_file:
            self.file_bytes += len(piece)
            self._pieces.append(piece)
            return
        self._value += piece
        if len(self._value) > MAX_FIELD_BYTES:
            raise _malformed(f"a field is longer than {MAX_FIELD_BYTES:,} bytes")

    def _end_part(self) -> None:
        if self._is_file:
            return
        if len(self.upload.fields) >= MAX_FIELDS:
            raise _malformed(f"it has more than {MAX_FIELDS} fields")
        self.upload.fields[self._name] = self._value.decode(errors="replace")

    def _end(self) -> None:
        self.is_complete = True


def _boundary(call: Call) -> bytes:
    kind, options = parse_options_header(call.headers.get("content-type", ""))
    boundary: bytes = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 0 < len(boundary) <= 200:
        raise ApiError(
            400, "the body must be multipart/form-data with fields file and purpose", code="invalid_form"
        )
    return boundary


def _malformed(why: str) -> ApiError:
    return ApiError(400, f"the body is not a form that can be used: {why}", code="invalid_form")


def _too_large(max_bytes: int) -> ApiError:
    return ApiError(
        413, f"the file is over the limit of {max_bytes:,} bytes", code="file_too_large", param="file"
    )
