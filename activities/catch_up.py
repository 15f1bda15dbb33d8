"""Following the data: from the moment the broker is back until every replica it holds is in sync, as fast as is safe.

What is followed is what is on the broker's disk (DescribeLogDirs) and who is in sync (metadata), never what the last look
said. The throttle is adapted on the way; a source that comes up meanwhile gets its lease then.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities import ledgers
from activities.permits import ensure_held
from activities.replacement import load_frozen, planned_now
from activities.step import Link, Reporter, alive, looks
from activities.throttle import Throttling
from kafka_runbooks.clients.clusters import Clusters
from kafka_runbooks.models.cluster import ClusterSnapshot, Partition, Replica, TopicPartition
from kafka_runbooks.models.messages import StepRequest
from kafka_runbooks.models.plans import ReplacementPlan
from kafka_runbooks.models.status import Progress, Waiting
from kafka_runbooks.moves.progress import Pace
from kafka_runbooks.safety.availability import not_led_by_preferred, only_copy_on
from kafka_runbooks.throttle import controller

STILL_SECONDS = 60.0
"""Bytes and in-sync replicas that don't change for so long are an alarm, however long the copy has taken."""
ELECTION_PATIENCE_SECONDS = 120.0

FIRST_ELECTED = 4
"""Leaderships that a broker gets back at first, twice as many at each look after that: clients have no connection to it yet,
and it has never served a produce request. What stands still for that, a second or three, is a few partitions and not all."""

SOLE_REPLICA_PATIENCE_SECONDS = 15.0
"""How long the controller may take to make a partition's only replica lead again on its empty disk."""


def moves_to(partitions: Sequence[Partition], destination: int) -> list[tuple[Partition, Sequence[int]]]:
    return [(partition, (destination,)) for partition in partitions]


def bytes_arrived(plan: ReplacementPlan, on_disk: Mapping[Replica, int], in_sync: set[TopicPartition]) -> int:
    """Bytes of the plan that are on the destination; a partition in sync counts whole (retention may have shortened it)."""
    done = 0
    for partition in plan.partitions:
        if TopicPartition(partition.topic, partition.partition) in in_sync:
            done += partition.size_bytes
        else:
            done += min(partition.size_bytes, on_disk.get(Replica(partition.topic, partition.partition, plan.destination), 0))
    return done


