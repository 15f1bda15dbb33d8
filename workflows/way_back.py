"""Where one of several brokers is on its way back: the state of a part of a run, as operators see it."""

from collections.abc import Iterator
from contextlib import contextmanager

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from kafka_runbooks.models.results import PhaseTime
    from kafka_runbooks.models.status import FIRST_REPORT, BrokerProgress, BrokerStatus, Progress, Waiting
    from kafka_runbooks.models.steps import StepName


class WayBack:
    """One broker's way from its lost node to the catch-up."""

    def __init__(self, broker_id: int, *, may_change_rack: bool) -> None:
        self.broker_id = broker_id
        self.may_change_rack = may_change_rack
        self.has_landed = False
        self.step = StepName.CORDON
        self.since = workflow.now()
        self.progress: Progress | None = None
        self.unanswered: Waiting | None = None

    @property
    def waiting(self) -> Waiting | None:
        return self.unanswered if self.progress is None else self.progress.waiting

    def enter(self, step: StepName) -> None:
        """The broker has come to this step."""
        now = workflow.now()
        self.step, self.since, self.progress = step, now, None
        self.unanswered = Waiting(reason=f"{step}: no report from a worker yet", since=now, unblocks=FIRST_REPORT)

    @contextmanager
    def timed(self, step: StepName, times: list[PhaseTime], *, is_alone: bool) -> Iterator[None]:
        """Record how long the broker's step takes, without pauses before it."""
        self.enter(step)
        began, broker_id = workflow.now(), None if is_alone else self.broker_id

        def record() -> None:
            times.append(PhaseTime(step=step, seconds=(workflow.now() - began).total_seconds(), broker_id=broker_id))

        try:
            yield
        except GeneratorExit:
            # The worker evicts the workflow from its cache: outside of its event loop there is no workflow time.
            raise
        except BaseException:
            record()
            raise
        record()

    def status(self, copied: BrokerProgress | None) -> BrokerStatus:
        """For operators.

        Args:
            copied: its part of the catch-up.
        """
        return BrokerStatus(
            broker_id=self.broker_id, step=self.step, step_since=self.since, waiting=self.waiting, progress=copied
        )
