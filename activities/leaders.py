"""Leadership back to the preferred leaders, in growing batches.

The controller refuses a partition whose preferred leader is down or not in sync. That is no reason to give up on the others, nor
to fail: it is waited for as long as anything else moves and a while longer, and what is refused for good then fails the exit
contract by name. No broker leads before its followers find it (`safety.addresses`).
"""

import math
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from itertools import count

from activities import plan_store
from activities.permits import Fence
from activities.step import Reporter, Steps, poll, step
from kafka_runbooks.models.cluster import Partition, TopicPartition
from kafka_runbooks.models.messages import StepRequest
from kafka_runbooks.models.status import Progress
from kafka_runbooks.safety.addresses import may_be_missed
from kafka_runbooks.safety.availability import listed, not_led_by_preferred

FIRST_ELECTED, GROWTH, MOST_ELECTED = 4, 8, 500
"""Leaderships that a broker gets in the first batch, how many times more in each next one, and the most of a batch: clients have
no connection to it yet, and it may never have served a produce request. The second that this takes then affects a few partitions,
not all."""
HEARD_SECONDS = 0.2
"""After its answer the controller's decision reaches the brokers."""
ELECTION_PATIENCE_SECONDS = 120.0
"""How long nothing has been elected before the rest is left as it is."""
FORGOTTEN = "caches forget it (`address_cache_seconds` of the cluster's entry)"


class LeaderActivities(Steps):
    """Preferred leader election."""

    @step
    def elect_leaders(self, request: StepRequest) -> int:
        """Make the first replicas of the plan's partitions their leaders; returns how many lead now.

        With `broker_ids` only what these brokers should lead. Fewer than all where the controller goes on refusing the rest: the
        exit contract names those.
        """
        clients = self._open(request.token.cluster)
        plan = plan_store.load_for(clients.kubernetes, request)
        only = set(request.broker_ids)
        names = {one.name for one in plan.planned if not only or (one.after and one.after[0] in only)}
        # To be led by others whatever their order is: they may be led by another one than the preferred replica now.
        emptied = set(plan.promises.leaderless_brokers)
        reporter, fence, polls = Reporter.current(), Fence(self._link, request.token), count()
        moved_at, fewest = time.monotonic(), math.inf
        asked: dict[TopicPartition, int] = {}

        def look() -> tuple[list[Partition], int]:
            """What is not led as planned, and how many are."""
            snapshot = clients.kafka.snapshot()
            gone = plan.gone(snapshot)
            planned = [
                partition
                for partition in snapshot.partitions
                if (partition.name in names and partition.name not in gone) or partition.leader in emptied
            ]
            left = not_led_by_preferred(snapshot, planned)
            return left, len(planned) - len(left)

        def report(left: Sequence[Partition], led: int, why: str, until: str, refused: Collection[TopicPartition] = ()) -> None:
            reason = f"{len(left)} partitions are not led by their preferred leader. {why}".strip()
            waiting = reporter.waiting(reason, until, tuple(str(name) for name in sorted(refused)[:20]))
            reporter.report(Progress(done_partitions=led, total_partitions=led + len(left), waiting=waiting))

        def observe() -> int | None:
            nonlocal moved_at, fewest
            left, led = look()
            if not left:
                return led
            kept, now = clients.settings.address_cache_seconds, datetime.now(UTC)
            missed = {pod.broker_id for pod in clients.kubernetes.broker_pods() if may_be_missed(pod, kept, now)}
            able = [partition for partition in left if partition.replicas[0] not in missed]
            if len(left) < fewest or len(able) < len(left):
                moved_at, fewest = time.monotonic(), len(left)
            if time.monotonic() - moved_at > ELECTION_PATIENCE_SECONDS:
                return led
            fence.check()
            if not able:
                brokers = listed(sorted({partition.replicas[0] for partition in left}))
                report(left, led, f"Followers may still connect to the former address of broker {brokers}", FORGOTTEN)
                return None
            # Those that were refused come after those that weren't asked for yet.
            able.sort(key=lambda partition: (asked.get(partition.name, 0), partition.name))
            batch = _batch(able, FIRST_ELECTED * GROWTH ** min(next(polls), 3))
            asked.update({name: asked.get(name, 0) + 1 for name in batch})
            refused = clients.kafka.elect_preferred_leaders(batch)
            why = "; ".join(f"{name}: {reason}" for name, reason in list(refused.items())[:3])
            report(left, led, why, "the controller elects them", refused)
            if refused or len(batch) < len(left):
                return None
            time.sleep(HEARD_SECONDS)
            left, led = look()
            return None if left else led

        return poll(observe, soon=True)


def _batch(partitions: Iterable[Partition], each: int) -> list[TopicPartition]:
    """The first ones, at most `each` of a preferred leader and `MOST_ELECTED` in all."""
    taken, batch = Counter[int](), list[TopicPartition]()
    for partition in partitions:
        leader = partition.replicas[0]
        if taken[leader] < each and len(batch) < MOST_ELECTED:
            taken[leader] += 1
            batch.append(partition.name)
    return batch
