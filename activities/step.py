"""How a step runs: it heartbeats, reports progress, and stops when cancelled.

Polling inside one activity adds no events to the history. Each observation is heartbeat with the current figures; a significant
change is also signalled to the workflow, whose `status` query can't read a running activity's state.
"""

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import CancelledError

from activities.errors import WorkerShutdown
from kafka_runbooks.clients.clusters import ClusterClients, Clusters
from kafka_runbooks.models.messages import Token
from kafka_runbooks.models.status import Progress, Waiting

SIGNAL = "report_progress"
HEARTBEAT_SECONDS = 2.0
POLL_SECONDS = 2.0
SHORT_POLL_SECONDS = 1.0
"""For what takes a moment: an election, the last checks."""
LONGEST_PAUSE_SECONDS = 15.0
SIGNAL_SECONDS = 5.0
"""At most one signal per this time, except when the reason to wait changes."""
SIGNAL_SHARE = 0.05
"""A signal each time this share of the work is done, so a step adds at most some dozens of events to the history."""

T = TypeVar("T")
Method = TypeVar("Method", bound=Callable[..., Any])

_LATEST: contextvars.ContextVar[list[Progress]] = contextvars.ContextVar("latest progress of this activity")


class Link:
    """Access to Temporal from an activity's thread: the permit's state, and signals to the workflow.

    The SDK's client lives in the worker's event loop; activities here are threads, since Kafka's and Kubernetes' libraries
    block.
    """

    def __init__(self, client: Client, loop: asyncio.AbstractEventLoop) -> None:
        self.client = client
        self._loop = loop

    def call(self, coroutine: Coroutine[Any, Any, T], timeout_seconds: float = 20.0) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result(timeout_seconds)
        finally:
            future.cancel()

    def signal(self, token: Token, progress: Progress) -> None:
        handle = self.client.get_workflow_handle(token.workflow_id, run_id=token.run_id)
        self.call(handle.signal(SIGNAL, progress))


@dataclass(frozen=True)
class Access:
    """The steps' access to the outside world."""

    clusters: Clusters
    link: Link


class Steps:
    """Activities that share one `Access`."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._link = access.link

    def _open(self, cluster: str) -> ClusterClients:
        return self._access.clusters.open(cluster)

    def every(self) -> list[Callable[..., Any]]:
        """The bound methods that are activities, for a worker."""
        return [getattr(self, name) for name, member in vars(type(self)).items() if getattr(member, "is_step", False)]


def step(method: Method) -> Method:
    """Make a method of `Steps` an activity. Cancellation reaches it at its next poll, never in the middle of a change."""
    method.is_step = True  # type: ignore[attr-defined]
    return activity.defn(no_thread_cancel_exception=True)(method)


class Reporter:
    """Heartbeats every observation, and signals significant changes."""

    def __init__(self, link: Link, token: Token) -> None:
        self._link = link
        self._token = token
        self._signalled: Progress | None = None
        self._signalled_at = 0.0
        self._waiting: Waiting | None = None

    def waiting(self, reason: str, unblocks: str, blocking: tuple[str, ...] = ()) -> Waiting:
        """A reason to wait; `since` is kept while the same thing is waited for."""
        if self._waiting is None or self._waiting.unblocks != unblocks:
            self._waiting = Waiting(reason=reason, since=datetime.now(UTC), unblocks=unblocks, blocking=blocking)
        else:
            self._waiting = self._waiting.model_copy(update={"reason": reason, "blocking": blocking})
        return self._waiting

    def report(self, progress: Progress) -> None:
        """Heartbeat, and signal a significant change. A failed signal is repeated at the next report."""
        _LATEST.get([])[:] = [progress]
        activity.heartbeat(progress)
        now = time.monotonic()
        if not self._is_significant(progress, now):
            return
        try:
            self._link.signal(self._token, progress)
        except Exception as error:
            activity.logger.warning("progress was not signalled: %s", error)
            return
        self._signalled, self._signalled_at = progress, now

    def _is_significant(self, progress: Progress, now: float) -> bool:
        last = self._signalled
        if last is None:
            return True
        if (last.waiting and last.waiting.unblocks) != (progress.waiting and progress.waiting.unblocks):
            return True
        if now - self._signalled_at < SIGNAL_SECONDS:
            return False
        more_bytes = progress.done_bytes - last.done_bytes >= SIGNAL_SHARE * max(1, progress.total_bytes)
        more_partitions = progress.done_partitions - last.done_partitions >= SIGNAL_SHARE * max(1, progress.total_partitions)
        return more_bytes or more_partitions


def poll(observe: Callable[[], T | None], *, soon: bool = False) -> T:
    """Call `observe` until it returns something other than None, and return that.

    The pause grows with the duration of an observation, so polling a large cluster takes at most a fifth of the time. It is
    limited to `LONGEST_PAUSE_SECONDS`: an observation is also slow if a broker has just died, and then the next one is urgent.

    Args:
        observe: called once per poll.
        soon: what is waited for takes a moment.

    Raises:
        CancelledError: the workflow cancelled the step.
        WorkerShutdown: the worker shuts down, and the next one continues.
    """
    with heartbeating():
        while True:
            began = time.monotonic()
            found = observe()
            if found is not None:
                return found
            shortest = SHORT_POLL_SECONDS if soon else POLL_SECONDS
            pause = max(shortest, min(4 * (time.monotonic() - began), LONGEST_PAUSE_SECONDS))
            ends = time.monotonic() + pause
            while True:
                raise_if_stopped()
                left = ends - time.monotonic()
                if left <= 0:
                    break
                time.sleep(min(0.5, left))


def raise_if_stopped() -> None:
    """A safe point: between two acts, or between two looks.

    Raises:
        CancelledError: the workflow cancelled the step, or the server has given up this attempt.
        WorkerShutdown: the worker shuts down, and the next one continues.
    """
    if activity.is_cancelled():
        raise CancelledError("the step was cancelled")
    if activity.is_worker_shutdown():
        raise WorkerShutdown("the worker shuts down; another attempt continues")


@contextmanager
def heartbeating() -> Iterator[None]:
    """Heartbeat from a second thread, with the latest figures: a library may block for longer than the heartbeat timeout.

    Every client call has a timeout, so a step that heartbeats here does return.
    """
    done = threading.Event()
    latest: list[Progress] = []
    _LATEST.set(latest)

    def heartbeat() -> None:
        while not done.wait(HEARTBEAT_SECONDS):
            activity.heartbeat(*latest)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(heartbeat,), daemon=True, name="heartbeat")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
