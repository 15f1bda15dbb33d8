"""What the runs of a worker know of a cluster in common: how old it may be, and that nothing goes back in time."""

import threading
from collections.abc import Collection, Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_runbooks.clients import snapshots
from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.clients.snapshots import REFRESH_SECONDS, Snapshots
from kafka_runbooks.models.cluster import ClusterSnapshot, Partition
from kafka_runbooks.moves.window import guard
from tests.fakes.kafka import FakeKafka
from tests.fakes.world import World
from tests.safety.builders import clusters


class Clock:
    now = 1_000.0

    def monotonic(self) -> float:
        return self.now


class Watched(FakeKafka):
    """Counts what is asked; `asked`: None for the whole cluster."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.asked: list[frozenset[str] | None] = []
        self.minimum_seconds: list[float] = []
        self.done = threading.Event()

    def snapshot(self, topics: Collection[str] | None = None, *, minimum_in_sync_seconds: float = 0.0) -> ClusterSnapshot:
        self.asked.append(None if topics is None else frozenset(topics))
        self.minimum_seconds.append(minimum_in_sync_seconds)
        try:
            return super().snapshot(topics, minimum_in_sync_seconds=minimum_in_sync_seconds)
        finally:
            self.done.set()


class Site:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.world = World(advance_at_look=False)
        for topic in ("a", "b", "c"):
            self.world.add_topic(topic, 2, (1001, 1002, 1003), size_bytes=10)
        self.kafka = Watched(self.world)
        self.snapshots = Snapshots(self.kafka)

    def leave_sync(self, topic: str) -> None:
        for name, partition in self.world.partitions.items():
            if name.topic == topic:
                partition.in_sync.discard(1003)

    def lagging(self, snapshot: ClusterSnapshot) -> set[str]:
        return {partition.topic for partition in snapshot.lagging}


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    clock = Clock()
    monkeypatch.setattr(snapshots, "time", clock)
    yield Site(clock)
    for thread in threading.enumerate():
        if thread.name == "metadata":
            thread.join(10)


def test_a_look_asks_for_its_topics_and_the_whole_cluster_once_for_many_looks(site: Site) -> None:
    for _ in range(4):
        site.snapshots.with_topics({"a"}, 30.0)
        site.clock.now += 2.0
    assert site.kafka.asked == [None, *[frozenset({"a"})] * 4]


def test_what_a_look_asks_is_of_now_and_the_rest_as_old_as_the_caller_says(site: Site) -> None:
    site.snapshots.recent(30.0)
    site.leave_sync("a")
    site.leave_sync("b")
    site.clock.now += 9.0
    assert site.lagging(site.snapshots.with_topics({"a"}, 30.0)) == {"a"}
    assert site.lagging(site.snapshots.recent(10.0)) == {"a"}
    assert site.lagging(site.snapshots.recent(9.0)) == {"a", "b"}, "too old: asked at once"
    assert site.kafka.asked == [None, frozenset({"a"}), None]


def test_now_asks_for_everything_now(site: Site) -> None:
    site.snapshots.now()
    site.leave_sync("b")
    assert site.lagging(site.snapshots.now()) == {"b"}
    assert site.kafka.asked == [None, None] and site.kafka.minimum_seconds == [0.0, 0.0], "min.insync.replicas too"


def test_settings_of_what_is_acted_on_are_no_older_than_the_look_may_be(site: Site) -> None:
    site.snapshots.with_topics({"a"}, 15.0)
    assert site.kafka.minimum_seconds == [snapshots.MINIMUM_IN_SYNC_SECONDS, 15.0]


def test_it_is_renewed_in_the_background_before_it_is_too_old(site: Site) -> None:
    site.snapshots.recent(30.0)
    site.leave_sync("b")
    site.clock.now += REFRESH_SECONDS + 1.0
    site.kafka.done.clear()
    site.snapshots.recent(30.0)
    assert site.kafka.done.wait(10)
    for thread in [thread for thread in threading.enumerate() if thread.name == "metadata"]:
        thread.join(10)
    assert site.lagging(site.snapshots.recent(5.0)) == {"b"}
    assert site.kafka.asked == [None, None]


def test_nobody_is_told_something_too_old_when_kafka_is_away(site: Site) -> None:
    site.snapshots.recent(30.0)
    site.world.is_kafka_away = True
    site.clock.now += 29.0
    site.snapshots.recent(30.0)  # Asked for in the background, in vain.
    site.clock.now += 1.0
    with pytest.raises(Unreachable):
        site.snapshots.recent(30.0)
    site.world.is_kafka_away = False
    assert len(site.snapshots.recent(30.0).partitions) == 6


def test_a_whole_that_was_asked_for_before_a_look_takes_nothing_of_it_back(site: Site) -> None:
    site.snapshots.recent(30.0)
    old = FakeKafka(site.world).snapshot()
    answer = super(Watched, site.kafka).snapshot

    def late(topics: Collection[str] | None = None, *, minimum_in_sync_seconds: float = 0.0) -> ClusterSnapshot:
        if topics is not None:
            return answer(topics)
        # While the whole cluster answers, a look asks for one topic.
        site.clock.now += 1.0
        site.leave_sync("a")
        assert site.lagging(site.snapshots.with_topics({"a"}, 100.0)) == {"a"}
        return old

    site.kafka.snapshot = late  # type: ignore[method-assign]
    site.clock.now += 50.0
    assert site.lagging(site.snapshots.recent(30.0)) == {"a"}
    site.kafka.snapshot = answer  # type: ignore[method-assign]
    assert site.lagging(site.snapshots.now()) == {"a"}


def test_topics_that_are_deleted_and_made_again_are_noticed(site: Site) -> None:
    first = site.snapshots.recent(30.0)
    site.world.delete_topic("a")
    gone = site.snapshots.with_topics({"a"}, 30.0)
    assert gone.by_topic.keys() == {"b", "c"} and "a" not in gone.topic_ids
    site.world.add_topic("a", 2, (1001, 1002, 1003), size_bytes=10)
    again = site.snapshots.with_topics({"a"}, 30.0)
    assert again.renewed_topics(first.topic_ids) == {"a"}


def test_any_number_of_runs_ask_for_the_whole_cluster_once() -> None:
    """Twelve at the same time, all of which find nothing."""
    world = World(advance_at_look=False)
    kafka, begin = Watched(world), threading.Barrier(12)
    shared = Snapshots(kafka)

    def run() -> None:
        begin.wait(10)
        shared.recent(30.0)

    runs = [threading.Thread(target=run) for _ in range(12)]
    for thread in runs:
        thread.start()
    for thread in runs:
        thread.join(10)
    assert kafka.asked == [None]


def _in_sync(snapshot: ClusterSnapshot) -> dict[int, set[int]]:
    """Leaders without a follower don't count: nobody waits for them."""
    return {leader: set(among) for leader, among in snapshot.followers.items() if among}


