"""lm-eval: a task of its own over the chat endpoint, scored."""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

ADDRESS = sys.argv[1]

with TemporaryDirectory() as name:
    folder = Path(name)
    rows = [{"question": f"question {n}", "answer": "echo"} for n in range(6)]
    (folder / "rows.json").write_text("\n".join(json.dumps(row) for row in rows))
    task = {
        "task": "tiny",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "rows.json")}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": [" "], "max_gen_toks": 8},
        "filter_list": [{"name": "first", "filter": [{"function": "regex", "regex_pattern": "(echo)"}]}],
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(task))
    arguments = f"model=openrouter/lm-eval,base_url={ADDRESS}/chat/completions,num_concurrent=3,max_retries=2"
    subprocess.run(
        [
            sys.executable, "-m", "lm_eval", "run", "--model", "local-chat-completions",
            "--model_args", f"{arguments},tokenized_requests=False", "--tasks", "tiny",
            "--include_path", str(folder), "--apply_chat_template", "--output_path", str(folder / "out"),
        ],
        check=True,
    )  # fmt: skip
    (found,) = (folder / "out").rglob("results_*.json")
    scores = json.loads(found.read_text())["results"]["tiny"]
    assert scores["exact_match,first"] == 1.0, scores
