"""One call for each of many brokers, at the same time: each that is silent costs its own timeout, and the others don't wait."""

import contextvars
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from kafka_runbooks.clients.errors import ClientError

AT_ONCE = 64

T = TypeVar("T")


def for_each(brokers: Iterable[int], call: Callable[[int], T]) -> tuple[dict[int, T], dict[int, ClientError]]:
    """What each call returned, and the errors of those that failed; any other error is raised once all have ended."""
    asked = sorted(set(brokers))
    answers: dict[int, T] = {}
    errors: dict[int, ClientError] = {}
    if not asked:
        return answers, errors

    def attempt(broker: int) -> None:
        try:
            answers[broker] = call(broker)
        except ClientError as error:
            errors[broker] = error

    with ThreadPoolExecutor(min(AT_ONCE, len(asked)), "brokers") as threads:
        # Each thread sees the activity that it works for.
        running = [threads.submit(contextvars.copy_context().run, attempt, broker) for broker in asked]
    for future in running:
        future.result()
    return answers, errors
