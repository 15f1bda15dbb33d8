"""Substitution: the broker's partitions are reassigned onto another one, some at a time.

KIP-455. Each reassignment is written into the ledger before it is submitted. An attempt that comes after a crash looks which
partitions are where the plan wants them, which are on the way, and submits the next; what a controller failover lost is
simply not on the way, and is submitted again.
"""

import time

from temporalio import activity
from temporalio.exceptions import ApplicationError

from kafka_runbooks.activities import ledgers
from kafka_runbooks.activities.catch_up import Throttling, brokers_down, bytes_arrived
from kafka_runbooks.activities.permits import ensure_held
from kafka_runbooks.activities.running import Link, Reporter, looks
from kafka_runbooks.activities.survey import PLAN_DRIFT, drift, load_plan
from kafka_runbooks.clients.open import Clusters
from kafka_runbooks.models.cluster import ClusterSnapshot, TopicPartition
from kafka_runbooks.models.ledger import OwnedReassignment
from kafka_runbooks.models.plans import PlannedPartition, ReplacementPlan
from kafka_runbooks.models.status import Progress
from kafka_runbooks.models.steps import StepRequest
from kafka_runbooks.throttle.pace import Pace

MOVES_AT_ONCE = 10
"""Reassignments in flight: few enough that a pause or a cancel is soon felt, enough to keep the sources busy."""


def still_to_move(plan: ReplacementPlan, snapshot: ClusterSnapshot) -> dict[TopicPartition, PlannedPartition]:
    """The plan's partitions that exist and are not where the plan wants them."""
    now = {partition.name: partition.replicas for partition in snapshot.partitions}
    planned = {TopicPartition(partition.topic, partition.partition): partition for partition in plan.partitions}
    return {name: partition for name, partition in planned.items() if name in now and now[name] != partition.after}


class ReassigningActivities:
    def __init__(self, clusters: Clusters, link: Link) -> None:
        self._clusters = clusters
        self._link = link

    @activity.defn(no_thread_cancel_exception=True)
    def reassign_partitions(self, step: StepRequest) -> Progress:
        """Return when every partition of the plan is where it should be. Cancelled (a pause): what is in flight goes on.

        Raises:
            ApplicationError: `PlanDrift`, where somebody moved partitions of the plan elsewhere meanwhile.
        """
        clients = self._clusters.open(step.token.cluster)
        plan = load_plan(clients, step.plan)
        reporter, throttling, pace = Reporter(self._link, step.token), Throttling(clients, self._link, step), Pace()
        for _ in looks():
            moving = {move.name: move for move in clients.kafka.reassignments()}
            snapshot = clients.kafka.snapshot()
            left = still_to_move(plan, snapshot)
            changes = [change for change in drift(plan, snapshot) if change.split(":")[0] not in {str(name) for name in moving}]
            if changes:
                raise ApplicationError("; ".join(changes[:5]), type=PLAN_DRIFT, non_retryable=True)
            partitions = {partition.name: partition for partition in snapshot.partitions}
            in_flight = [name for name in left if name in moving]
            window = [name for name in sorted(left) if name not in moving][: max(0, MOVES_AT_ONCE - len(in_flight))]
            down = brokers_down(snapshot)
            held = plan.destination in down
            copying = [(partitions[name], (plan.destination,)) for name in [*in_flight, *window]]
            throttling.look(copying, snapshot.live_broker_ids, hold_at_floor=bool(down - {plan.broker_id}))
            if window and not held:
                ensure_held(self._link, step.token)
                ledger = ledgers.read(clients.kubernetes, step.token)
                owned = [
                    OwnedReassignment(
                        topic=name.topic, partition=name.partition, before=left[name].before, after=left[name].after
                    )
                    for name in window
                ]
                ledger = ledgers.own_reassignments(clients.kubernetes, ledger, owned)
                rates = throttling.wanted(copying, snapshot.live_broker_ids)
                ledgers.throttle(clients.kafka, clients.kubernetes, ledger, copying, snapshot.live_broker_ids, rates)
                refused = clients.kafka.alter_reassignments({name: left[name].after for name in window})
                if refused:
                    name, why = next(iter(refused.items()))
                    raise ApplicationError(f"{name} was not reassigned: {why}", type="ReassignmentRefused")
            on_disk = clients.kafka.replica_sizes([plan.destination]).size_bytes if not held else {}
            arrived = {TopicPartition(p.topic, p.partition) for p in plan.partitions} - set(left)
            done = bytes_arrived(plan, on_disk, arrived)
            pace.look(time.monotonic(), done)
            waiting = None
            if held:
                waiting = reporter.waiting(
                    f"broker {plan.destination} is down: no new reassignment is started", f"broker {plan.destination} comes back"
                )
            progress = Progress(
                done_bytes=done,
                total_bytes=plan.total_bytes,
                done_partitions=len(arrived),
                total_partitions=len(plan.partitions),
                rate_bytes_per_s=pace.bytes_per_s,
                eta_seconds=pace.seconds_left(plan.total_bytes - done),
                throttle_bytes_per_s=throttling.rate_bytes_per_s,
                highest_throttle_bytes_per_s=throttling.highest_bytes_per_s,
                waiting=waiting,
                note=f"throttle: {throttling.why}; {len(in_flight)} in flight",
            )
            reporter.report(progress)
            if not left and not any(name in moving for name in partitions if name in arrived):
                return progress
        raise AssertionError("looks never end by themselves")
