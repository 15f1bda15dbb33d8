"""Topics made, configured and grown by a plan. Each step looks before it acts, and does only what is left to do.

So a worker may die between any two calls, and a topic that somebody else has made or changed meanwhile is found: it is never
overwritten, the rest is planned again.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import TypeVar

from activities import applied_topics, plan_store
from activities.errors import PlanDrift, TopicsRefused
from activities.permits import Fence
from activities.step import Reporter, Steps, poll, step
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.models.cluster import ClusterSnapshot
from kafka_runbooks.models.messages import StepRequest, TopicStepRequest
from kafka_runbooks.models.status import Progress
from kafka_runbooks.models.topic_changes import ConfigChange, NewPartitions
from kafka_runbooks.models.topic_plan import TopicPlan

AT_ONCE = 200
"""Topics in a call, before each of which the fence is asked."""
REFUSAL_PATIENCE_SECONDS = 20.0
"""How long a refusal is asked again: a quota of the controller's passes, and so does a change of controllers."""
SHOWN = 5

T = TypeVar("T")


class TopicActivities(Steps):
    """The steps of `TopicReconcile`."""

    @step
    def create_topics(self, request: StepRequest) -> int:
        """Make the plan's topics; returns how many there are.

        Raises:
            PlanDrift: somebody else has made one meanwhile.
            TopicsRefused: Kafka refuses some; the others are made.
        """
        clients, fence, plan = self._begin(request)
        wanted = {one.name: one for one in plan.creations}

        def left(snapshot: ClusterSnapshot) -> list[str]:
            foreign = [
                name for name, one in wanted.items() if name in snapshot.by_topic and _rows(snapshot, name) != list(one.replicas)
            ]
            if foreign:
                raise PlanDrift(f"made by somebody else since the plan was: {_some(foreign)}")
            return [name for name in wanted if name not in snapshot.by_topic]

        def act(names: Sequence[str]) -> Mapping[str, str]:
            return clients.kafka.create_topics([wanted[name] for name in names])

        snapshot = _until_done(clients, fence, wanted, left, act)
        made = {name: topic_id for name, topic_id in snapshot.topic_ids.items() if name in wanted}
        applied_topics.add(clients.kubernetes, fence, plan.cluster, plan.applied((), made))
        return len(wanted)

    @step
    def add_partitions(self, request: TopicStepRequest) -> int:
        """Grow the plan's topics, those that are moved only once they have moved; returns how many.

        Raises:
            PlanDrift: one is another topic by now, or somebody else has grown it.
            TopicsRefused: Kafka refuses some; the others have grown.
        """
        clients, fence, plan = self._begin(request.step)
        wanted = {one.topic: one for one in (plan.growths if request.has_moved else plan.growths_before_moves())}

        def left(snapshot: ClusterSnapshot) -> list[str]:
            _raise_if_others(snapshot, {name: one.topic_id for name, one in wanted.items()})
            rows = {name: _rows(snapshot, name) for name in wanted}
            if foreign := [name for name, one in wanted.items() if not _is_expected(one, rows[name])]:
                raise PlanDrift(f"grown by somebody else since the plan was made: {_some(foreign)}")
            return [name for name, one in wanted.items() if len(rows[name]) == one.partitions_before]

        def act(names: Sequence[str]) -> Mapping[str, str]:
            return clients.kafka.add_partitions([wanted[name] for name in names])

        _until_done(clients, fence, wanted, left, act)
        return len(wanted)

    @step
    def set_topic_configs(self, request: TopicStepRequest) -> int:
        """Set the plan's configs, those that wait for replicas only once these are there; returns on how many topics.

        Raises:
            PlanDrift: one is another topic by now, or somebody else has changed what was planned from.
            TopicsRefused: Kafka refuses some; the others are set.
        """
        clients, fence, plan = self._begin(request.step)
        wanted = {one.topic: one for one in (plan.configs if request.has_moved else plan.configs_before_moves())}
        applied_topics.add(clients.kubernetes, fence, plan.cluster, plan.applied(tuple(wanted.values()), {}))

        def left(snapshot: ClusterSnapshot) -> list[str]:
            _raise_if_others(snapshot, {name: one.topic_id for name, one in wanted.items()})
            own = clients.kafka.topic_configs(wanted).own
            if foreign := [f"{name} {key}" for name, one in wanted.items() for key in _changed(one, own.get(name, {}))]:
                raise PlanDrift(f"set by somebody else since the plan was made: {_some(foreign)}")
            return [
                name
                for name, one in wanted.items()
                if any(own.get(name, {}).get(key) != value for key, value in one.wanted.items())
            ]

        def act(names: Sequence[str]) -> Mapping[str, str]:
            return clients.kafka.set_topic_configs({name: wanted[name].wanted for name in names})

        _until_done(clients, fence, wanted, left, act)
        return len(wanted)

    def _begin(self, request: StepRequest) -> tuple[ClusterClients, Fence, TopicPlan]:
        clients = self._open(request.token.cluster)
        plan = plan_store.load_as(clients.kubernetes, request.plan, TopicPlan)
        return clients, Fence(self._link, request.token), plan


