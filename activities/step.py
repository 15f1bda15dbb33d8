"""How a step runs: it heartbeats, reports progress, waits without keeping a slot, and stops when cancelled.

Polling inside an activity adds no events to the history. Each observation is heartbeat with the current figures; a significant
change is also signalled to the workflow, whose `status` query can't read a running activity's state. What must outlive an attempt
(since when it waits, what was signalled) is in the heartbeat's details.
"""

import asyncio
import contextvars
import functools
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast

import pydantic
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import CancelledError

from activities.errors import NotYet, WorkerShutdown, describe, is_final, is_temporary, published
from kafka_runbooks.clients.clusters import ClusterClients, Clusters
from kafka_runbooks.clients.errors import ClientError
from kafka_runbooks.clients.webhook import Webhook
from kafka_runbooks.models import history
from kafka_runbooks.models.base import Model
from kafka_runbooks.models.messages import StepRequest
from kafka_runbooks.models.status import Progress, Signalled, Waiting

SIGNAL = "report_progress"
SIGNAL_TIMEOUT = timedelta(seconds=5)
HEARTBEAT_SECONDS = 2.0
POLL_SECONDS = 2.0
SHORT_POLL_SECONDS = 0.5
"""For what takes a moment: an election, the last checks, the stages of a restart."""
LONGEST_PAUSE_SECONDS = 15.0
KEPT_SLOT_SECONDS = 4.0
"""How long the first attempt of a step that waits keeps its slot: most waits are over by then."""
SIGNAL_SECONDS = 5.0
"""At most one signal per this time, except when the reason to wait changes."""
SIGNAL_SHARE = 0.05
"""A signal each time this share of the work is done, and where it comes to a standstill: some dozens of events in all."""
FAILURE_SECONDS = 10.0
"""A look or an attempt that failed is told once nothing has succeeded for this long: most faults are over by then."""
NEXT_LOOK = "the next look succeeds; one follows within seconds"

T = TypeVar("T")
M = TypeVar("M", bound=Model)
Method = TypeVar("Method", bound=Callable[..., Any])

_CURRENT: contextvars.ContextVar["Reporter"] = contextvars.ContextVar("reporter of this attempt")


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

    def signal(self, workflow_id: str, run_id: str, progress: Progress) -> None:
        handle = self.client.get_workflow_handle(workflow_id, run_id=run_id)
        self.call(handle.signal(SIGNAL, progress, rpc_timeout=SIGNAL_TIMEOUT), SIGNAL_TIMEOUT.total_seconds() + 1)


@dataclass(frozen=True)
class Access:
    """The steps' access to the outside world."""

    clusters: Clusters
    link: Link
    webhook: Webhook | None = None
    """Where people are told; None: nobody is."""


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
    """Make a method of `Steps` an activity. Cancellation reaches it at its next poll, never in the middle of a change.

    An attempt that fails, and that Temporal will make again, is reported like any other reason to wait.
    """

    @functools.wraps(method)
    def attempt(self: Steps, request: Any) -> Any:
        reporter, began_at = Reporter(self._link, _only_broker(request)), datetime.now(UTC)
        _CURRENT.set(reporter)
        try:
            return method(self, request)
        except (CancelledError, NotYet, WorkerShutdown):
            raise
        except Exception as error:
            if not is_final(error):
                reporter.failed(error, began_at)
            if isinstance(error, ClientError):
                raise published(error) from error
            raise

    attempt.is_step = True  # type: ignore[attr-defined]
    return cast(Method, activity.defn(no_thread_cancel_exception=True)(attempt))


def _only_broker(request: object) -> int | None:
    """Whose step it is, where a run brings several brokers back side by side."""
    ids = request.broker_ids if isinstance(request, StepRequest) else ()
    return ids[0] if len(ids) == 1 else None


