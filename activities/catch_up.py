"""Following brokers that catch up: until every replica they hold is in sync, as fast as is safe.

Progress is read from the brokers' disks (DescribeLogDirs) and the in-sync replicas (metadata), never carried over from the last
observation. The throttle is adapted at every poll; a source that comes up later gets its lease then.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from activities import ledgers, plan_store
from activities.errors import NoReplica
from activities.permits import ensure_held
from activities.step import Reporter, Steps, heartbeating, poll, step
from activities.throttle import Throttling
from kafka_runbooks.models.cluster import ClusterSnapshot, Partition, Replica, TopicPartition
from kafka_runbooks.models.messages import RecoveryRequest, StepRequest
from kafka_runbooks.models.moves import Copy
from kafka_runbooks.models.replacement import ReplacementPlan
from kafka_runbooks.models.status import Progress, Waiting
from kafka_runbooks.moves.progress import Pace
from kafka_runbooks.safety.availability import only_copy_on
from kafka_runbooks.throttle import controller, leases

STILL_SECONDS = 60.0
"""No change of bytes and in-sync replicas for this long is reported."""

SOLE_REPLICA_PATIENCE_SECONDS = 15.0
"""How long the controller may take to make a partition's only replica lead again on its empty disk."""


class CatchUpActivities(Steps):
    """Throttle leases, and the catch-up."""

    @step
    def take_throttle_leases(self, request: StepRequest) -> tuple[str, ...]:
        """Exact entries and rates on the live sources, before data flows; returns what the run now owns, one line each."""
        clients = self._open(request.token.cluster)
        with heartbeating():
            ensure_held(self._link, request.token)
            plan = plan_store.load_as(clients.kubernetes, request.plan, ReplacementPlan)
            snapshot = clients.kafka.snapshot()
            names = {partition.name for partition in plan.partitions}
            copies = copies_to(plan.destination, (one for one in snapshot.partitions if one.name in names))
            ledger = ledgers.read(clients.kubernetes, request.token)
            rate = controller.rate_before_data_flows(plan.throttle)
            ledger = ledgers.throttle(clients.kafka, clients.kubernetes, ledger, copies, snapshot.live_broker_ids, rate)
            return ledger.describe()[:50]

    @step
    def follow_catch_up(self, request: StepRequest) -> Progress:
        """Return when every replica of the plan's broker is in sync. Never gives up: it reports why nothing moves."""
        clients = self._open(request.token.cluster)
        plan = plan_store.load_as(clients.kubernetes, request.plan, ReplacementPlan)
        reporter, pace = Reporter(self._link, request.token), Pace()
        throttling = Throttling(clients, self._link, request.token, plan.throttle)
        broker_id = plan.broker_id

        def observe() -> Progress | None:
            snapshot = clients.kafka.snapshot()
            live = snapshot.live_broker_ids
            assigned = list(snapshot.on_broker(broker_id))
            in_sync = {partition.name for partition in assigned if broker_id in partition.in_sync}
            on_disk = clients.kafka.replica_sizes([broker_id]).size_bytes if broker_id in live else {}
            done = bytes_arrived(plan, on_disk, in_sync)
            now = time.monotonic()
            pace.observe(now, done + len(in_sync))
            down = brokers_down(snapshot) - {broker_id}
            late = [partition for partition in assigned if partition.name not in in_sync]
            throttling.adapt(copies_to(broker_id, late), live, hold_at_floor=bool(down), partitions=snapshot.partitions)
            waiting = why_still(reporter, snapshot, broker_id, late, down, pace.still_for_seconds(now))
            note = f"throttle: {throttling.reason}"
            if pace.still_for_seconds(now) > SOLE_REPLICA_PATIENCE_SECONDS and (lost := given_up(request, broker_id, late)):
                ensure_held(self._link, request.token)
                refused = clients.kafka.elect_unclean_leaders(lost)
                note += f"; unclean election asked for {', '.join(map(str, lost[:5]))}, whose loss was acknowledged"
                note += "".join(f"; refused for {name}: {reason}" for name, reason in list(refused.items())[:3])
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
            return progress if broker_id in live and not late else None

        return poll(observe)

    @step
    def follow_recovery(self, request: RecoveryRequest) -> Progress:
        """Throttle brokers that catch up on their own, until every replica on them is in sync.

        Raises:
            NoReplica: none of the brokers holds a replica.
        """
        clients = self._open(request.token.cluster)
        reporter = Reporter(self._link, request.token)
        throttling = Throttling(clients, self._link, request.token, request.throttle)
        names = ", ".join(map(str, request.brokers))

        def observe() -> Progress | None:
            snapshot = clients.kafka.snapshot()
            total = sum(1 for broker in request.brokers for _ in snapshot.on_broker(broker))
            if not total:
                raise NoReplica(f"brokers: {names} hold no replica")
            copies = leases.catching_up(snapshot.partitions, request.brokers)
            down = brokers_down(snapshot) - set(request.brokers)
            throttling.adapt(copies, snapshot.live_broker_ids, hold_at_floor=bool(down), partitions=snapshot.partitions)
            missing = sum(len(copy.destinations) for copy in copies)
            waiting = None
            if away := sorted(set(request.brokers) - snapshot.live_broker_ids):
                who = ", ".join(map(str, away))
                waiting = reporter.waiting(f"broker {who} is not registered with the controller", f"broker {who} starts")
            progress = Progress(
                done_partitions=total - missing,
                total_partitions=total,
                throttle_bytes_per_s=throttling.rate_bytes_per_s,
                highest_throttle_bytes_per_s=throttling.highest_bytes_per_s,
                waiting=waiting,
                note=f"throttle: {throttling.reason}",
            )
            reporter.report(progress)
            return None if missing else progress

        return poll(observe)


