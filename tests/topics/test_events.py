"""What is said of definitions on their ConfigMaps."""

from kafka_runbooks.documents import Fault, Place
from kafka_runbooks.models.topic_changes import Drift, DriftKind
from kafka_runbooks.topics import events
from kafka_runbooks.topics.changes import Changes, Wanted
from kafka_runbooks.topics.reading import Definitions, read_config_map, together
from tests.topics.builders import topic


def definitions() -> Definitions:
    texts = {"web": topic("a") + topic("b"), "app": topic("c")}
    reading = together(read_config_map(name, {"topics.yaml": f"topics:\n{text}"}, {}) for name, text in texts.items())
    assert not reading.faults
    return reading.definitions


def wanted(name: str) -> Wanted:
    return Wanted(name, definitions().by_name[name], None, ())


def test_each_config_map_hears_of_its_own_topics() -> None:
    found = Changes(created=(wanted("a"), wanted("c")), moved=(wanted("b"),))
    assert {one[:3] for one in events.of_changes(definitions(), found)} == {
        ("web", "TopicsMissing", "a"),
        ("app", "TopicsMissing", "c"),
        ("web", "PlacementDiffers", "b"),
    }


def test_what_nothing_defines_is_told_once() -> None:
    drift = (
        Drift(topic="stray", kind=DriftKind.UNMANAGED, detail="no definition has it"),
        Drift(topic="b", kind=DriftKind.CONFIG, detail="set by hand: retention.ms=5"),
    )
    assert events.of_changes(definitions(), Changes(drift=drift)) == [
        ("app", "TopicsUnmanaged", "stray", False),
        ("web", "ConfigsSetByHand", "b: set by hand: retention.ms=5", False),
    ]


def test_a_message_is_never_longer_than_kubernetes_takes() -> None:
    faults = [Fault(Place("ConfigMap web topics.yaml", line), "x" * 400) for line in range(1, 9)]
    (said,) = events.of_faults(faults)
    assert said.is_warning and len(said.message) == events.MOST_CHARACTERS and said.message.endswith("…; and 3 more")


def test_where_nothing_is_defined_nothing_is_said() -> None:
    drift = (Drift(topic="stray", kind=DriftKind.UNMANAGED, detail="no definition has it"),)
    assert events.of_changes(Definitions(), Changes(drift=drift)) == []
