"""Brokers that catch up by themselves: throttled from look to look, by the same rates as whatever a runbook copies."""

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.catch_up import brokers_down
from activities.step import Link, Reporter, looks
from activities.throttle import Throttling
from kafka_runbooks.clients.clusters import Clusters
from kafka_runbooks.models.messages import RecoveryStep
from kafka_runbooks.models.status import Progress
from kafka_runbooks.throttle import leases


class RecoveringActivities:
    def __init__(self, clusters: Clusters, link: Link) -> None:
        self._clusters = clusters
        self._link = link

    @activity.defn(no_thread_cancel_exception=True)
    def follow_recovery(self, step: RecoveryStep) -> Progress:
        """Throttle what the brokers fetch, from look to look, until every replica on them is in sync.

        Raises:
            ApplicationError: `NoSuchBroker`, not retryable: none of them holds a replica.
        """
        clients = self._clusters.open(step.token.cluster)
        reporter = Reporter(self._link, step.token)
        throttling = Throttling(clients, self._link, step.token, step.throttle)
        for _ in looks():
            snapshot = clients.kafka.snapshot()
            held = [(broker, partition) for broker in step.brokers for partition in snapshot.on_broker(broker)]
            if not held:
                names = ", ".join(map(str, step.brokers))
                raise ApplicationError(f"brokers: {names} hold no replica", type="NoSuchBroker", non_retryable=True)
            moves = leases.catching_up(snapshot.partitions, step.brokers)
            away = sorted(set(step.brokers) - snapshot.live_broker_ids)
            down = brokers_down(snapshot) - set(step.brokers)
            throttling.look(moves, snapshot.live_broker_ids, hold_at_floor=bool(down), partitions=snapshot.partitions)
            missing = sum(len(late) for _, late in moves)
            waiting = None
            if away:
                names = ", ".join(map(str, away))
                waiting = reporter.waiting(f"broker {names} is not registered with the controller", f"broker {names} starts")
            progress = Progress(
                done_partitions=len(held) - missing,
                total_partitions=len(held),
                throttle_bytes_per_s=throttling.rate_bytes_per_s,
                highest_throttle_bytes_per_s=throttling.highest_bytes_per_s,
                waiting=waiting,
                note=f"throttle: {throttling.why}",
            )
            reporter.report(progress)
            if not missing:
                return progress
        raise AssertionError("looks never end by themselves")