def _until_done(
    clients: ClusterClients,
    fence: Fence,
    wanted: Mapping[str, object],
    left: Callable[[ClusterSnapshot], list[str]],
    act: Callable[[Sequence[str]], Mapping[str, str]],
) -> ClusterSnapshot:
    """Look, act on what is left, and look again until nothing is; returns the last look.

    An answer says little: brokers hear of a change after it was made, and a request that was repeated finds its own work.

    Raises:
        TopicsRefused: what is left was refused each time.
    """
    reporter, refused_since = Reporter.current(), 0.0

    def observe() -> ClusterSnapshot | None:
        nonlocal refused_since
        snapshot = clients.kafka.snapshot(wanted.keys())
        names = left(snapshot)
        reporter.report(Progress(done_partitions=len(wanted) - len(names), total_partitions=len(wanted)))
        if not names:
            return snapshot
        refused: dict[str, str] = {}
        for some in _batches(names):
            fence.check()
            refused |= act(some)
        if len(refused) < len(names):
            refused_since = 0.0
            return None
        refused_since = refused_since or time.monotonic()
        if time.monotonic() - refused_since > REFUSAL_PATIENCE_SECONDS:
            shown = "; ".join(f"{name}: {why}" for name, why in sorted(refused.items())[:SHOWN])
            raise TopicsRefused(f"{len(refused)} of {len(wanted)} topics are refused: {shown}")
        return None

    return poll(observe, soon=True)


def _raise_if_others(snapshot: ClusterSnapshot, topic_ids: Mapping[str, str | None]) -> None:
    """A topic that was made again under its name is another one."""
    known = {name: topic_id for name, topic_id in topic_ids.items() if topic_id is not None}
    others = [name for name in topic_ids if name not in snapshot.by_topic] + sorted(snapshot.renewed_topics(known))
    if others:
        raise PlanDrift(f"deleted, or made again, since the plan was made: {_some(others)}")


def _rows(snapshot: ClusterSnapshot, topic: str) -> list[tuple[int, ...]]:
    return [partition.replicas for partition in snapshot.by_topic.get(topic, ())]


def _is_expected(one: NewPartitions, rows: Sequence[tuple[int, ...]]) -> bool:
    return len(rows) == one.partitions_before or rows[one.partitions_before :] == list(one.replicas)


def _changed(one: ConfigChange, own: Mapping[str, str]) -> list[str]:
    return [key for key, value in one.values.items() if own.get(key) not in (value.before, value.after)]


def _batches(names: Iterable[T]) -> Iterable[list[T]]:
    rest = iter(names)
    while some := list(islice(rest, AT_ONCE)):
        yield some


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