class Reporter:
    """Heartbeats every observation of one step, and signals significant changes, as long as its budget lasts.

    It begins with what the attempt before has left in its heartbeat, so a new attempt alone is no news.
    """

    def __init__(self, link: Link, broker_id: int | None = None) -> None:
        self._link = link
        self._broker_id = broker_id
        self._progress = _left_by_last_attempt(0, Progress)
        self._signalled = _left_by_last_attempt(1, Signalled)
        self._waiting = self._progress.waiting

    @staticmethod
    def current() -> "Reporter":
        """The running attempt's."""
        return _CURRENT.get()

    def waiting(self, reason: str, unblocks: str, blocking: tuple[str, ...] = ()) -> Waiting:
        """A reason to wait; `since` is kept while the same thing is waited for, also from attempt to attempt."""
        before = self._waiting
        since = before.since if before is not None and before.unblocks == unblocks else datetime.now(UTC)
        self._waiting = Waiting(reason=reason, since=since, unblocks=unblocks, blocking=blocking)
        return self._waiting

    def report(self, progress: Progress) -> None:
        """Heartbeat, and signal a significant change. A failed signal is repeated at the next report."""
        is_news = _figures(progress) != _figures(self._progress)
        changed_at = datetime.now(UTC) if is_news or self._progress.changed_at is None else self._progress.changed_at
        self._progress = progress.model_copy(update={"broker_id": self._broker_id, "changed_at": changed_at})
        self.beat()
        self._signal(self._progress)

    def unchanged_seconds(self) -> float:
        """For how long every report has been the same: patience is for progress, not for the whole."""
        waiting = self._progress.waiting
        changed_at = self._progress.changed_at or (None if waiting is None else waiting.since)
        return 0.0 if changed_at is None else (datetime.now(UTC) - changed_at).total_seconds()

    def beat(self) -> None:
        """Heartbeat the last report. One that a busy worker doesn't take in time is late, and another follows in seconds.

        (The SDK waits 10 s for its event loop. As an error it ended the thread that heartbeats, and so the attempt.)
        """
        try:
            activity.heartbeat(self._progress, self._signalled)
        except TimeoutError:
            activity.logger.warning("the worker is too busy to take a heartbeat")

    def failed(self, error: BaseException, began_at: datetime) -> None:
        """A look, or the whole attempt, has failed and will be made again; `began_at` is when it began."""
        before = self._progress.waiting
        since = before.since if before is not None and before.unblocks == NEXT_LOOK else began_at
        waiting = Waiting(reason=f"no look succeeds: {describe(error)}", since=since, unblocks=NEXT_LOOK)
        self._progress = self._progress.model_copy(update={"waiting": waiting, "broker_id": self._broker_id})
        self.beat()
        if (datetime.now(UTC) - since).total_seconds() >= FAILURE_SECONDS:
            self._signal(self._progress)

    def seconds_to_next_look(self, look_seconds: float) -> float:
        """For a wait: soon after each change, and the longer nothing changes the more rarely.

        What is waited for is so noticed late by a tenth of the time that it took. Looks take at most half of the time.
        """
        return max(SHORT_POLL_SECONDS, min(max(self.unchanged_seconds() / 10, look_seconds), LONGEST_PAUSE_SECONDS))

    def why(self) -> str:
        """What is waited for, in one line."""
        waiting = self._progress.waiting
        return "waits" if waiting is None else f"waits: {waiting.reason}"

    def _signal(self, progress: Progress) -> None:
        now = datetime.now(UTC)
        if not self._is_due(progress, now):
            return
        info = activity.info()
        try:
            self._link.signal(str(info.workflow_id), str(info.workflow_run_id), progress)
        except Exception as error:
            activity.logger.warning("progress was not signalled: %s", error)
            return
        self._signalled = Signalled(progress=progress, at=now, count=self._signalled.count + 1)
        self.beat()

    def _is_due(self, progress: Progress, now: datetime) -> bool:
        last = self._signalled
        pause = history.seconds_between_signals(last.count)
        if last.progress is None or last.at is None:
            return True
        passed = (now - last.at).total_seconds()
        if pause is None or passed < pause:
            return False
        if (last.progress.waiting and last.progress.waiting.unblocks) != (progress.waiting and progress.waiting.unblocks):
            return True
        if passed < SIGNAL_SECONDS:
            return False
        before = last.progress
        more_bytes = progress.done_bytes - before.done_bytes >= SIGNAL_SHARE * max(1, progress.total_bytes)
        more_partitions = progress.done_partitions - before.done_partitions >= SIGNAL_SHARE * max(1, progress.total_partitions)
        # The last few of many: nothing follows that would carry them, and the status would show 22 of 24 for as long as it waits.
        has_settled = self.unchanged_seconds() >= SIGNAL_SECONDS and _figures(progress) != _figures(before)
        return more_bytes or more_partitions or has_settled


