"""Topics made, configured, grown and deleted by a plan. Each step looks before it acts, and does only what is left to do.

So a worker may die between any two calls, and a topic that somebody else has made or changed meanwhile is found: it is never
overwritten, the rest is planned again.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import TypeVar

from activities import applied_topics, plan_store
from activities.errors import PlanDrift, TopicsRefused
from activities.permits import Fence
from activities.step import Reporter, Steps, poll, raise_if_stopped, step
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.models import labels
from kafka_runbooks.models.cluster import ClusterSnapshot
from kafka_runbooks.models.messages import StepRequest, TopicStepRequest
from kafka_runbooks.models.status import Progress
from kafka_runbooks.models.topic_changes import ConfigChange, NewPartitions
from kafka_runbooks.models.topic_plan import TopicPlan
from kafka_runbooks.topics.reading import read_config_map, together

AT_ONCE = 200
"""Topics in a call, before each of which the fence is asked."""
PATIENCE_SECONDS = 30.0
"""How long the same is asked for again in vain: a quota of the controller's passes, and so does a change of controllers."""
HEARD_SECONDS, HEARD_WITHIN_SECONDS = 0.3, 20.0
"""After its answer the controller's decision reaches the brokers."""
SHOWN = 5

T = TypeVar("T")


class TopicActivities(Steps):
    """The steps of `TopicReconcile`."""

    @step
    def create_topics(self, request: StepRequest) -> int:
        """Make the plan's topics; returns how many there are.

        Raises:
            PlanDrift: somebody else has made one meanwhile, or a broker that is to have replicas is down.
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
            missing = [name for name in wanted if name not in snapshot.by_topic]
            _raise_if_down(snapshot, {name: wanted[name].replicas for name in missing})
            return missing

        def act(names: Sequence[str]) -> Mapping[str, str]:
            return clients.kafka.create_topics([wanted[name] for name in names])

        snapshot = _until_done(clients, fence, wanted, left, act)
        made = {name: topic_id for name, topic_id in snapshot.topic_ids.items() if name in wanted}
        applied_topics.add(clients.kubernetes, fence, plan.cluster, plan.made(made))
        return len(wanted)

    @step
    def add_partitions(self, request: TopicStepRequest) -> int:
        """Grow the plan's topics, those that are moved only once they have moved; returns how many.

        Raises:
            PlanDrift: one is another topic by now, somebody else has grown it, or a broker that is to have replicas is down.
            TopicsRefused: Kafka refuses some; the others have grown.
        """
        clients, fence, plan = self._begin(request.step)
        wanted = {one.topic: one for one in (plan.growths if request.has_moved else plan.growths_before_moves())}

        def left(snapshot: ClusterSnapshot) -> list[str]:
            _raise_if_others(snapshot, {name: one.topic_id for name, one in wanted.items()})
            rows = {name: _rows(snapshot, name) for name in wanted}
            if foreign := [name for name, one in wanted.items() if not _is_expected(one, rows[name])]:
                raise PlanDrift(f"grown by somebody else since the plan was made: {_some(foreign)}")
            short = [name for name, one in wanted.items() if len(rows[name]) == one.partitions_before]
            _raise_if_down(snapshot, {name: wanted[name].replicas for name in short})
            return short

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
        applied_topics.add(clients.kubernetes, fence, plan.cluster, [one.applied for one in wanted.values()])
        asked: set[str] = set()

        def left(snapshot: ClusterSnapshot) -> list[str]:
            _raise_if_others(snapshot, {name: one.topic_id for name, one in wanted.items()})
            own = clients.kafka.topic_configs(wanted).own
            unasked = [one for name, one in wanted.items() if name not in asked]
            if foreign := [f"{one.topic} {key}" for one in unasked for key in _changed(one, own.get(one.topic, {}))]:
                raise PlanDrift(f"set by somebody else since the plan was made: {_some(foreign)}")
            return [
                name
                for name, one in wanted.items()
                if any(own.get(name, {}).get(key) != value for key, value in one.wanted.items())
            ]

        def act(names: Sequence[str]) -> Mapping[str, str]:
            asked.update(names)
            return clients.kafka.set_topic_configs({name: wanted[name].wanted for name in names})

        _until_done(clients, fence, wanted, left, act)
        return len(wanted)

    @step
    def delete_topics(self, request: StepRequest) -> int:
        """Delete the plan's topics, by id, if all that allowed it still does; returns how many are gone.

        Raises:
            PlanDrift: one isn't marked any more, or something was produced to it.
            TopicsRefused: Kafka refuses some; the others are gone.
        """
        clients, fence, plan = self._begin(request)
        wanted = {one.topic: one for one in plan.deletions}

        def left(snapshot: ClusterSnapshot) -> list[str]:
            there = [name for name, one in wanted.items() if snapshot.topic_ids.get(name) == one.topic_id]
            if not there:
                return []
            ends, marked = clients.kafka.end_offsets(there), _marked(clients)
            if kept := [name for name in there if name not in marked or ends.get(name) != wanted[name].end_offsets]:
                raise PlanDrift(f"not marked for deletion any more, or in use again: {_some(kept)}")
            return there

        def act(names: Sequence[str]) -> Mapping[str, str]:
            return clients.kafka.delete_topics({name: wanted[name].topic_id for name in names})

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
        TopicsRefused: nothing more comes about.
    """
    reporter, since, before = Reporter.current(), 0.0, 0

    def look() -> tuple[ClusterSnapshot, list[str]]:
        snapshot = clients.kafka.snapshot(wanted.keys())
        names = left(snapshot)
        reporter.report(Progress(done_partitions=len(wanted) - len(names), total_partitions=len(wanted)))
        return snapshot, names

    def observe() -> ClusterSnapshot | None:
        nonlocal since, before
        snapshot, names = look()
        if not names:
            return snapshot
        refused: dict[str, str] = {}
        for some in _batches(names):
            fence.check()
            refused |= act(some)
        if len(names) != before:
            since, before = time.monotonic(), len(names)
        elif time.monotonic() - since > PATIENCE_SECONDS:
            why = [f"{name}: {refused.get(name, 'Kafka has accepted it, and shows no change')}" for name in names]
            raise TopicsRefused(f"{len(names)} of {len(wanted)} topics are refused: {'; '.join(why[:SHOWN])}")
        # Thousands of topics take seconds to make and to be heard of, and `poll` would pause for as long again.
        heard_by = time.monotonic() + HEARD_WITHIN_SECONDS
        while not set(names) <= refused.keys() and time.monotonic() < heard_by:
            time.sleep(HEARD_SECONDS)
            raise_if_stopped()
            snapshot, names = look()
        return None if names else snapshot

    return poll(observe, soon=True)


