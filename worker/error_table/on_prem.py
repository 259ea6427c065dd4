"""Servers one runs oneself (docs/provider-wire.md §12). Any unknown host may be one; their texts are distinct."""

from __future__ import annotations

from worker.error_table.meaning import NO_SUCH_MODEL, broken, limited
from worker.error_table.row import row

SGLANG = (
    row(503, "queue is full", means=limited("provider", own_s=(1, 10), dimension="concurrency")),
    row((200, 400, 500, 503), "aborted by a higher priority request", means=broken("job", code="aborted")),
)

LLAMA_SWAP = (
    row(429, "concurrency_limit", means=limited("model", own_s=(1, 60), dimension="concurrency")),
    row((500, 502, 503), "^src=llama-swap$", means=broken("model", own_s=(5, 300))),
)

LLAMA_CPP = (row(503, "loading model", means=limited("provider", own_s=(2, 10))),)

LM_STUDIO = (
    row((400, 404), "no models loaded", means=NO_SUCH_MODEL),
    row(400, "model has crashed", means=broken("model", own_s=(30, 300), code="crashed")),
)

TGI = (
    row(429, "model is overloaded|^error_type=overloaded$", means=limited("provider", own_s=(1, 10))),
    row((424, 500, 503), "^error_type=", means=broken("provider")),
)

ONE_MODEL = (row(500, "^type=(server_error|internalservererror)$", means=broken("provider")),)
"""vLLM and llama.cpp serve one model: what is wrong with it is wrong with the server."""

ON_PREM = (*SGLANG, *LLAMA_SWAP, *LLAMA_CPP, *LM_STUDIO, *TGI, *ONE_MODEL)
