"""instructor's batch processor: typed answers of a whole file."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from instructor.batch import BatchProcessor
from pydantic import BaseModel


class City(BaseModel):
    """A city and how many live there."""

    name: str
    population: int


processor = BatchProcessor("openai/openrouter/instructor", City)
asked = [[{"role": "user", "content": f"city {n}"}] for n in range(5)]
with TemporaryDirectory() as folder:
    path = str(Path(folder) / "lines.jsonl")
    processor.create_batch_from_messages(messages_list=asked, file_path=path)
    batch_id = processor.submit_batch(path)
give_up_at = time.monotonic() + 60
while processor.get_batch_status(batch_id)["status"] != "completed":
    assert time.monotonic() < give_up_at
    time.sleep(0.2)
results = processor.retrieve_results(batch_id)
assert len(results) == 5 and all(isinstance(one.result, City) for one in results), results