class CatchUpActivities:
    """Throttle leases, the catch-up, and preferred leaders."""

    def __init__(self, clusters: Clusters, link: Link) -> None:
        self._clusters = clusters
        self._link = link

    @activity.defn(no_thread_cancel_exception=True)
    def take_throttle_leases(self, step: StepRequest) -> tuple[str, ...]:
        """Exact entries and rates on the live sources, before data flows; returns what is owned, in words."""
        clients = self._clusters.open(step.token.cluster)
        with alive():
            ensure_held(self._link, step.token)
            plan = load_frozen(clients, step.plan, ReplacementPlan)
            snapshot = clients.kafka.snapshot()
            moves = moves_to(planned_now(plan, snapshot), plan.destination)
            ledger = ledgers.read(clients.kubernetes, step.token)
            rate = controller.rate_before_data_flows(step.throttle)
            ledger = ledgers.throttle(clients.kafka, clients.kubernetes, ledger, moves, snapshot.live_broker_ids, rate)
            return ledger.describe()[:50]

    @activity.defn(no_thread_cancel_exception=True)
    def follow_catch_up(self, step: StepRequest) -> Progress:
        """Return when every replica of the broker is in sync. Never gives up by itself: it says why nothing moves."""
        clients = self._clusters.open(step.token.cluster)
        plan = load_frozen(clients, step.plan, ReplacementPlan)
        reporter, pace = Reporter(self._link, step.token), Pace()
        throttling = Throttling(clients, self._link, step.token, step.throttle)
        broker_id = step.place.broker_id
        for _ in looks():
            snapshot = clients.kafka.snapshot()
            live = snapshot.live_broker_ids
            assigned = list(snapshot.on_broker(broker_id))
            in_sync = {partition.name for partition in assigned if broker_id in partition.in_sync}
            on_disk = clients.kafka.replica_sizes([broker_id]).size_bytes if broker_id in live else {}
            done = bytes_arrived(plan, on_disk, in_sync)
            now = time.monotonic()
            pace.look(now, done + len(in_sync))
            down = brokers_down(snapshot) - {broker_id}
            late = [partition for partition in assigned if partition.name not in in_sync]
            throttling.look(moves_to(late, broker_id), live, hold_at_floor=bool(down), partitions=snapshot.partitions)
            waiting = why_still(reporter, snapshot, broker_id, late, down, pace.still_for_seconds(now))
            note = f"throttle: {throttling.why}"
            if pace.still_for_seconds(now) > SOLE_REPLICA_PATIENCE_SECONDS and (lost := given_up(step, late)):
                ensure_held(self._link, step.token)
                clients.kafka.elect_unclean_leaders(lost)
                note += f"; unclean election asked for {', '.join(map(str, lost[:5]))}, whose loss was acknowledged"
            progress = Progress(
                done_bytes=done,
                total_bytes=plan.total_bytes,
                done_partitions=len(in_sync),
                total_partitions=len(assigned),
                rate_bytes_per_s=pace.bytes_per_s,
                eta_seconds=pace.seconds_left(plan.total_bytes - done),
                throttle_bytes_per_s=throttling.rate_bytes_per_s,
                highest_throttle_bytes_per_s=throttling.highest_bytes_per_s,
                waiting=waiting,
                note=note,
            )
            reporter.report(progress)
            if broker_id in live and not late:
                return progress
        raise AssertionError("looks never end by themselves")

    @activity.defn(no_thread_cancel_exception=True)
    def elect_preferred_leaders(self, step: StepRequest) -> int:
        """Give leadership back to the first replicas of the plan's partitions; returns how many lead now."""
        clients = self._clusters.open(step.token.cluster)
        plan = load_frozen(clients, step.plan, ReplacementPlan)
        reporter = Reporter(self._link, step.token)
        began = time.monotonic()
        for number, _ in enumerate(looks(1.0)):
            snapshot = clients.kafka.snapshot()
            partitions = planned_now(plan, snapshot)
            left = not_led_by_preferred(snapshot, partitions)
            if not left:
                return len(partitions)
            ensure_held(self._link, step.token)
            batch = left[: FIRST_ELECTED * 2**number]
            refused = clients.kafka.elect_preferred_leaders([partition.name for partition in batch])
            why = "; ".join(f"{name}: {reason}" for name, reason in list(refused.items())[:3])
            if refused and time.monotonic() - began > ELECTION_PATIENCE_SECONDS:
                raise ApplicationError(f"preferred leaders were not elected: {why}", type="ElectionRefused", non_retryable=True)
            waiting = reporter.waiting(
                f"{len(left)} partitions are not led by their preferred leader. {why}", "the controller elects them"
            )
            reporter.report(
                Progress(done_partitions=len(partitions) - len(left), total_partitions=len(partitions), waiting=waiting)
            )
        raise AssertionError("looks never end by themselves")


def brokers_down(snapshot: ClusterSnapshot) -> set[int]:
    """Brokers that partitions are assigned to but that are not up."""
    return {broker for partition in snapshot.partitions for broker in partition.replicas} - snapshot.live_broker_ids


def given_up(step: StepRequest, late: Iterable[Partition]) -> list[TopicPartition]:
    """Leaderless partitions that have no replica but on this broker, and whose records somebody has acknowledged as lost.

    With KIP-966 the controller makes their last leader lead again, on its empty disk, as it is unfenced; but not always (seen on
    4.3.1, where the replica was not yet assigned to the new disk's log directory by then), and nothing makes it try again. Where
    another replica exists, however old, an unclean election could prefer the empty one: that is left to people.
    """
    return [
        partition.name
        for partition in late
        if partition.leader is None
        and partition.replicas == (step.place.broker_id,)
        and f"data-loss:{partition.topic}" in step.acknowledged_risks
    ]


def why_still(
    reporter: Reporter, snapshot: ClusterSnapshot, broker_id: int, late: Sequence[Partition], down: set[int], still_seconds: float
) -> Waiting | None:
    """Why the copy doesn't move, if it doesn't or must go slowly."""
    if broker_id not in snapshot.live_broker_ids:
        return reporter.waiting(f"broker {broker_id} is not registered with the controller", f"broker {broker_id} starts")
    if down:
        names = ", ".join(map(str, sorted(down)))
        stuck = [partition for partition in only_copy_on(snapshot, broker_id) if partition in late]
        reason = f"broker {names} is down too: recovery stays at its lowest rate"
        if stuck:
            reason += (
                f"; {len(stuck)} partitions have no live source: {', '.join(str(partition.name) for partition in stuck[:5])}"
            )
        return reporter.waiting(reason, f"broker {names} comes back", tuple(f"broker {broker}" for broker in sorted(down)))
    if late and still_seconds > STILL_SECONDS:
        since = datetime.now(UTC)
        return reporter.waiting(
            f"nothing arrived on broker {broker_id} for {still_seconds:.0f} s ({since:%H:%M:%S} UTC)",
            f"broker {broker_id} fetches again: look at its log, its network and its disk",
            tuple(str(partition.name) for partition in late[:20]),
        )
    return None
