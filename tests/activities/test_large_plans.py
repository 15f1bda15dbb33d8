"""Large clusters are planned for one after the other; small ones, and whoever is cancelled, wait for nobody."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from temporalio.exceptions import CancelledError
from temporalio.testing import ActivityEnvironment

from activities import large_plans
from activities.large_plans import LARGE_PARTITIONS, Turn
from activities.step import Access, Steps, step
from kafka_runbooks.models.status import Progress
from tests.fakes.link import FakeLink

LINK: Any = FakeLink()
CLUSTERS: Any = None


class Plans(Steps):
    """A step that takes its turn, and says in `order` when it has it and whether it waited."""

    order: list[tuple[int, bool]]

    @step
    def plan(self, partitions: int) -> None:
        with Turn() as turn:
            self.order.append((partitions, turn.take(partitions)))
            assert not turn.take(partitions), "it has its turn already"


@pytest.fixture
def plans() -> Plans:
    made = Plans(Access(CLUSTERS, LINK))
    made.order = []
    return made


@pytest.fixture
def other() -> Iterator[Turn]:
    """Another plan that is being made."""
    with Turn() as turn:
        turn.take(LARGE_PARTITIONS)
        yield turn


def test_a_large_plan_waits_for_another_and_says_so(plans: Plans) -> None:
    told, environment = threading.Event(), ActivityEnvironment()
    reasons: list[str] = []

    def beat(progress: Progress, *_: object) -> None:
        if progress.waiting is not None:
            reasons.append(progress.waiting.reason)
            told.set()

    environment.on_heartbeat = beat
    with Turn() as turn:
        assert not turn.take(LARGE_PARTITIONS)
        second = threading.Thread(target=environment.run, args=(plans.plan, LARGE_PARTITIONS))
        second.start()
        assert told.wait(20) and plans.order == []
    second.join(20)
    assert plans.order == [(LARGE_PARTITIONS, True)]
    assert f"this one has {LARGE_PARTITIONS} partitions" in reasons[0]
    ActivityEnvironment().run(plans.plan, LARGE_PARTITIONS)
    assert plans.order[-1] == (LARGE_PARTITIONS, False), "the turn was given back"


def test_a_small_plan_waits_for_nobody(plans: Plans, other: Turn) -> None:
    ActivityEnvironment().run(plans.plan, LARGE_PARTITIONS - 1)
    assert plans.order == [(LARGE_PARTITIONS - 1, False)]


def test_one_that_waits_can_be_cancelled(plans: Plans, other: Turn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_plans, "LOOK_SECONDS", 0.01)
    environment = ActivityEnvironment()
    environment.on_heartbeat = lambda *_: environment.cancel()
    with pytest.raises(CancelledError):
        environment.run(plans.plan, LARGE_PARTITIONS)
    assert plans.order == []
