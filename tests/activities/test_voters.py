"""What the plan of a decommission says of voters, and where a new voter is reached."""

from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities.move_plans import MovePlanActivities
from activities.step import Access
from activities.voters import controller_endpoints
from kafka_runbooks.models.cluster import BrokerConfig, ControllerEndpoint
from kafka_runbooks.models.inputs import DecommissionInput
from kafka_runbooks.models.messages import PlanRequest
from kafka_runbooks.safety.voters import NO_SPARE_VOTER
from tests.fakes.kafka import FakeKafka
from tests.fakes.link import FakeLink
from tests.fakes.world import MEGABYTE, World
from tests.temporal_env import WorldClusters


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        ({"voters": None}, []),
        ({"voters": None, "active_controller": 1007}, ["static-quorum"]),
        ({"voters": {1001: "directory-1001", 1002: "directory-1002", 1007: "directory-1007"}}, [NO_SPARE_VOTER]),
        ({"voters": {1001: "directory-1001", 1002: "lost", 1007: "directory-1007"}}, ["no-majority-left"]),
        ({"voters": {1007: "directory-1007"}, "active_controller": 1007}, ["last-voter"]),
        ({"joins_again": {1007}}, ["joins-again:1007"]),
    ],
    ids=["no voter", "static", "none to spare", "no majority", "last", "auto join"],
)
def test_what_the_quorum_can_not_spare_is_refused(change: dict[str, Any], reasons: list[str]) -> None:
    world = World()
    world.add_broker("events", "zone-a")
    world.add_topic("events.b", 4, (1007, 1001), replication_factor=2, minimum_in_sync=1, size_bytes=MEGABYTE)
    world.combine(1001, 1002, 1003, 1004, 1007, voters=5)
    vars(world).update(change)
    acts = MovePlanActivities(Access(WorldClusters(world, "main"), FakeLink()))  # type: ignore[arg-type]
    request = DecommissionInput(cluster="main", requester="alice", brokers=(1007,), remove_pods=True)
    found = ActivityEnvironment().run(acts.plan_decommission, PlanRequest[DecommissionInput](request=request))
    assert [one.name for one in found.reasons] == reasons
    assert found.plan is not None and ("leave the metadata quorum" in found.plan.steps) == (change != {"voters": None})


class Configured(FakeKafka):
    """Brokers with these configurations."""

    def __init__(self, **values: str) -> None:
        super().__init__(World())
        self.values = {name.replace("_", "."): value for name, value in values.items()}

    def broker_configs(self, broker_ids: Any, names: Any = None) -> dict[int, dict[str, BrokerConfig]]:
        return {
            one: {name: BrokerConfig(value, None, None, value, True, False) for name, value in self.values.items()}
            for one in broker_ids
        }


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"listeners": "PLAINTEXT://:9092,CONTROLLER://:9093"}, [("CONTROLLER", "events-0", 9093)]),
        ({"listeners": "PLAINTEXT://0.0.0.0:9092,CONTROLLER://0.0.0.0:9093"}, [("CONTROLLER", "events-0", 9093)]),
        ({"listeners": "controller://10.0.0.1:9093"}, [("CONTROLLER", "10.0.0.1", 9093)]),
        (
            {"listeners": "CONTROLLER://[::]:9093", "advertised_listeners": "CONTROLLER://[fe80::1]:19093"},
            [("CONTROLLER", "fe80::1", 19093)],
        ),
        ({"listeners": "PLAINTEXT://:9092"}, []),
    ],
)
def test_a_controller_is_reached_where_it_advertises_or_listens(
    values: dict[str, str], found: list[tuple[str, str, int]]
) -> None:
    kafka = Configured(controller_listener_names="CONTROLLER", **values)
    assert list(controller_endpoints(kafka, 1001)) == [ControllerEndpoint(*one) for one in found]
