"""A model with one long field, as JSON in pieces of bounded size.

A plan of 200,000 moves is 31 MB of JSON. Parsed at once it takes 200 MB for a moment, and nothing else of the process runs
meanwhile (one call holds the GIL). So it is written as lines: the first is the model without its long field, each of the others
some thousand values of that.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter
from pydantic_core import to_json

from kafka_runbooks.models.base import Model

PIECE = 2_000
"""Values in a line."""

M = TypeVar("M", bound=Model)


def lines(value: Model, *, exclude: frozenset[str] = frozenset()) -> Iterator[bytes]:
    """The model's JSON, line by line; the same value gives the same lines.

    Args:
        exclude: fields that are left out.
    """
    field = value.LONG_FIELD
    if field is None:
        yield to_json(value, exclude=set(exclude)) + b"\n"
        return
    values = getattr(value, field)
    yield to_json(value.model_copy(update={field: ()}), exclude=set(exclude)) + b"\n"
    for start in range(0, len(values), PIECE):
        yield _values(type(value)).dump_json(values[start : start + PIECE]) + b"\n"


def from_lines(model: type[M], found: Iterable[bytes]) -> M:
    """The model that was written so; one that was written as a single line too.

    Raises:
        ValueError: it isn't one.
    """
    rest = iter(found)
    value = model.model_validate_json(next(rest, b""))
    values = [one for line in rest for one in _values(model).validate_json(line)]
    return value if model.LONG_FIELD is None or not values else value.model_copy(update={model.LONG_FIELD: tuple(values)})


@cache
def _values(model: type[Model]) -> TypeAdapter[Any]:
    """The type of a model's long field."""
    kind: Any = model.model_fields[str(model.LONG_FIELD)].annotation
    return TypeAdapter(kind)
