"""deepeval: a judge that is asked through chatq."""

import os

from deepeval import evaluate
from deepeval.evaluate import AsyncConfig, DisplayConfig
from deepeval.metrics import GEval
from deepeval.models import LocalModel
from deepeval.test_case import LLMTestCase, LLMTestCaseParams

judge = LocalModel(model="openai/judge", base_url=os.environ["OPENAI_BASE_URL"], api_key="any")
metric = GEval(
    name="Correctness",
    criteria="Is the actual output the expected one?",
    evaluation_params=[LLMTestCaseParams.ACTUAL_OUTPUT, LLMTestCaseParams.EXPECTED_OUTPUT],
    model=judge,
)
cases = [LLMTestCase(input=f"question {n}", actual_output="a", expected_output="a") for n in range(5)]
result = evaluate(
    cases,
    [metric],
    async_config=AsyncConfig(max_concurrent=5),
    display_config=DisplayConfig(show_indicator=False, print_results=False),
)
assert len(result.test_results) == 5 and all(one.success for one in result.test_results), result
