"""LiteLLM's SDK: a completion, a stream, and a batch from its file to its results."""

import json
import os
import time
from typing import Any

import litellm

API: dict[str, Any] = {"api_base": os.environ["OPENAI_BASE_URL"], "api_key": "any"}
ASK = [{"role": "user", "content": "hi"}]

answer: Any = litellm.completion(model="openai/openrouter/litellm", messages=ASK, **API)
assert answer.choices[0].message.content.startswith("echo "), answer
chunks: Any = litellm.completion(model="openai/openrouter/litellm", messages=ASK, stream=True, **API)
assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks).startswith("echo ")

API["custom_llm_provider"] = "openai"
lines = [
    {
        "custom_id": str(n),
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "openrouter/litellm", "messages": ASK},
    }
    for n in range(3)
]
data = "\n".join(json.dumps(line) for line in lines).encode()
file: Any = litellm.create_file(file=("lines.jsonl", data), purpose="batch", **API)
batch: Any = litellm.create_batch(
    completion_window="24h", endpoint="/v1/chat/completions", input_file_id=file.id, **API
)
give_up_at = time.monotonic() + 60
while batch.status != "completed":
    assert time.monotonic() < give_up_at, batch
    time.sleep(0.2)
    batch = litellm.retrieve_batch(batch_id=batch.id, **API)
content: Any = litellm.file_content(file_id=batch.output_file_id, **API)
found = [json.loads(line)["custom_id"] for line in content.content.splitlines()]
assert sorted(found) == ["0", "1", "2"], found
