"""Clusters that aren't deployed as ours: what each runbook says where brokers have no agent, and where Strimzi runs them.

`docs/quickstart.md` has the table; it is compared with what is seen here, and on the lab by `tests/lab/test_quickstart.py`.
"""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from kafka_runbooks.catalogue import command_name
from kafka_runbooks.models.kubernetes import BrokerPod, ControllerPod, FileChanges, LastStart, StatefulSet
from kafka_runbooks.models.messages import Survey
from tests import quickstart
from tests.fakes.kubernetes import FakeKubernetes
from tests.fakes.world import World
from tests.temporal_env import Bench, bench
from tests.topics.builders import topic


class WithoutAgent(FakeKubernetes):
    """Labelled as ours, with broker IDs that somebody has written into the register; no agent has recorded anything."""

    def last_starts(self) -> dict[str, LastStart]:
        return {}

    def file_changes(self) -> dict[str, FileChanges]:
        return {}

    def stateful_sets(self) -> tuple[StatefulSet, ...]:
        return tuple(one.model_copy(update={"readiness": "9092/"}) for one in super().stateful_sets())


class OfStrimzi(WithoutAgent):
    """Strimzi's pods are of StrimziPodSets and carry its labels, not ours; and there is no register."""

    def broker_ids(self) -> dict[str, int]:
        return {}

    def broker_pods(self) -> tuple[BrokerPod, ...]:
        return ()

    def controller_pods(self) -> tuple[ControllerPod, ...]:
        return ()

    def stateful_sets(self) -> tuple[StatefulSet, ...]:
        return ()


INPUTS: dict[str, dict[str, Any]] = {
    "Rebalance": {},
    "ScaleUp": {"brokers": [1004]},
    "Decommission": {"brokers": [1003]},
    "SetReplicationFactor": {"topics": ["events.a"], "replication_factor": 2},
    "EvacuateLeaders": {"brokers": [1001]},
    "RollingRestart": {"reason": "CHG-1"},
    "Upgrade": {"reason": "CHG-1"},
    "RotateCertificates": {"reason": "CHG-1", "mode": "renew"},
    "Drain": {"reason": "CHG-1", "nodes": ["node-events-b"]},
    "RunPlan": {"plan": {"version": 1, "partitions": [{"topic": "events.a", "partition": 0, "replicas": [1002, 1001, 1003]}]}},
    "TopicReconcile": {},
    "ReplaceBroker": {"broker_id": 1001, "node_is_gone": True},
}
DEFINITIONS = "maps:\n  - {name: orders, topics: orders, brokers: [1001, 1002, 1003]}\ntopics:\n" + topic("orders")


@pytest_asyncio.fixture(scope="module")
async def foreign(server: WorkflowEnvironment) -> AsyncIterator[Bench]:
    """With a broker, 1004, that holds nothing yet."""
    world = World(zones=("zone-a", "zone-b", "zone-c", "zone-d"), controllers=3)
    world.add_topic("events.a", 6, (1001, 1002, 1003), size_bytes=30_000_000)
    world.add_topic("checks.a", 6, (1005, 1006, 1007), size_bytes=30_000_000)
    async with bench(server, world) as ready:
        yield ready


async def said(ready: Bench, runbook: str) -> str:
    """What a preview of the runbook comes to, in the words of the table."""
    asked = {"runbook": runbook, "request": {"cluster": ready.cluster, "requester": "test", **INPUTS[runbook]}}
    survey = await ready.client.execute_workflow(
        "Preview", asked, id=f"preview/{uuid.uuid4()}", task_queue=ready.task_queue, result_type=Survey
    )
    against = [reason.name for reason in survey.reasons if not reason.can_be_acknowledged]
    if against:
        return f"refuses: `{against[0]}`"
    return "plans" if survey.plan is not None else "nothing to do"


async def test_the_table_says_what_each_runbook_says(foreign: Bench) -> None:
    foreign.world.change_template("events")
    foreign.world.definitions["topics"] = {"topics.yaml": DEFINITIONS}
    seen: dict[str, list[str]] = {}
    lost = foreign.world.pod_of(1001)
    assert lost is not None and lost.node is not None
    for runbook in INPUTS:
        if runbook == "ReplaceBroker":  # Last in INPUTS: the others are asked of a cluster in order.
            foreign.world.lose_node(lost.node)
            foreign.world.add_node("spare", "zone-a", "events")
        for kind in (WithoutAgent, OfStrimzi):
            foreign.clusters.look_through(kind(foreign.world))
            seen.setdefault(command_name(runbook), []).append(await said(foreign, runbook))
    assert {name: tuple(found) for name, found in seen.items()} == quickstart.table(), seen
