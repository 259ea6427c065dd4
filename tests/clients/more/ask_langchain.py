"""langchain-openai: an answer, a stream, a tool call, a structured answer, and several at once."""

from langchain_openai import ChatOpenAI
from pydantic import BaseModel


class City(BaseModel):
    """A city and how many live there."""

    name: str
    population: int


model = ChatOpenAI(model="openrouter/langchain")
assert str(model.invoke("hi").content).startswith("echo ")
assert "".join(str(part.content) for part in model.stream("hi")).startswith("echo ")
assert [call["name"] for call in model.bind_tools([City]).invoke("hi").tool_calls] == ["City"]
assert isinstance(model.with_structured_output(City, method="json_schema").invoke("hi"), City)
assert all(
    str(answer.content).startswith("echo ") for answer in model.batch([f"question {n}" for n in range(20)])
)
