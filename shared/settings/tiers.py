"""`[models]`: names for purposes ("tiers"), each standing for a model."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from shared.settings.section import Section

ModelName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=256)]


class ModelSettings(Section):
    """Tiers, any further name allowed, and the models that are marked weak."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, ModelName]

    local_fast: ModelName = "qwen3.5:latest"
    """Short answers on the local machine."""

    local_judge: ModelName = "qwen3.5:latest"
    """Judging answers, locally."""

    local_review: ModelName = "qwen3.5:latest"
    """Reviewing text or code, locally."""

    local_embed: ModelName = "nomic-embed-text"
    """Embeddings, locally."""

    cloud_judge: ModelName = "kimi-k2.6:cloud"
    """Judging, on Ollama Cloud."""

    cloud_review: ModelName = "qwen3-coder:480b"
    """Reviewing with a large open model. A bare name: it goes to the default provider."""

    cloud_strong: ModelName = "deepseek-v3.2"
    """The strongest open model. A bare name: it goes to the default provider."""

    frontier_review: ModelName = "openrouter/anthropic/claude-opus-4-7"
    """Reviewing with a frontier model."""

    frontier_arch: ModelName = "openrouter/moonshotai/kimi-k2-0905"
    """Architecture questions."""

    frontier_strong: ModelName = "openrouter/openai/gpt-5"
    """The strongest model at any price."""

    frontier_free: ModelName = "opencode/claude-opus-4-7"
    """A frontier model inside a subscription."""

    weak_models: tuple[str, ...] = Field(default=("qwen3.5:latest", "qwen3:latest"), strict=False)
    """Models whose answers should not be trusted with a judgement; listings mark them."""

    @property
    def tiers(self) -> dict[str, str]:
        """Every tier and its model: the built-in ones first, then those of the operator."""
        named = {name: getattr(self, name) for name in type(self).model_fields if name != "weak_models"}
        return {**named, **(self.__pydantic_extra__ or {})}

    @model_validator(mode="after")
    def _no_circle(self) -> Self:
        tiers = self.tiers
        for tier in tiers:
            chain = [tier]
            # A tier that names itself ends there: its model happens to have the tier's name.
            while (following := tiers[chain[-1]]) in tiers and following != chain[-1]:
                if following in chain:
                    raise ValueError(f"tiers name each other in a circle: {' -> '.join([*chain, following])}")
                chain.append(following)
        return self
