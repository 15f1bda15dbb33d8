"""Ready is exactly: listed, and in the ISR of every replica assigned; and what Ready means for the rest of the cluster."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_runbooks.agent import watching
from kafka_runbooks.agent.readiness import Verdict, judge
from kafka_runbooks.agent.watching import ReadinessWatch
from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.clients.own_replicas import OwnReplicas
from kafka_runbooks.models.cluster import ClusterSnapshot, TopicPartition
from kafka_runbooks.safety.availability import may_go_down, out_of_sync
from tests.safety.builders import cluster, clusters, part

names = st.builds(TopicPartition, st.sampled_from(["events.a", "events.b"]), st.integers(0, 50))


@given(st.frozensets(st.integers(1, 6)), st.lists(names, unique=True), st.integers(0, 4000))
def test_ready_only_if_listed_and_nothing_is_behind(live: frozenset[int], behind: list[TopicPartition], more: int) -> None:
    verdict = judge(3, OwnReplicas(1, live, len(behind) + more, tuple(behind)))
    assert verdict.is_ready == (3 in live and not behind)
    assert len(verdict.reason) < 200


def test_the_reason_counts_and_names() -> None:
    behind = tuple(TopicPartition("events.a", number) for number in range(7))
    verdict = judge(3, OwnReplicas(1, frozenset({1, 3}), 10, behind))
    expected = "7 of 10 replicas not in sync: events.a-0, events.a-1, events.a-2, events.a-3, events.a-4, …"
    assert verdict == Verdict(False, expected, 10, 7)
    assert "fenced" in judge(3, OwnReplicas(1, frozenset({1}), 0, ())).reason


def ready(snapshot: ClusterSnapshot, broker_id: int) -> bool:
    """What the agent beside a broker would say of a cluster."""
    lagging = tuple(partition.name for partition in out_of_sync(snapshot, broker_id))
    assigned = sum(1 for _ in snapshot.on_broker(broker_id))
    return judge(broker_id, OwnReplicas(1, snapshot.live_broker_ids, assigned, lagging)).is_ready


@given(clusters())
def test_where_every_broker_is_ready_any_one_may_go_down(snapshot: ClusterSnapshot) -> None:
    """The agent doesn't know min.insync.replicas; its stricter rule covers the one that does."""
    brokers = {broker for partition in snapshot.partitions for broker in partition.replicas}
    whole = tuple(partition._replace(in_sync=partition.replicas) for partition in snapshot.partitions)
    for observed in (snapshot, cluster(*whole, minimum=2, live=brokers)):
        if all(ready(observed, broker) for broker in brokers):
            for broker in brokers:
                reasons = may_go_down(observed, [broker], headroom=9)
                assert all(reason.name.startswith("no-spare-replica:") for reason in reasons)


def test_one_broker_that_is_not_ready_is_enough_to_say_no() -> None:
    behind = cluster(part((1, 2, 3), (1, 2)), minimum=2)
    assert [ready(behind, broker) for broker in (1, 2, 3)] == [True, True, False]
    assert [reason.name for reason in may_go_down(behind, [1])] == ["below-min-isr:t"]


class SlowClient:
    """Answers in sync; `cpu_s` is what a poll costs, `fails` makes it fail."""

    def __init__(self) -> None:
        self.fails = False

    def poll(self, timeout_s: float) -> OwnReplicas:
        if self.fails:
            raise Unreachable("no metadata: timed out")
        return OwnReplicas(1, frozenset({1, 3}), 10, ())


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> ReadinessWatch:
    watch = ReadinessWatch("localhost:9092", 3)
    monkeypatch.setattr(watch, "_client", SlowClient())
    monkeypatch.setattr(watching, "is_open", lambda address: True)
    return watch


def test_not_ready_before_the_first_poll(watch: ReadinessWatch) -> None:
    assert not watch.verdict().is_ready


def test_a_closed_port_or_no_answer_is_not_ready(watch: ReadinessWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    assert watch.poll().is_ready
    monkeypatch.setattr(watching, "is_open", lambda address: False)
    assert watch.poll() == Verdict(False, "Kafka's port is closed (localhost:9092)")
    monkeypatch.setattr(watching, "is_open", lambda address: True)
    watch._client.fails = True  # type: ignore[attr-defined]
    assert watch.poll() == Verdict(False, "no metadata: timed out")


def test_an_old_verdict_is_unknown(watch: ReadinessWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    watch._verdict, watch._judged_at_s = watch.poll(), 100.0
    monkeypatch.setattr("kafka_runbooks.agent.watching.time.monotonic", lambda: 105.0)
    assert watch.verdict().is_ready
    monkeypatch.setattr("kafka_runbooks.agent.watching.time.monotonic", lambda: 140.0)
    assert not watch.verdict().is_ready


def test_an_expensive_poll_is_done_less_often(watch: ReadinessWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.25])
    monkeypatch.setattr("kafka_runbooks.agent.watching.time.thread_time", lambda: next(clock))
    watch.poll()
    assert watch.period_s == 25.0
