"""What is exported has no fault, and says what it leaves out; what is printed is read back as it was."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kafka_runbooks.models.maps import TopicMap
from kafka_runbooks.models.topics import THROTTLED, ExistingTopic, TopicDefinition, TopicDefinitions, TopicFacts, collision_key
from kafka_runbooks.topics import checking, export, writing
from kafka_runbooks.topics.reading import read
from tests.topics.builders import MAPS, RACKS, defined, existing, facts

NAMES = st.from_regex(r"\A[a-zA-Z0-9._-]{1,12}\Z") | st.sampled_from(
    ["true", "on", "null", "1e3", "0x1", "2026-01-01", "-", "events.a", "logs.a", "__consumer_offsets", "1.0", "1_0"]
)
VALUES = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12) | st.sampled_from(
    [
        "true",
        "TRUE",
        "no",
        "604800000",
        "007",
        "-1",
        "+1",
        "0.5",
        "1e3",
        "9" * 30,
        "null",
        "",
        "a: b",
        "# a",
        "2026-01-01",
        "1:30",
    ]
)
CONFIGS = st.dictionaries(st.sampled_from(["retention.ms", "min.insync.replicas", "cleanup.policy", "x", "1"]), VALUES)


def exported(known: TopicFacts, maps: tuple[TopicMap, ...] = ()) -> export.Exported:
    return export.without_faults(export.declared(known, maps), known)


def checked(made: export.Exported, known: TopicFacts) -> list[str]:
    reading = read(writing.text(made.definitions, made.remarks), "exported")
    return [*map(str, reading.faults), *map(str, checking.check(reading.definitions, known))]


def test_only_what_is_set_on_topics_and_never_a_throttle() -> None:
    known = facts({"orders": existing(12, retention_ms="1000", follower_replication_throttled_replicas="0:1")})
    made = exported(known)
    assert made.definitions.topics == (
        TopicDefinition(name="orders", partitions=12, replication_factor=3, configs={"retention.ms": "1000"}),
    )
    assert made.remarks == (
        "orders: follower.replication.throttled.replicas: is of the run that moves its data, or left over from one",
    )
    assert "retention.ms: 1000\n" in writing.text(made.definitions), "as people write it"


def test_kafka_s_own_topics_are_named() -> None:
    made = exported(facts({"__consumer_offsets": existing()}))
    assert not made.definitions.topics and "'__consumer_offsets' is Kafka's own" in made.remarks[0]


def test_maps_are_resolved_by_expression_and_else_by_where_replicas_are() -> None:
    maps = tuple(one.entry for one in defined(MAPS).maps)
    overlapping = (*maps, TopicMap(name="rest", topics=r".*\.both", brokers=(4, 5)))
    topics = {
        "events.a": existing(brokers=[4, 5]),
        "events.both": existing(brokers=[5]),
        "moved": existing(brokers=[4, 5]),
        "stretched": existing(brokers=[1, 5]),
    }
    known = facts(topics)
    made = exported(known, maps)
    assert {one.name: one.map for one in made.definitions.topics} == {
        "events.a": "events",
        "events.both": "events",
        "moved": "logs",
    }
    assert len(made.remarks) == 1 and made.remarks[0].startswith("stretched isn't declared: stretched is in no map")
    assert not checked(made, known)
    both = {one.name: one.map for one in exported(known, overlapping).definitions.topics}
    assert both["events.both"] == "rest" and "moved" not in both, "brokers 4 and 5 are of two maps"


def test_what_nobody_may_declare_is_left_out_and_named() -> None:
    """Kafka has topics whose min.insync.replicas can't be met; writing them down would be a fault."""
    known = facts({"a": existing(min_insync_replicas="4"), "b": existing(), "c": existing(gone_with_a_version="1")})
    made = exported(known)
    assert [one.name for one in made.definitions.topics] == ["b"]
    assert [remark.partition(":")[0] for remark in made.remarks] == ["a isn't declared", "c isn't declared"]


@st.composite
def clusters(draw: st.DrawFn) -> TopicFacts:
    names = draw(st.lists(NAMES.filter(lambda name: name not in (".", "..")), unique_by=collision_key, max_size=6))
    topics = {}
    for name in names:
        configs = draw(CONFIGS)
        if draw(st.booleans()):
            configs["leader.replication.throttled.replicas"] = "*"
        brokers = draw(st.lists(st.sampled_from(sorted(RACKS)), min_size=1, max_size=4, unique=True))
        topics[name] = ExistingTopic(
            partitions=draw(st.integers(1, 9)), replication_factor=len(brokers), broker_ids=tuple(brokers), configs=configs
        )
    return TopicFacts(racks=RACKS, topics=topics, config_keys=("retention.ms", "min.insync.replicas", "cleanup.policy", "1"))


@given(known=clusters(), with_maps=st.booleans())
def test_checking_an_export_finds_no_fault(known: TopicFacts, with_maps: bool) -> None:
    maps = tuple(one.entry for one in defined(MAPS).maps) if with_maps else ()
    made = exported(known, maps)
    assert not checked(made, known)
    for definition in made.definitions.topics:
        there = known.topics[str(definition.name)]
        assert (definition.partitions, definition.replication_factor) == (there.partitions, there.replication_factor)
        assert definition.configs == {key: value for key, value in there.configs.items() if not THROTTLED.search(key)}
    named = {one.name for one in made.definitions.topics}
    said = "\n".join(made.remarks)
    assert all(topic in named or topic in said for topic in known.topics), "nothing is dropped silently"


DEFINITIONS = st.builds(
    lambda names, several, **fields: TopicDefinition.model_validate(
        {
            **({"names": names} if several else {"name": names[0]}),
            **{key: value for key, value in fields.items() if value is not None},
        }
    ),
    st.lists(NAMES.filter(lambda name: name not in (".", "..") and not name.startswith("__")), min_size=1, max_size=3),
    st.booleans(),
    map=st.none() | VALUES.filter(bool),
    owner=st.none() | VALUES.filter(bool),
    partitions=st.integers(1, 100),
    replication_factor=st.integers(1, 5),
    configs=CONFIGS,
    delete=st.booleans(),
)


@given(st.lists(DEFINITIONS, max_size=4), st.lists(st.text(max_size=20), max_size=2))
def test_what_is_printed_is_read_back(topics: list[Any], remarks: list[str]) -> None:
    made = TopicDefinitions(topics=tuple(topics))
    printable = ["".join(one for one in remark if one.isprintable()) for remark in remarks]
    reading = read(writing.text(made, printable), "f")
    assert not reading.faults
    assert tuple(one.entry for one in reading.definitions.topics) == made.topics
