"""What counts as announced, and which nodes may be empty together."""

from dataclasses import replace

import pytest

from kafka_runbooks.models.drains import DrainedNode
from kafka_runbooks.models.kubernetes import Node
from kafka_runbooks.models.restart_plan import RestartTarget
from kafka_runbooks.models.restarts import KafkaNode, RestartLimits, RestartObservation
from kafka_runbooks.safety.drains import next_nodes, rounds, why_announced
from tests.safety.builders import cluster, part
from tests.safety.restart_strategies import quorum_of

NODE = Node(name="n", uid="u", zone="a", map="m", instance_type=None, is_ready=True)


@pytest.mark.parametrize(
    "taint",
    [
        "ToBeDeletedByClusterAutoscaler",
        "karpenter.sh/disrupted",
        "karpenter.sh/disruption",
        "aws-node-termination-handler/spot-itn",
        "aws-node-termination-handler/scheduled-maintenance",
        "cloud.google.com/impending-node-termination",
    ],
)
def test_what_autoscalers_and_clouds_announce(taint: str) -> None:
    assert taint in (why_announced(NODE.model_copy(update={"taints": ("dedicated", taint)})) or "")


@pytest.mark.parametrize(
    "taint",
    [
        "DeletionCandidateOfClusterAutoscaler",
        "karpenter.sh/unregistered",
        "node.kubernetes.io/unschedulable",
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/out-of-service",
        "dedicated",
    ],
)
def test_what_is_no_announcement(taint: str) -> None:
    assert why_announced(NODE.model_copy(update={"taints": (taint,)})) is None


def test_a_cordon_is_announced_by_others_only() -> None:
    cordoned = NODE.model_copy(update={"is_cordoned": True, "taints": ("node.kubernetes.io/unschedulable",)})
    assert why_announced(cordoned) == "cordoned by somebody else"
    ours = cordoned.model_copy(update={"cordoned_by": "lab/drain/x"})
    assert why_announced(ours) is None
    assert why_announced(ours.model_copy(update={"taints": ("karpenter.sh/disrupted",)})) is not None


def drained(name: str, *kafka: KafkaNode) -> DrainedNode:
    targets = tuple(RestartTarget(node=one, pod=f"pod-{one.id}", pod_uid=f"uid-{one.id}", why="asked for") for one in kafka)
    return DrainedNode(name=name, uid=f"uid-{name}", why="asked for", targets=targets)


def controller(number: int) -> KafkaNode:
    return KafkaNode(id=number, is_broker=False, is_controller=True, rack="r")


def broker(number: int) -> KafkaNode:
    return KafkaNode(id=number, rack="r")


def seen(voters: tuple[int, ...], leader: int, minimum: int = 2) -> RestartObservation:
    """Brokers 11 to 14 with two partitions of three replicas: 11, 12, 13 and 12, 13, 14."""
    snapshot = cluster(
        part((11, 12, 13), (11, 12, 13)), part((12, 13, 14), (12, 13, 14), 1), minimum=minimum, live=(11, 12, 13, 14)
    )
    return RestartObservation(snapshot, quorum_of(voters, leader, observers=(11, 12, 13, 14)), (), age_seconds=0.1)


def test_nodes_whose_brokers_share_no_partition_go_together() -> None:
    nodes = [drained("a", broker(11)), drained("b", broker(12)), drained("c", broker(14))]
    chosen, reasons = next_nodes(seen((1, 2, 3), 1), nodes, RestartLimits())
    assert [node.name for node in chosen] == ["a", "c"]
    assert [reason.name for reason in reasons] == ["below-min-isr:t"]
    assert rounds(seen((1, 2, 3), 1), nodes, RestartLimits(), ()) == (("a", "c"), ("b",))


def test_what_is_on_one_node_is_asked_together() -> None:
    """One by one each of the two might go; together they leave a partition one replica."""
    chosen, reasons = next_nodes(seen((1, 2, 3), 1), [drained("a", broker(12), broker(13))], RestartLimits(headroom=0))
    assert chosen == [] and [reason.name for reason in reasons] == ["below-min-isr:t"]


def test_what_shuts_down_already_counts_as_down() -> None:
    ends = replace(seen((1, 2, 3), 1), shutting_down=[broker(12)])
    assert next_nodes(ends, [drained("a", broker(11))], RestartLimits())[0] == []
    assert next_nodes(ends, [drained("a", broker(12))], RestartLimits())[0], "itself it may be told again"


def test_the_node_of_the_active_controller_waits_for_controllers_on_other_nodes_only() -> None:
    nodes = [drained("a", controller(1)), drained("b", controller(2)), drained("c", broker(11))]
    assert rounds(seen((1, 2, 3), 1), nodes, RestartLimits(), ()) == (("b", "c"), ("a",))
    # Two of five on one node, the active one among them, go together: a majority is left.
    both = [drained("a", controller(1), controller(2))]
    assert rounds(seen((1, 2, 3, 4, 5), 1), both, RestartLimits(headroom=0), ()) == (("a",),)
    assert rounds(seen((1, 2, 3), 1), both, RestartLimits(headroom=0), ()) == ()
