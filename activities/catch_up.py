"""Following brokers that catch up: until every replica they hold is in sync, as fast as is safe.

Progress is read from the brokers' disks (DescribeLogDirs) and the in-sync replicas (metadata), never carried over from the last
observation. The throttle is adapted at every poll; a source that comes up later gets its lease then.
"""

import time

from activities import ledgers, plan_store
from activities.errors import NoReplica
from activities.looks import LOOK_SECONDS
from activities.permits import Fence, ensure_held
from activities.step import Reporter, Steps, heartbeating, poll, step
from activities.throttle import Throttling
from kafka_runbooks.models.cluster import Direction, Replica, ReplicaSizes, ThrottleRates
from kafka_runbooks.models.messages import RecoveryRequest, StepRequest
from kafka_runbooks.models.moves import Copy
from kafka_runbooks.models.replacement import ReplacementPlan
from kafka_runbooks.models.status import Progress
from kafka_runbooks.moves.catch_up import acknowledged_losses, copied_to, hold
from kafka_runbooks.moves.progress import Pace
from kafka_runbooks.safety.urgency import urgent_among
from kafka_runbooks.throttle import controller, leases

SOLE_REPLICA_PATIENCE_SECONDS = 15.0
"""How long the controller may take to make a partition's only replica lead again on its empty disk."""


class CatchUpActivities(Steps):
    """Throttle leases, and the catch-up."""

    @step
    def take_throttle_leases(self, request: StepRequest) -> tuple[str, ...]:
        """Exact entries and rates on the live sources, before data flows; returns what the run now owns, one line each.

        A source that sends to another of the plan's brokers already keeps its rate: it is the sum that counts.
        """
        clients = self._open(request.token.cluster)
        with heartbeating():
            fence = Fence(self._link, request.token)
            fence.check()
            plan = plan_store.load_as(clients.kubernetes, request.plan, ReplacementPlan)
            snapshot = clients.kafka.snapshot()
            names, live = {partition.name for partition in plan.partitions}, snapshot.live_broker_ids
            arriving = [
                Copy(partition, plan.arriving(partition.replicas, request.broker_ids))
                for partition in snapshot.partitions
                if partition.name in names
            ]
            copies = [copy for copy in arriving if copy.destinations]
            ledger = ledgers.read(clients.kubernetes, request.token)
            first = ThrottleRates(leader_bytes_per_s=controller.rate_before_data_flows(plan.throttle))
            held = {broker: lease.ours for broker, lease in ledger.rates.items() if Direction.LEADER in lease.directions}
            rates = {broker: held.get(broker, first) for broker in leases.sources_of(copies, live)}
            ledger = ledgers.throttle(clients.kafka, clients.kubernetes, fence, ledger, copies, live, rates)
            return ledger.describe()[:50]

    @step
    def follow_catch_up(self, request: StepRequest) -> Progress:
        """Return when every replica of the plan's brokers is in sync. Never gives up: it reports why nothing moves."""
        clients = self._open(request.token.cluster)
        plan = plan_store.load_as(clients.kubernetes, request.plan, ReplacementPlan)
        reporter, pace = Reporter.current(), Pace()
        throttling = Throttling(clients, self._link, request.token, plan.throttle)
        planned_bytes = {partition.name: partition.size_bytes for partition in plan.partitions}
        broker_ids = frozenset(plan.broker_ids)
        last: ReplicaSizes | None = None

        def observe() -> Progress | None:
            nonlocal last
            known = leases.catching_up(clients.snapshots.recent(LOOK_SECONDS).partitions, broker_ids)
            snapshot = clients.snapshots.with_topics({copy.partition.topic for copy in known}, LOOK_SECONDS)
            late = leases.catching_up(snapshot.partitions, broker_ids)
            if not late:  # That is final, and so it is asked of everything as of now.
                snapshot = clients.snapshots.now()
                late = leases.catching_up(snapshot.partitions, broker_ids)
            live = snapshot.live_broker_ids
            asked = {
                Replica(*copy.partition.name, broker)
                for copy in late
                for broker in live.intersection((*copy.partition.replicas, *copy.destinations))
            }
            sizes = clients.kafka.sizes_of(asked)
            last = sizes.filled_from(last)
            assigned = {broker_id: list(snapshot.on_broker(broker_id)) for broker_id in plan.broker_ids}
            brokers = tuple(copied_to(broker_id, planned_bytes, found, last) for broker_id, found in assigned.items())
            done, total = sum(one.done_bytes for one in brokers), sum(one.total_bytes for one in brokers)
            in_sync = sum(one.in_sync_partitions for one in brokers)
            now = time.monotonic()
            pace.observe(now, done + in_sync)
            urgency = urgent_among((copy.partition for copy in late), snapshot)
            throttling.adapt(late, live, expected_down=broker_ids, followers=snapshot.followers, urgency=urgency, sizes=sizes)
            held = hold(snapshot, broker_ids, late, pace.still_for_seconds(now), set(sizes.unanswered_broker_ids) & live)
            waiting = None if held is None else reporter.waiting(held.reason, held.resumes_when, held.blocking)
            note = f"throttle: {throttling.reason}"
            is_still = plan.copies_everything and pace.still_for_seconds(now) > SOLE_REPLICA_PATIENCE_SECONDS
            if is_still and (
                lost := acknowledged_losses(broker_ids & live, (copy.partition for copy in late), request.acknowledged_risks)
            ):
                ensure_held(self._link, request.token)
                refused = clients.kafka.elect_unclean_leaders(lost)
                note += f"; unclean election asked for {', '.join(map(str, lost[:5]))}, whose loss was acknowledged"
                note += "".join(f"; refused for {name}: {reason}" for name, reason in list(refused.items())[:3])
            progress = Progress(
                brokers=brokers if len(brokers) > 1 else (),
                done_bytes=done,
                total_bytes=total,
                done_partitions=in_sync,
                total_partitions=sum(one.partitions for one in brokers),
                rate_bytes_per_s=pace.bytes_per_s,
                eta_seconds=pace.seconds_left(total - done),
                throttle_bytes_per_s=throttling.rate_bytes_per_s,
                highest_throttle_bytes_per_s=throttling.highest_bytes_per_s,
                waiting=waiting,
                note=note,
            )
            reporter.report(progress)
            return progress if broker_ids <= live and not late else None

        return poll(observe)

    @step
    def follow_recovery(self, request: RecoveryRequest) -> Progress:
        """Throttle brokers that catch up on their own, until every replica on them is in sync.

        Raises:
            NoReplica: none of the brokers holds a replica.
        """
        clients = self._open(request.token.cluster)
        reporter = Reporter.current()
        throttling = Throttling(clients, self._link, request.token, request.throttle)
        names = ", ".join(map(str, request.brokers))

        def observe() -> Progress | None:
            snapshot = clients.kafka.snapshot()
            known = snapshot.registered_broker_ids | snapshot.down_broker_ids
            if unknown := sorted(set(request.brokers) - known):
                raise NoReplica(f"brokers: {unknown} are unknown to the cluster; known: {sorted(known)}")
            total = sum(1 for broker in request.brokers for _ in snapshot.on_broker(broker))
            if not total:
                raise NoReplica(f"brokers: {names} hold no replica")
            copies = leases.catching_up(snapshot.partitions, request.brokers)
            throttling.adapt(
                copies,
                snapshot.live_broker_ids,
                expected_down=request.brokers,
                followers=snapshot.followers,
                urgency=urgent_among((copy.partition for copy in copies), snapshot),
            )
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
