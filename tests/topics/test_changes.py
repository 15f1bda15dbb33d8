"""Definitions against a cluster: what changes, what only differs, and that applying the changes leaves none."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_runbooks.models.topic_changes import AppliedTopic, AppliedTopics, Drift, DriftKind, QuietTopic, TopicDeletion
from kafka_runbooks.models.topics import ExistingTopic, TopicFacts
from kafka_runbooks.topics import changes
from kafka_runbooks.topics.changes import Changes
from kafka_runbooks.topics.reading import read_config_map
from tests.topics.builders import MAPS, defined, existing, facts, topic

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SET = "{retention.ms: 1000}"


def found(
    text: str, topics: Mapping[str, ExistingTopic], applied: AppliedTopics | None = None, *, adopts: bool = False
) -> Changes:
    return changes.find(defined(text), facts(topics), applied or AppliedTopics(), now=NOW, adopts=adopts)


def applied(**keys: str) -> AppliedTopics:
    """By topic, a key that was set on the topic of id `1`."""
    return AppliedTopics(topics=tuple(AppliedTopic(name=name, topic_id="1", keys=(key,)) for name, key in keys.items()))


def there(partitions: int = 3, brokers: tuple[int, ...] = (1, 2), topic_id: str = "1", **configs: str) -> ExistingTopic:
    made = existing(partitions, brokers, **configs)
    return made.model_copy(update={"topic_id": topic_id, "replicas": (brokers,) * partitions})


def values(made: Changes) -> dict[str, Mapping[str, str | None]]:
    return {one.topic: one.wanted for one in made.configs}


def test_what_is_as_declared_stays_and_what_nobody_declares_is_only_named() -> None:
    text = MAPS + "topics:\n" + topic("events.a", configs=SET)
    made = found(text, {"events.a": there(retention_ms="1000"), "by.hand": there(), "__consumer_offsets": there()})
    assert made == Changes(drift=(Drift(topic="by.hand", kind=DriftKind.UNMANAGED, detail="no definition has it"),))


def test_a_topic_that_is_missing_is_made_on_its_map() -> None:
    (made,) = found(MAPS + "topics:\n" + topic("events.a"), {}).created
    assert (made.name, made.map, made.brokers) == ("events.a", "events", (1, 2, 3))
    (anywhere,) = found("topics:\n" + topic("events.a"), {}).created
    assert (anywhere.map, anywhere.brokers) == (None, (1, 2, 3, 4, 5))


def test_partitions_only_grow() -> None:
    text = MAPS + "topics:\n" + topic("events.a", 6)
    assert [one.name for one in found(text, {"events.a": there(3)}).grown] == ["events.a"]
    assert found(text, {"events.a": there(6)}).grown == found(text, {"events.a": there(9)}).grown == ()


@pytest.mark.parametrize("brokers", [(1, 2, 3), (1,), (1, 4), (4, 5)])
def test_another_replication_factor_or_a_replica_off_the_map_moves_a_topic(brokers: tuple[int, ...]) -> None:
    text = MAPS + "topics:\n" + topic("events.a")
    assert [one.name for one in found(text, {"events.a": there(brokers=brokers)}).moved] == ["events.a"]


def test_one_partition_with_another_number_of_replicas_moves_a_topic() -> None:
    mixed = there().model_copy(update={"replicas": ((1, 2), (1, 2, 3), (1, 2))})
    assert found(MAPS + "topics:\n" + topic("events.a"), {"events.a": mixed}).moved


def test_configs_are_set_changed_and_reset_and_throttles_are_nobody_s() -> None:
    text = "topics:\n" + topic("a", configs="{retention.ms: 1000, cleanup.policy: compact}")
    own = there(retention_ms="2", min_insync_replicas="2", leader_replication_throttled_replicas="*")
    named = own.model_copy(update={"configs": {**own.configs, "leader.replication.throttled.replicas": "0:1"}})
    made = found(text, {"a": named}, applied(a="min.insync.replicas"))
    assert values(made) == {"a": {"cleanup.policy": "compact", "min.insync.replicas": None, "retention.ms": "1000"}}
    assert changes.described(made.configs[0].values) == (
        "cleanup.policy: default -> compact, min.insync.replicas: 2 -> default, retention.ms: 2 -> 1000"
    )


def test_what_somebody_set_by_hand_is_named_and_reset_only_where_that_is_adopted() -> None:
    text, topics = "topics:\n" + topic("a"), {"a": there(retention_ms="2")}
    made = found(text, topics)
    assert made == Changes(drift=(Drift(topic="a", kind=DriftKind.CONFIG, detail="set by hand: retention.ms=2"),))
    assert found(text, topics, adopts=True).drift == ()
    assert values(found(text, topics, adopts=True)) == {"a": {"retention.ms": None}}


def test_a_topic_that_was_made_again_under_its_name_has_nothing_of_ours() -> None:
    text = "topics:\n" + topic("a")
    assert values(found(text, {"a": there(retention_ms="2")}, applied(a="retention.ms"))) == {"a": {"retention.ms": None}}
    again = found(text, {"a": there(retention_ms="2", topic_id="2")}, applied(a="retention.ms"))
    assert again.configs == () and [one.kind for one in again.drift] == [DriftKind.CONFIG]


def kept(until: datetime) -> str:
    return f'{{"topics": ["events\\\\..*"], "until": "{until.isoformat()}", "by": "alice", "reason": "full disk"}}'


def test_what_a_person_keeps_stays_until_its_time_and_is_named() -> None:
    text = MAPS + "topics:\n" + topic("events.a", 6, configs=SET) + topic("logs.a", configs=SET)
    topics = {"events.a": there(3, brokers=(1, 2, 3), retention_ms="2"), "logs.a": there(brokers=(4, 5))}
    for until, changed in ((NOW + timedelta(hours=1), {"logs.a"}), (NOW, {"logs.a", "events.a"})):
        reading = read_config_map("c", {"x": text}, {"kafka-runbooks.io/keep-until": kept(until)})
        assert reading.faults == ()
        made = changes.find(reading.definitions, facts(topics), AppliedTopics(), now=NOW)
        assert set(values(made)) == changed
        assert {one.name for one in (*made.grown, *made.moved)} == changed - {"logs.a"}
        assert bool(made.drift) == ("events.a" not in changed)
    assert "events.a" not in changed or not made.drift


def test_what_is_kept_and_as_declared_is_no_drift() -> None:
    text = MAPS + "topics:\n" + topic("events.a")
    reading = read_config_map("c", {"x": text}, {"kafka-runbooks.io/keep-until": kept(NOW + timedelta(hours=1))})
    assert changes.find(reading.definitions, facts({"events.a": there()}), AppliedTopics(), now=NOW) == Changes()


def test_what_is_applied_is_what_is_set_as_declared_and_was_set_before() -> None:
    text = "topics:\n" + topic("a", configs=SET) + topic("b", configs=SET)
    known = facts(
        {
            "a": there(retention_ms="1000", cleanup_policy="compact"),
            "b": there(retention_ms="7", cleanup_policy="compact", topic_id="2"),
            "gone.definition": there(retention_ms="7"),
        }
    )
    before = AppliedTopics(
        topics=(
            AppliedTopic(name="a", topic_id="1", keys=("cleanup.policy", "min.insync.replicas")),
            AppliedTopic(name="b", topic_id="1", keys=("cleanup.policy",)),
            AppliedTopic(name="gone", topic_id="1", keys=("retention.ms",)),
            AppliedTopic(name="gone.definition", topic_id="1", keys=("retention.ms",)),
        )
    )
    now = changes.applied_now(defined(text), known, before)
    assert {one.name: one.keys for one in now.topics} == {
        "a": ("cleanup.policy", "retention.ms"),
        "gone.definition": ("retention.ms",),
    }
    more = changes.with_keys(now, [AppliedTopic(name="a", topic_id="1", keys=("min.insync.replicas",))])
    assert more.keys_of("a", "1") == {"cleanup.policy", "min.insync.replicas", "retention.ms"}
    other = changes.with_keys(now, [AppliedTopic(name="a", topic_id="2", keys=("min.insync.replicas",))])
    assert other.keys_of("a", "2") == {"min.insync.replicas"} and not other.keys_of("a", "1")


def carried_out(made: Changes, known: TopicFacts) -> TopicFacts:
    """The cluster after all changes: a model of what Kafka does with them."""
    topics = dict(known.topics)
    for one in (*made.created, *made.grown, *made.moved):
        assert one.brokers is not None
        row = one.brokers[: one.definition.replication_factor]
        former = topics.get(one.name)
        count = max(one.definition.partitions, former.partitions if former else 0)
        configs = former.configs if former else one.definition.configs
        topics[one.name] = ExistingTopic(
            partitions=count,
            replication_factor=len(row),
            broker_ids=row,
            topic_id=former.topic_id if former else "new",
            replicas=(row,) * count,
            configs=dict(configs),
        )
    for change in made.configs:
        former = topics[change.topic]
        own = {**former.configs, **change.wanted}
        set_now = {key: value for key, value in own.items() if value is not None}
        topics[change.topic] = former.model_copy(update={"configs": set_now})
    return known.model_copy(update={"topics": topics})


NAMES = ("events.a", "events.b", "logs.a")
CONFIGS = st.dictionaries(st.sampled_from(("cleanup.policy", "retention.ms", "retention.bytes")), st.sampled_from(("1", "2")))
DEFINED = st.dictionaries(st.sampled_from(NAMES), st.tuples(st.integers(1, 4), st.integers(1, 2), CONFIGS, st.booleans()))
THERE = st.dictionaries(
    st.sampled_from((*NAMES, "other")),
    st.tuples(st.integers(1, 4), st.lists(st.integers(1, 5), min_size=1, max_size=3, unique=True), CONFIGS),
)
KEYS = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(("cleanup.policy", "retention.ms")))


@given(DEFINED, THERE, KEYS, st.booleans())
def test_once_changed_nothing_is_left_to_change_and_nothing_undeclared_was_touched(
    declared: dict[str, tuple[int, int, dict[str, str], bool]],
    found: dict[str, tuple[int, list[int], dict[str, str]]],
    ours: dict[str, str],
    adopts: bool,
) -> None:
    text = MAPS + "topics:\n" if declared else MAPS
    for name, (partitions, factor, configs, delete) in declared.items():
        shown = ", ".join(f"{key}: '{value}'" for key, value in configs.items())
        text += topic(name, partitions, factor, configs=f"{{{shown}}}", delete=str(delete).lower())
    topics = {
        name: there(partitions, tuple(brokers)).model_copy(update={"configs": configs})
        for name, (partitions, brokers, configs) in found.items()
    }
    definitions, known, before = defined(text), facts(topics), applied(**ours)
    made = changes.find(definitions, known, before, now=NOW, adopts=adopts)
    after = carried_out(made, known)
    again = changes.find(definitions, after, changes.applied_now(definitions, after, before), now=NOW, adopts=adopts)
    assert (again.created, again.grown, again.configs, again.moved) == ((), (), (), ())
    managed = {name for name, (*_, delete) in declared.items() if not delete}
    assert {name: one for name, one in after.topics.items() if name not in managed} == {
        name: one for name, one in topics.items() if name not in managed
    }
    for name in managed:
        assert after.topics[name].configs.items() >= declared[name][2].items()
        by_hand = topics[name].configs.keys() - declared[name][2].keys() - {ours.get(name)} if name in topics else set()
        assert adopts or by_hand <= after.topics[name].configs.keys()


MARKED = "topics:\n" + topic("a", delete="true") + topic("b", delete="true")


def quiet(name: str, *, hours: float, topic_id: str = "1", ends: tuple[int, ...] = (5, 7, 0)) -> QuietTopic:
    return QuietTopic(name=name, topic_id=topic_id, end_offsets=ends, since=NOW - timedelta(hours=hours))


@pytest.mark.parametrize(
    ("known", "may_delete", "why"),
    [
        (quiet("a", hours=1), True, None),
        (quiet("a", hours=1), False, "clusters.yaml doesn't allow it"),
        (quiet("a", hours=0.9), True, "nothing may be produced to it for an hour"),
        (quiet("a", hours=9, topic_id="2"), True, "where its partitions end isn't known"),
        (quiet("b", hours=9), True, "where its partitions end isn't known"),
    ],
)
def test_a_topic_is_deleted_by_three_keys_and_each_of_them_is_needed(
    known: QuietTopic, may_delete: bool, why: str | None
) -> None:
    applied = AppliedTopics(quiet=(known,))
    made = changes.find(defined(MARKED), facts({"a": there()}), applied, now=NOW, may_delete=may_delete)
    if why is None:
        assert made == Changes(deleted=(TopicDeletion(topic="a", topic_id="1", end_offsets=(5, 7, 0)),))
    else:
        assert made.deleted == () and why in made.drift[0].detail and made.drift[0].kind is DriftKind.DELETION
    unmarked = changes.find(defined("topics:\n" + topic("b")), facts({"a": there()}), applied, now=NOW, may_delete=True)
    assert unmarked.deleted == ()


def test_a_topic_is_quiet_since_its_partitions_have_ended_where_they_do() -> None:
    known = facts({"a": there(), "b": there(topic_id="2"), "c": there()})
    before = AppliedTopics(quiet=(quiet("a", hours=2), quiet("b", hours=2), quiet("c", hours=2)))
    ends = {"a": (5, 7, 0), "b": (5, 7, 0)}
    now = changes.quiet_now(before, known, ends, NOW)
    assert {one.name: one.since for one in now.quiet} == {"a": NOW - timedelta(hours=2), "b": NOW}, "b was made again"
    moved = changes.quiet_now(before, known, {"a": (5, 8, 0)}, NOW)
    assert [one.since for one in moved.quiet] == [NOW]