def _figures(progress: Progress) -> tuple[object, ...]:
    blocking = () if progress.waiting is None else progress.waiting.blocking
    return progress.done_bytes, progress.done_partitions, progress.total_partitions, blocking


def _left_by_last_attempt(position: int, model: type[M]) -> M:
    """What the last attempt's heartbeat carries. It is a hint, and may be of another version: without it the step starts anew."""
    try:
        return model.model_validate(activity.info().heartbeat_details[position])
    except (IndexError, pydantic.ValidationError):
        return model()


def poll(observe: Callable[[], T | None], *, soon: bool = False) -> T:
    """Call `observe` until it returns something other than None, and return that. Keeps its slot: for what copies data.

    A look that fails is a look that failed: it is reported as the reason to wait, and the next one follows. What the attempt has
    in memory (pace, rates, since when a broker is down) outlives it. A refusal ends the step.

    The pause grows with the duration of an observation, so polling a large cluster takes at most a fifth of the time, or half of
    it where it is over in a moment. It is limited to `LONGEST_PAUSE_SECONDS`: an observation is also slow if a broker has just
    died, and then the next one is urgent.

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
            found = _look(observe)
            if found is not None:
                return found
            took = time.monotonic() - began
            pause = max(SHORT_POLL_SECONDS, took) if soon else max(POLL_SECONDS, 4 * took)
            _pause(min(pause, LONGEST_PAUSE_SECONDS))


def wait(observe: Callable[[], T | None]) -> T:
    """The same for what only waits, for hours or days: between two looks it has no slot, and writes nothing into the history.

    The attempt ends, and Temporal makes the next one when it is due. So `observe` keeps nothing in memory from one look to
    the next; what it reports outlives the attempt.

    Raises:
        NotYet: what is waited for isn't there yet.
        CancelledError: the workflow cancelled the step.
        WorkerShutdown: the worker shuts down, and the next one continues.
    """
    with heartbeating():
        kept_until = time.monotonic() + (KEPT_SLOT_SECONDS if activity.info().attempt == 1 else 0)
        while True:
            began, reporter = time.monotonic(), Reporter.current()
            found = _look(observe)
            if found is not None:
                return found
            pause = reporter.seconds_to_next_look(time.monotonic() - began)
            if time.monotonic() >= kept_until:
                raise NotYet(reporter.why(), pause)
            _pause(pause)


def _look(observe: Callable[[], T | None]) -> T | None:
    began_at = datetime.now(UTC)
    try:
        return observe()
    except Exception as error:
        if not is_temporary(error):
            raise
        Reporter.current().failed(error, began_at)
        return None


def _pause(seconds: float) -> None:
    ends = time.monotonic() + seconds
    while True:
        raise_if_stopped()
        left = ends - time.monotonic()
        if left <= 0:
            return
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
    reporter = Reporter.current()

    def heartbeat() -> None:
        while not done.wait(HEARTBEAT_SECONDS):
            reporter.beat()

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(heartbeat,), daemon=True, name="heartbeat")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
