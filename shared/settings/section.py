"""The rules every settings section shares."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of settings: frozen, unknown keys refused, nothing converted silently.

    `strict` keeps `true` from becoming the number 1 and `"500"` from becoming 500; fields that must
    convert (a TOML array into a tuple, a text into a path) say so themselves.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )
