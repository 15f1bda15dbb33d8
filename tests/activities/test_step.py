"""How a step polls, waits and reports: what a failed look costs, what outlives an attempt, and how much it signals."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.testing import ActivityEnvironment

from activities import step as steps
from activities.errors import NotYet, TemporalUnreachable
from activities.step import Access, Link, Reporter, Steps, heartbeating, poll, step, wait
from kafka_runbooks.clients.errors import Conflict, Refused, Unreachable
from kafka_runbooks.models import history
from kafka_runbooks.models.status import Progress, Signalled, Waiting


class Workflow(Link):
    """Receives what a step signals; `refuses` counts down the signals that don't arrive."""

    def __init__(self) -> None:
        self.signals: list[Progress] = []
        self.refuses = 0

    def signal(self, workflow_id: str, run_id: str, progress: Progress) -> None:
        if self.refuses:
            self.refuses -= 1
            raise Unreachable("Temporal is away")
        self.signals.append(progress)

    @property
    def reasons(self) -> list[str | None]:
        return [progress.waiting.reason if progress.waiting else None for progress in self.signals]


class OneStep(Steps):
    """A step whose course is given."""

    def __init__(self, workflow: Workflow, course: Callable[[], Any]) -> None:
        super().__init__(Access(clusters=None, link=workflow))  # type: ignore[arg-type]
        self._course = course

    @step
    def take(self, argument: str) -> str:
        """Take the course."""
        return str(self._course())


