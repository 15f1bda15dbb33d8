"""Leadership back to the preferred leaders, in growing batches."""

import time
from itertools import count

from activities import plan_store
from activities.errors import ElectionRefused
from activities.permits import ensure_held
from activities.step import Reporter, Steps, poll, step
from kafka_runbooks.models.messages import StepRequest
from kafka_runbooks.models.status import Progress
from kafka_runbooks.safety.availability import not_led_by_preferred

FIRST_ELECTED, MOST_ELECTED = 4, 500
"""Leaderships returned in the first batch, doubled at each poll, and the maximum: clients have no connection to the broker yet,
and it may never have served a produce request. The two or three seconds this takes then affect a few partitions, not all."""
ELECTION_PATIENCE_SECONDS = 120.0


class LeaderActivities(Steps):
    """Preferred leader election."""

    @step
    def elect_leaders(self, request: StepRequest) -> int:
        """Make the first replicas of the plan's partitions their leaders; returns how many lead now.

        Raises:
            ElectionRefused: the controller has refused for `ELECTION_PATIENCE_SECONDS`.
        """
        clients = self._open(request.token.cluster)
        plan = plan_store.load_for(clients.kubernetes, request)
        names = {partition.name for partition in plan.planned}
        reporter, began, polls = Reporter.current(), time.monotonic(), count()

        def observe() -> int | None:
            snapshot = clients.kafka.snapshot()
            planned = [partition for partition in snapshot.partitions if partition.name in names]
            left = not_led_by_preferred(snapshot, planned)
            if not left:
                return len(planned)
            ensure_held(self._link, request.token)
            batch = left[: min(MOST_ELECTED, FIRST_ELECTED * 2 ** next(polls))]
            refused = clients.kafka.elect_preferred_leaders([partition.name for partition in batch])
            why = "; ".join(f"{name}: {reason}" for name, reason in list(refused.items())[:3])
            if refused and time.monotonic() - began > ELECTION_PATIENCE_SECONDS:
                raise ElectionRefused(f"preferred leaders were not elected: {why}")
            waiting = reporter.waiting(
                f"{len(left)} partitions are not led by their preferred leader. {why}", "the controller elects them"
            )
            reporter.report(Progress(done_partitions=len(planned) - len(left), total_partitions=len(planned), waiting=waiting))
            return None

        return poll(observe, soon=True)
