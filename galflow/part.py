"""What all parts of a specification have in common, and the kinds of name that stand in them. It knows no part."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$")]
"""Part of a URI: lower-case letters, digits and . _ -, starting with a letter or digit."""
ColumnName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
"""Part of a column's name: lower-case letters, digits and _, starting with a letter."""


SECRET = "galflow_secret"
"""Type of the pydantic error about a value that is a secret: such a value is not repeated."""


class Part(BaseModel):
    """Base of all parts: unknown fields are refused, values cannot be changed, numbers are finite."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        coerce_numbers_to_str=True,
        use_attribute_docstrings=True,
        # An error is logged and shown; galflow.spec.describe repeats what was given unless that is a secret.
        hide_input_in_errors=True,
    )