def _marked(clients: ClusterClients) -> set[str]:
    """Topics that definitions mark for deletion now; none where these can't be read, or the cluster's entry doesn't allow it."""
    found = clients.kubernetes.definitions(labels.TOPICS)
    reading = together(read_config_map(one.name, one.data, one.annotations) for one in found)
    settings, now = clients.settings.topics, datetime.now(UTC)
    if reading.faults or settings is None or not settings.may_delete:
        return set()
    kept = [one.entry for one in reading.definitions.kept]
    return {
        name
        for name, one in reading.definitions.by_name.items()
        if one.delete and not any(entry.keeps(name, now) for entry in kept)
    }


def _raise_if_others(snapshot: ClusterSnapshot, topic_ids: Mapping[str, str | None]) -> None:
    """A topic that was made again under its name is another one."""
    known = {name: topic_id for name, topic_id in topic_ids.items() if topic_id is not None}
    others = [name for name in topic_ids if name not in snapshot.by_topic] + sorted(snapshot.renewed_topics(known))
    if others:
        raise PlanDrift(f"deleted, or made again, since the plan was made: {_some(others)}")


def _raise_if_down(snapshot: ClusterSnapshot, placed: Mapping[str, Sequence[Sequence[int]]]) -> None:
    """Kafka makes replicas on a broker that is registered and down: such a topic would begin with a copy too few."""
    wanted = {broker for rows in placed.values() for row in rows for broker in row}
    if down := sorted(wanted - set(snapshot.live_broker_ids)):
        raise PlanDrift(f"brokers that were to have new replicas are down: {', '.join(map(str, down))}")


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
