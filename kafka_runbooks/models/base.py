"""The two kinds of models: what the project's parts exchange, and what an operator types.

Models that the project's parts exchange ignore unknown fields and give new fields a default, because a worker of one version
reads what another version wrote. Models that an operator types forbid unknown fields, because a typo that is
silently ignored at night does harm.
"""

from typing import Annotated, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

MOST_LINES, MOST_CHARACTERS = 100, 1000

T = TypeVar("T")

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"


def _few(lines: tuple[str, ...]) -> tuple[str, ...]:
    # One more than the most is what this function itself has made.
    return lines if len(lines) <= MOST_LINES + 1 else (*lines[:MOST_LINES], f"… and {len(lines) - MOST_LINES} more")


def first(values: tuple[T, ...]) -> tuple[T, ...]:
    return values[:MOST_LINES]


def last(values: tuple[T, ...]) -> tuple[T, ...]:
    return values[-MOST_LINES:]


Line = Annotated[str, AfterValidator(_cut)]
"""A sentence of what a history keeps: cut where it grows with the cluster, for Temporal takes at most 2 MB at once."""
Lines = Annotated[tuple[Line, ...], AfterValidator(_few)]
"""Sentences of what a history keeps; how many are left out is said."""


class Model(BaseModel):
    """A frozen value that the project's parts exchange; unknown fields are ignored (version skew)."""

    LONG_FIELD: ClassVar[str | None] = None
    """The tuple that grows with the cluster, in a model that is kept in pieces (`models.pieces`)."""

    model_config = ConfigDict(frozen=True, extra="ignore", serialize_by_alias=True, validate_by_name=True, validate_by_alias=True)


class OperatorInput(BaseModel):
    """A frozen value that an operator types; an unknown field is an error that names it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
