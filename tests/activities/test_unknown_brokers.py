"""An id, topic, map or rack that the cluster doesn't have is a bad input that names the field, whichever runbook gets it."""

from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities.move_plans import MovePlanActivities
from activities.step import Access
from kafka_runbooks.catalogue import RUNBOOKS
from kafka_runbooks.models.messages import PlanRequest, Survey
from tests.fakes.world import World
from tests.temporal_env import WorldClusters, make_world

STEPS = {
    "Decommission": MovePlanActivities.plan_decommission,
    "EvacuateLeaders": MovePlanActivities.plan_evacuate_leaders,
    "Rebalance": MovePlanActivities.plan_rebalance,
    "ScaleUp": MovePlanActivities.plan_scale_up,
    "SetReplicationFactor": MovePlanActivities.plan_set_replication_factor,
}


def survey(world: World, runbook: str, **fields: object) -> Survey:
    acts = MovePlanActivities(Access(WorldClusters(world, "main"), None))  # type: ignore[arg-type]
    request = RUNBOOKS[runbook].input.model_validate({"cluster": "main", "requester": "test", **fields})
    asked: PlanRequest[Any] = PlanRequest(request=request)
    found: Survey = ActivityEnvironment().run(getattr(acts, STEPS[runbook].__name__), asked)
    return found


@pytest.mark.parametrize(
    ("runbook", "fields", "field", "unknown"),
    [
        ("Decommission", {"brokers": [1099]}, "brokers", "1099"),
        ("Decommission", {"brokers": [1003, 1099], "remove_pods": True}, "brokers", "1099"),
        ("Decommission", {"rack": "zone-x"}, "rack", "zone-x"),
        ("EvacuateLeaders", {"brokers": [1099]}, "brokers", "1099"),
        ("EvacuateLeaders", {"brokers": [1099], "back": True}, "brokers", "1099"),
        ("ScaleUp", {"brokers": [1099]}, "brokers", "1099"),
        ("Rebalance", {"map": "nowhere"}, "map", "nowhere"),
        ("Rebalance", {"topics": ["nothing"]}, "topics", "nothing"),
        ("SetReplicationFactor", {"topics": ["nothing"], "replication_factor": 2}, "topics", "nothing"),
    ],
)
def test_what_is_not_there_is_a_bad_input(runbook: str, fields: dict[str, object], field: str, unknown: str) -> None:
    found = survey(make_world(), runbook, **fields)
    (reason,) = found.reasons
    assert reason.is_bad_input and reason.message.startswith(field) and unknown in reason.message, reason
    assert found.plan is None and found.nothing_to_do is None


def test_a_broker_that_was_removed_before_is_known_and_has_nothing_left() -> None:
    world = make_world()
    world.add_broker("events", "zone-a")
    world.scale("events", 3)
    world.unregistered.add(1007)
    assert survey(world, "Decommission", brokers=[1007]).nothing_to_do == "brokers 1007 hold no replica"


@pytest.mark.parametrize("lists_fenced_brokers", [True, False])
def test_a_dead_broker_is_of_its_rack(lists_fenced_brokers: bool) -> None:
    world = World()
    world.add_broker("events", "zone-a")
    world.add_topic("events.a", 6, (1002, 1003), replication_factor=2, minimum_in_sync=1)
    world.lose_node("node-events-c")
    world.delete_node("node-events-c")
    if not lists_fenced_brokers:
        world.registered_racks.pop(1003)
    found = survey(world, "Decommission", rack="zone-c")
    assert found.plan is not None and found.plan.title == "decommission brokers 1003, 1006", found