class Runs:
    """Attempts at one step, as Temporal makes them: each gets the last heartbeat of the one before."""

    def __init__(self) -> None:
        self.workflow = Workflow()
        self.details: tuple[Any, ...] = ()
        self.attempt = 0

    def take(self, course: Callable[[], Any], environment: ActivityEnvironment | None = None) -> str:
        environment = environment or ActivityEnvironment()
        self.attempt += 1
        environment.info = environment.info.__class__(
            **{
                **{name: getattr(environment.info, name) for name in environment.info.__dataclass_fields__},
                "attempt": self.attempt,
                "heartbeat_details": [one.model_dump(mode="json") for one in self.details],
            }
        )

        def keep(*details: Any) -> None:
            self.details = details

        environment.on_heartbeat = keep
        return str(environment.run(OneStep(self.workflow, course).take, "argument"))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    monkeypatch.setattr(steps, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(steps, "SHORT_POLL_SECONDS", 0.0)
    monkeypatch.setattr(steps, "KEPT_SLOT_SECONDS", 0.0)
    monkeypatch.setattr(steps, "FAILURE_SECONDS", 0.0)
    return Runs()


def answers(*wanted: Any) -> Callable[[], Any]:
    """One after the other; an exception is raised."""
    left: Iterator[Any] = iter(wanted)

    def look() -> Any:
        answer = next(left)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return look


@pytest.mark.parametrize(
    "error", [Unreachable("no answer"), Conflict("changed"), TemporalUnreachable("just now"), TimeoutError()]
)
def test_a_look_that_fails_is_not_the_end_of_the_attempt(runs: Runs, error: Exception) -> None:
    assert runs.take(lambda: poll(answers(None, error, error, "there"))) == "there"
    assert runs.attempt == 1
    assert [reason for reason in runs.workflow.reasons if reason and "no look succeeds" in reason]


@pytest.mark.parametrize("failures", [1, 3])
def test_a_heartbeat_that_a_busy_worker_takes_late_is_not_the_last_one(monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
    """The thread that heartbeats died of it: no heartbeat came any more, and the server gave the attempt up."""
    monkeypatch.setattr(steps, "HEARTBEAT_SECONDS", 0.01)
    environment, arrived, tried = ActivityEnvironment(), threading.Event(), count(1)

    def beat(*details: object) -> None:
        if next(tried) <= failures:
            raise TimeoutError
        arrived.set()

    def course() -> bool:
        with heartbeating():
            return arrived.wait(20)

    environment.on_heartbeat = beat
    assert environment.run(OneStep(Workflow(), course).take, "argument") == "True"


def test_a_look_that_fails_for_a_moment_is_not_told(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "FAILURE_SECONDS", 10.0)
    runs.take(lambda: poll(answers(Unreachable("no answer"), "there")))
    assert runs.workflow.signals == []


class Forbidden(Refused):
    """Any subclass, as clients may have for themselves."""


class Late(Unreachable):
    """Likewise."""


@pytest.mark.parametrize("way", [poll, wait])
def test_a_refusal_in_a_look_ends_the_step_whatever_its_class_is_called(runs: Runs, way: Callable[..., Any]) -> None:
    with pytest.raises(ApplicationError) as raised:
        runs.take(
            lambda: way(answers(None, Forbidden("not yours"), "there")) if way is poll else way(answers(Forbidden("not yours")))
        )
    assert (raised.value.type, raised.value.non_retryable, raised.value.message) == ("Refused", True, "not yours")


def test_an_attempt_that_fails_is_made_again_and_told(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told once it has failed for some seconds, over all attempts, and not for each of them."""
    monkeypatch.setattr(steps, "FAILURE_SECONDS", 0.2)
    for _ in range(30):
        with pytest.raises(ApplicationError) as raised:
            runs.take(answers(Late("Kafka doesn't answer")))
        assert (raised.value.type, raised.value.non_retryable) == ("Unreachable", False)
        time.sleep(0.02)
    assert runs.workflow.reasons == ["no look succeeds: Kafka doesn't answer"]


def test_a_wait_ends_its_attempt_without_a_failure_and_goes_on_in_the_next(runs: Runs) -> None:
    def look() -> str | None:
        reporter = Reporter.current()
        reporter.report(Progress(waiting=reporter.waiting("no node", "add one")))
        return "there" if runs.attempt > 4 else None

    for _ in range(4):
        with pytest.raises(NotYet) as raised:
            runs.take(lambda: wait(look))
        assert not raised.value.non_retryable and raised.value.next_retry_delay is not None
        assert raised.value.message == "waits: no node"
    since = runs.details[0].waiting.since
    assert runs.take(lambda: wait(look)) == "there"
    assert runs.details[0].waiting.since == since, "it has waited since the first attempt"
    assert len(runs.workflow.signals) == 1, "an attempt alone is no news"


def test_a_wait_looks_ever_more_rarely(runs: Runs) -> None:
    """Soon after a change: a restart's stages last some seconds each. And not at once where a look itself takes long."""

    def delay(waited: timedelta, look_seconds: float = 0.0) -> float:
        ago = datetime.now(UTC) - waited
        runs.details = (Progress(waiting=Waiting(reason="no node", since=ago, unblocks="add one"), changed_at=ago),)

        def look() -> None:
            time.sleep(look_seconds)
            reporter = Reporter.current()
            reporter.report(Progress(waiting=reporter.waiting("no node", "add one")))

        with pytest.raises(NotYet) as raised:
            runs.take(lambda: wait(look))
        assert raised.value.next_retry_delay is not None
        return raised.value.next_retry_delay.total_seconds()

    assert 0 <= delay(timedelta(seconds=1)) < 0.5 < delay(timedelta(seconds=60)) < 7 < delay(timedelta(days=3)) <= 15
    assert delay(timedelta(seconds=1)) < 0.4 <= delay(timedelta(seconds=1), look_seconds=0.4)


def test_heartbeats_of_another_version_are_no_obstacle(runs: Runs) -> None:
    class Odd(Progress):
        def model_dump(self, **_: Any) -> Any:
            return {"waiting": "text, once upon a time"}

    runs.details = (Odd(), Odd())
    assert runs.take(lambda: poll(answers(None, "there"))) == "there"


def test_a_flapping_wait_has_a_budget(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A follower that flaps every ten seconds, for five days: the limit was reached after 36 hours."""
    now = datetime(2026, 1, 1, tzinfo=UTC)

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return now

    monkeypatch.setattr(steps, "datetime", Clock)

    def course() -> str:
        nonlocal now
        reporter = Reporter.current()
        for number in range(5 * 24 * 360):
            now += timedelta(seconds=10)
            reporter.report(Progress(waiting=reporter.waiting(f"partition {number % 2}", f"resumes {number % 2}")))
            if number == 360:
                assert 20 < len(runs.workflow.signals) < 90, "the first hour is told well"
        return "over"

    runs.take(course)
    assert len(runs.workflow.signals) <= history.MOST_SIGNALS
    assert 4 * len(runs.workflow.signals) < history.LIMIT_EVENTS * history.NOTE_SHARE


def test_the_last_few_of_many_are_told_once_nothing_follows_them(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that was back showed 98 of 100 for as long as the run waited for another one."""
    monkeypatch.setattr(steps, "SIGNAL_SECONDS", 0.05)

    def course() -> str:
        for done in (98, 99, 100, 100, 100, 100, 100, 100):
            Reporter.current().report(Progress(done_partitions=done, total_partitions=100))
            time.sleep(0.02)
        return "over"

    runs.take(course)
    assert [progress.done_partitions for progress in runs.workflow.signals] == [98, 100]


def test_what_an_attempt_has_signalled_is_no_news_in_the_next(runs: Runs) -> None:
    def course() -> None:
        reporter = Reporter.current()
        reporter.report(Progress(done_bytes=5, total_bytes=10, waiting=reporter.waiting("a", "b")))
        raise CancelledError("for the test")

    for _ in range(5):
        with pytest.raises(CancelledError):
            runs.take(course)
    assert len(runs.workflow.signals) == 1
    assert isinstance(runs.details[1], Signalled) and runs.details[1].count == 1


def test_a_signal_that_does_not_arrive_is_sent_again(runs: Runs) -> None:
    runs.workflow.refuses = 1

    def course() -> str:
        reporter = Reporter.current()
        for _ in range(3):
            reporter.report(Progress(waiting=reporter.waiting("a", "b")))
        return "over"

    runs.take(course)
    assert len(runs.workflow.signals) == 1
