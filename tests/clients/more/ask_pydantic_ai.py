"""pydantic-ai: words, and an answer of a type, on chat completions and on responses."""

from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel


class City(BaseModel):
    """A city and how many live there."""

    name: str
    population: int


for model in (OpenAIChatModel("openrouter/pydantic-ai"), OpenAIResponsesModel("openrouter/pydantic-ai")):
    assert Agent(model).run_sync("hi").output.startswith("echo ")
    assert isinstance(Agent(model, output_type=City).run_sync("hi").output, City)
