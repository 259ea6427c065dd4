"""Evals with inspect-ai against the API at CHATQ_BASE_URL; prints what each came to, as JSON.

In a process of its own: it is large, and keeps loggers, caches and hooks of its own in the process.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import BatchConfig, GenerateConfig, Model, get_model
from inspect_ai.scorer import includes
from inspect_ai.solver import generate


def task(questions: int) -> Task:
    """Every answer of the provider begins with the word that is looked for."""
    samples = [Sample(input=f"question {n}", target="echo") for n in range(questions)]
    return Task(dataset=samples, solver=generate(), scorer=includes())


def models(questions: int) -> dict[str, Model]:
    """By what is shown with it."""
    batch = GenerateConfig(batch=BatchConfig(size=questions, send_delay=0.2, tick=0.2))
    api: dict[str, Any] = {"base_url": os.environ["CHATQ_BASE_URL"], "api_key": "any"}
    return {
        "plain": get_model("openai-api/chatq/openrouter/inspect-plain"),
        "batch": get_model("openai/openrouter/inspect-batch", **api, responses_api=False, config=batch),
        "responses batch": get_model(
            "openai/openrouter/inspect-responses", **api, responses_api=True, config=batch
        ),
    }


def main(folder: Path, questions: int) -> None:
    found = {}
    for name, model in models(questions).items():
        (log,) = eval(task(questions), model=model, log_dir=str(folder / name), display="none")
        score = log.results.scores[0].metrics["accuracy"].value if log.results else None
        found[name] = {"status": log.status, "accuracy": score, "error": log.error and log.error.message}
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