@given(clusters(), clusters(), st.sets(st.sampled_from("abc")))
def test_with_topics_is_what_a_whole_look_would_have_seen(
    before: ClusterSnapshot, after: ClusterSnapshot, topics: set[str]
) -> None:
    """Where the other topics didn't change: partitions, order, and all that is counted from them."""

    def ordered(partitions: list[Partition]) -> tuple[Partition, ...]:
        return tuple(sorted(partitions))

    def minimum(snapshot: ClusterSnapshot) -> dict[str, int]:
        return {topic: value for topic, value in snapshot.minimum_in_sync.items() if topic in snapshot.by_topic}

    before = replace(before, partitions=ordered(list(before.partitions)), minimum_in_sync=minimum(before))
    newer = replace(after, partitions=ordered([one for one in after.partitions if one.topic in topics]))
    newer = replace(newer, minimum_in_sync=minimum(newer))
    kept = [one for one in before.partitions if one.topic not in topics]
    expected = replace(
        newer,
        partitions=ordered([*kept, *newer.partitions]),
        minimum_in_sync={**{one.topic: before.minimum_in_sync[one.topic] for one in kept}, **newer.minimum_in_sync},
    )
    # Counted before it is renewed, as in a worker.
    assert before.lagging is not None and before.followers is not None and list(before.on_broker(1)) is not None
    found = before.with_topics(newer, topics)
    assert found == expected
    assert (found.lagging, found.by_topic, dict(found.by_name)) == (expected.lagging, expected.by_topic, dict(expected.by_name))
    assert list(found.on_broker(1)) == list(expected.on_broker(1))
    assert _in_sync(found) == _in_sync(expected)
    assert guard(found, ()) == guard(expected, ())
