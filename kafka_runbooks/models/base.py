"""The two kinds of models: what the project's parts exchange, and what an operator types.

Models that the project's parts exchange ignore unknown fields and give new fields a default, because a worker of one version
reads what another version wrote. Models that an operator types forbid unknown fields, because a typo that is
silently ignored at night does harm.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


class Model(BaseModel):
    """A frozen value that the project's parts exchange; unknown fields are ignored (version skew)."""

    model_config = ConfigDict(frozen=True, extra="ignore", serialize_by_alias=True, validate_by_name=True, validate_by_alias=True)


class OperatorInput(BaseModel):
    """A frozen value that an operator types; an unknown field is an error that names it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
