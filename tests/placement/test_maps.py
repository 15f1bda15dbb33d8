"""Maps: anchored regexes, instances of a type, and topics that belong to none or to several."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from kafka_runbooks.models import patterns
from kafka_runbooks.models.inputs import RebalanceInput, SetReplicationFactorInput
from kafka_runbooks.models.maps import Instances, TopicMap
from kafka_runbooks.placement import maps, planners
from kafka_runbooks.placement.errors import InvalidRequest, NoAssignment
from kafka_runbooks.placement.planners import Options
from tests.placement import builders
from tests.placement.builders import after, cluster

BROKERS: dict[int, tuple[str | None, int]] = {b: ("abc"[b % 3], 5000) for b in range(1, 10)}
SETS = {(topic, p): [1 + (p + i) % 9 for i in range(2)] for topic in ("logs.a", "logs.b", "metrics", "other") for p in range(9)}


def test_replicas_never_leave_their_map_and_return_to_it() -> None:
    observed = cluster(SETS, BROKERS, dict.fromkeys(range(9), 10))
    regions = maps.resolve(
        observed,
        [
            TopicMap(name="logs", topics=r"logs\..*", brokers=(1, 2, 3)),
            TopicMap(name="metrics", topics="metrics", brokers=(4, 5, 6)),
        ],
    )
    assert regions.unmapped_topics == ("other",)
    for plan in (
        planners.rebalance(observed, Options(regions=regions)),
        planners.set_replication(observed, 3, Options(regions=regions)),
    ):
        for (topic, _), row in after(plan).items():
            home = {"logs.a": {1, 2, 3}, "logs.b": {1, 2, 3}, "metrics": {4, 5, 6}}.get(topic, set(range(1, 10)))
            assert set(row) <= home
        assert all(after(plan)[name] == list(row) for name, row in SETS.items() if name[0] == "other")
        assert any("topics in no map" in notice for notice in plan.notices)


def test_a_topic_in_two_maps_is_reported_and_left() -> None:
    observed = cluster(SETS, BROKERS)
    regions = maps.resolve(
        observed, [TopicMap(name="x", topics="logs.*", brokers=(1, 2)), TopicMap(name="y", topics=r".*\.a", brokers=(3, 4))]
    )
    assert dict(regions.contested_topics) == {"logs.a": ("x", "y")}
    plan = planners.rebalance(observed, Options(regions=regions))
    assert any("logs.a is in several maps (x, y)" in notice for notice in plan.notices)
    assert all(after(plan)[name] == list(row) for name, row in SETS.items() if name[0] == "logs.a")


def test_regexes_are_anchored() -> None:
    assert patterns.matching("log", ["log", "logs", "a-log"]) == ["log"]


def test_a_pattern_that_explodes_in_re_is_matched_in_linear_time() -> None:
    """`re` needs minutes for it, during which the worker does nothing else for any cluster."""
    start = time.process_time()
    assert patterns.matching(r"(\w+[.-]?)+-dlq", ["a" * 249, "orders-dlq"]) == ["orders-dlq"]
    assert time.process_time() - start < 1


@pytest.mark.parametrize("model", [TopicMap, SetReplicationFactorInput, RebalanceInput])
@pytest.mark.parametrize("pattern", ["(?!logs).*", r"(a)\1", "(", "*a"])
def test_a_pattern_that_is_not_supported_is_refused_by_field(model: type[BaseModel], pattern: str) -> None:
    topics = pattern if model is TopicMap else [pattern]
    with pytest.raises(ValidationError) as refused:
        model.model_validate({"topics": topics})
    fault = next(fault for fault in refused.value.errors() if fault["loc"] == ("topics",))
    assert "is not a regular expression" in fault["msg"]


@given(names=st.lists(st.from_regex(r"\A[A-Za-z0-9._-]{1,12}\Z"), min_size=2, max_size=6, unique=True))
def test_an_item_of_legal_characters_is_a_name_and_nothing_else(names: list[str]) -> None:
    wanted, *others = names
    assert maps.matching([wanted], names) == [wanted]
    with pytest.raises(InvalidRequest, match=f"no topic is called {wanted!r}"):
        maps.matching([wanted], others)


def test_instances_of_a_type_take_what_no_other_map_has() -> None:
    observed = cluster(SETS, BROKERS)
    entries = [
        TopicMap(name="a", topics="metrics", brokers=(1,)),
        TopicMap(name="b", topics="logs.*", instances=Instances(type="i3", count=2)),
    ]
    regions = maps.resolve(observed, entries, {"i3": [1, 2, 3, 4]})
    assert observed.broker_ids[regions.regions[1].brokers].tolist() == [2, 3]
    with pytest.raises(InvalidRequest, match=r"maps.b.instances: wants 2 of i3, 1 are free: \[2\]"):
        maps.resolve(observed, entries, {"i3": [1, 2]})


def test_why_not_in_a_map_that_is_too_small() -> None:
    observed = cluster(SETS, BROKERS)
    regions = maps.resolve(observed, [TopicMap(name="x", topics="metrics", brokers=(1, 2))])
    with pytest.raises(NoAssignment, match=r"metrics-0 wants 3 replicas on distinct live brokers, 2 are there; add 1 broker"):
        planners.set_replication(observed, 3, Options(regions=regions))


def test_one_rack_left() -> None:
    """min(replication, racks): with one rack for two replicas there is nothing to refuse."""
    observed = cluster({("t", 0): [1, 4]}, BROKERS)
    plan = planners.rebuild(observed, [1, 4, 7], Options(leaders="keep"))
    assert not builders.problems(plan, [1, 4, 7]) and len(plan.changed) == 0