def copies_to(destination: int, partitions: Iterable[Partition]) -> list[Copy]:
    """Copies of whole partitions onto one broker."""
    return [Copy(partition, (destination,)) for partition in partitions]


def bytes_arrived(plan: ReplacementPlan, on_disk: Mapping[Replica, int], in_sync: set[TopicPartition]) -> int:
    """Bytes of the plan that are on the destination; a partition in sync counts in full (retention may have shortened it)."""
    return sum(
        partition.size_bytes
        if partition.name in in_sync
        else min(partition.size_bytes, on_disk.get(Replica(partition.topic, partition.partition, plan.destination), 0))
        for partition in plan.partitions
    )


def brokers_down(snapshot: ClusterSnapshot) -> set[int]:
    """Brokers with assigned partitions that are not up."""
    return {broker for partition in snapshot.partitions for broker in partition.replicas} - snapshot.live_broker_ids


def given_up(request: StepRequest, broker_id: int, late: Iterable[Partition]) -> list[TopicPartition]:
    """Leaderless partitions that have no replica but on this broker, and whose loss an operator has acknowledged.

    With KIP-966 the controller makes their last leader lead again, on its empty disk, as it is unfenced; but not always (observed
    on 4.3.1, where the replica was not yet assigned to the new disk's log directory), and it doesn't retry. Where another
    replica exists, however old, an unclean election could prefer the empty one: that decision is left to operators.
    """
    return [
        partition.name
        for partition in late
        if partition.leader is None
        and partition.replicas == (broker_id,)
        and f"data-loss:{partition.topic}" in request.acknowledged_risks
    ]


def why_still(
    reporter: Reporter, snapshot: ClusterSnapshot, broker_id: int, late: Sequence[Partition], down: set[int], still_seconds: float
) -> Waiting | None:
    """Why the copy stands still, or why it has to be slow."""
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
        return reporter.waiting(
            f"nothing arrived on broker {broker_id} for {still_seconds:.0f} s ({datetime.now(UTC):%H:%M:%S} UTC)",
            f"broker {broker_id} fetches again: check its log, its network and its disk",
            tuple(str(partition.name) for partition in late[:20]),
        )
    return None
