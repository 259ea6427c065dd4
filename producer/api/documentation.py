"""Documentation: `/openapi.json` for programs, `/docs` for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from starlette.responses import HTMLResponse, Response

from producer.api.call import Call
from producer.api.openapi import describe, page
from producer.api.operation import JSON, Operation, Reply


def with_documentation(
    operations: Iterable[Operation], schemas: Iterable[Mapping[str, Any]]
) -> tuple[Operation, ...]:
    """The operations, and those that describe them all."""
    shown = _Documentation()
    all_of_them = (*operations, *shown.operations)
    document = describe(all_of_them, schemas)
    shown.document, shown.page = orjson.dumps(document), page(document)
    return all_of_them


class _Documentation:
    """Answers with what is written once everything is known."""

    document: bytes
    page: str

    @property
    def operations(self) -> tuple[Operation, ...]:
        return (
            Operation(
                "GET",
                "/openapi.json",
                self._get_document,
                "This description",
                None,
                "documentation",
                replies={200: Reply("OpenAPI 3.1", {"type": "object"})},
                is_v1=False,
            ),
            Operation(
                "GET",
                "/docs",
                self._get_page,
                "This description as a page",
                None,
                "documentation",
                replies={200: Reply("A page", {"type": "string"}, "text/html")},
                is_v1=False,
            ),
        )

    async def _get_document(self, _: Call) -> Response:
        return Response(self.document, media_type=JSON)

    async def _get_page(self, _: Call) -> Response:
        return HTMLResponse(self.page)
