"""The tree of step errors is what steps raise, no more and no less, and what is never retried follows from it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import activities
import kafka_runbooks
from activities import errors
from activities.errors import NON_RETRYABLE, Final, PlanDrift, Retried, StepError, WorkerShutdown, is_type
from kafka_runbooks.clients.errors import ClientError

LEAVES = {kind.__name__ for kind in (*Final.__subclasses__(), *Retried.__subclasses__())}
CLIENT_ERRORS = {kind.__name__ for kind in ClientError.__subclasses__()}


def raised_in(package: object) -> Iterator[tuple[str, str]]:
    """Every `raise X(...)` or `raise X` of a package: the file, and the name of what is raised."""
    for path in sorted(Path(package.__file__).parent.rglob("*.py")):  # type: ignore[attr-defined]
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and node.exc is not None:
                called = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
                yield path.name, ast.unparse(called)


def test_every_error_of_the_tree_is_raised_by_a_step() -> None:
    assert {name for _, name in raised_in(activities)} >= LEAVES


def test_steps_raise_only_errors_of_the_tree_or_placement_s_own_words_for_a_bad_request() -> None:
    allowed = LEAVES | {"CancelledError", "InvalidRequest", "published"}
    assert [(file, name) for file, name in raised_in(activities) if name not in allowed] == []


def test_every_client_error_is_raised_by_a_client() -> None:
    assert {name for _, name in raised_in(kafka_runbooks)} >= CLIENT_ERRORS


@pytest.mark.parametrize("name", sorted({*LEAVES, *CLIENT_ERRORS}))
def test_what_is_final_is_never_tried_again(name: str) -> None:
    known = {**vars(errors), **{kind.__name__: kind for kind in ClientError.__subclasses__()}}
    is_final = issubclass(known[name], Final) or known[name] in errors.FINAL_CLIENT_ERRORS
    assert (name in NON_RETRYABLE) is is_final
    if issubclass(known[name], StepError):
        error = known[name]("why")
        assert (error.type, error.non_retryable) == (name, is_final)


def test_the_docstring_s_tree_names_every_error() -> None:
    assert errors.__doc__ is not None
    assert [name for name in LEAVES if f"── {name} " not in errors.__doc__] == []


def test_an_error_is_recognised_by_its_class() -> None:
    assert is_type(PlanDrift("moved"), PlanDrift) and not is_type(WorkerShutdown("ends"), PlanDrift)
    assert errors.describe(PlanDrift("moved")) == "moved"
