"""How a step runs: it shows that it lives, says how far it is, and ends when it should.

A look at the world every few seconds, inside one activity that heartbeats, costs no history. Each look is heartbeat with the
figures so far; a change that a person would want to see is also signalled to the workflow, whose `status` query can't look
into a running activity.
"""

import asyncio
import contextvars
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError, CancelledError

from kafka_runbooks.models.messages import Token
from kafka_runbooks.models.status import Progress, Waiting

SIGNAL = "report_progress"
BEAT_SECONDS = 2.0
LOOK_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 15.0
TELL_SECONDS = 5.0
"""At most one signal in this time, but for a change of what is waited for."""
TELL_SHARE = 0.05
"""A signal at each such share of the work: a step adds at most some dozens of events to the history, however long it takes."""


_LATEST: contextvars.ContextVar[list[Progress]] = contextvars.ContextVar("latest progress of this activity")


class Link:
    """The way from an activity's thread back to Temporal: the permit's state, and signals to the workflow.

    The SDK's client lives in the worker's event loop; activities here are threads, since Kafka's and Kubernetes' libraries
    block.
    """

    def __init__(self, client: Client, loop: asyncio.AbstractEventLoop) -> None:
        self.client = client
        self._loop = loop

    def call(self, coroutine: Any, timeout_seconds: float = 20.0) -> Any:
        future: Future[Any] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return future.result(timeout_seconds)

    def signal(self, token: Token, progress: Progress) -> None:
        handle = self.client.get_workflow_handle(token.workflow_id, run_id=token.run_id)
        self.call(handle.signal(SIGNAL, progress))


class Reporter:
    """Heartbeats every look, and signals what a person would want to see."""

    def __init__(self, link: Link, token: Token) -> None:
        self._link = link
        self._token = token
        self._told: Progress | None = None
        self._told_at = 0.0
        self._waiting: Waiting | None = None

    def waiting(self, reason: str, unblocks: str, blocking: tuple[str, ...] = ()) -> Waiting:
        """A reason to wait; `since` is kept while the same thing is waited for."""
        if self._waiting is None or self._waiting.unblocks != unblocks:
            self._waiting = Waiting(reason=reason, since=datetime.now(UTC), unblocks=unblocks, blocking=blocking)
        else:
            self._waiting = self._waiting.model_copy(update={"reason": reason, "blocking": blocking})
        return self._waiting

    def report(self, progress: Progress) -> None:
        """Heartbeat, and signal where it is news. A signal that fails is tried again at the next news."""
        _LATEST.get([])[:] = [progress]
        activity.heartbeat(progress)
        now = time.monotonic()
        if not self._is_news(progress, now):
            return
        try:
            self._link.signal(self._token, progress)
        except Exception as error:
            activity.logger.warning("progress was not signalled: %s", error)
            return
        self._told, self._told_at = progress, now

    def _is_news(self, progress: Progress, now: float) -> bool:
        told = self._told
        if told is None:
            return True
        if (told.waiting and told.waiting.unblocks) != (progress.waiting and progress.waiting.unblocks):
            return True
        if now - self._told_at < TELL_SECONDS:
            return False
        more_bytes = progress.done_bytes - told.done_bytes >= TELL_SHARE * max(1, progress.total_bytes)
        more_partitions = progress.done_partitions - told.done_partitions >= TELL_SHARE * max(1, progress.total_partitions)
        return more_bytes or more_partitions


def looks(every_seconds: float | None = None) -> Iterator[None]:
    """Look after look, until the caller breaks off; ends with an error on cancellation and on shutdown of the worker.

    The pause grows with what a look costs, so that watching a large cluster takes no more than a fifth of a broker's time. Not
    beyond `LONGEST_PAUSE_SECONDS`: a look is also slow because a broker has just died, and then the next one is urgent.

    Raises:
        CancelledError: the workflow cancelled the step.
        ApplicationError: the worker shuts down; retryable, for the next worker goes on.
    """
    with alive():
        while True:
            began = time.monotonic()
            yield
            shortest = LOOK_SECONDS if every_seconds is None else every_seconds
            pause = max(shortest, min(4 * (time.monotonic() - began), LONGEST_PAUSE_SECONDS))
            ends = time.monotonic() + pause
            while True:
                stop_if_told()
                left = ends - time.monotonic()
                if left <= 0:
                    break
                time.sleep(min(0.5, left))


def stop_if_told() -> None:
    """Raise where the step was cancelled or the worker shuts down."""
    if activity.is_cancelled():
        raise CancelledError("the step was cancelled")
    if activity.is_worker_shutdown():
        raise ApplicationError("the worker shuts down; another attempt goes on", type="WorkerShutdown")


@contextmanager
def alive() -> Iterator[None]:
    """Heartbeat from a thread beside, with the latest figures: a library may block longer than a dead worker may go unnoticed.

    Every call of the clients is bounded, so what beats here does come back.
    """
    done = threading.Event()
    latest: list[Progress] = []
    _LATEST.set(latest)

    def beat() -> None:
        while not done.wait(BEAT_SECONDS):
            activity.heartbeat(*latest)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(beat,), daemon=True, name="heartbeat")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
