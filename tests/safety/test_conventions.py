"""What runbooks count on in Kubernetes: each object that doesn't keep a convention is named, with what mends it."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from kafka_runbooks.models import labels
from kafka_runbooks.models.kubernetes import BrokerPod, ControllerPod, DisruptionBudget, Node, StatefulSet
from kafka_runbooks.safety.conventions import Objects, check

STARTED = datetime(2026, 1, 1, tzinfo=UTC)


def good() -> Objects:
    names = [f"kafka-events-{number}" for number in range(2)]
    return Objects(
        cluster="prod",
        namespace="kafka",
        stateful_sets=(
            StatefulSet(
                name="kafka-events",
                version="1",
                replicas=2,
                update_strategy="OnDelete",
                readiness=labels.READINESS,
                marks={labels.CLUSTER: "prod", labels.MAP: "events"},
            ),
            StatefulSet(
                name="controller", version="1", replicas=1, update_strategy="OnDelete", has_brokers=False, claim_templates=()
            ),
        ),
        brokers=[
            BrokerPod(
                name=name,
                uid=name,
                stateful_set="kafka-events",
                broker_id=1001 + number,
                map="events",
                node=f"node-{number}",
                is_ready=True,
                started_at=STARTED,
            )
            for number, name in enumerate(names)
        ],
        controllers=[
            ControllerPod(name="controller-0", uid="c", stateful_set="controller", node_id=1, is_ready=True, started_at=STARTED)
        ],
        nodes=[
            Node(name=f"node-{number}", uid="u", zone="a", map="events", instance_type=None, is_ready=True) for number in range(2)
        ],
        budgets=[DisruptionBudget(name="kafka", selected_pods=2, allowed_disruptions=0)],
    )


def changed_set(**fields: object) -> Callable[[Objects], Objects]:
    return lambda found: found._replace(
        stateful_sets=(found.stateful_sets[0].model_copy(update=fields), *found.stateful_sets[1:])
    )


def changed_broker(**fields: object) -> Callable[[Objects], Objects]:
    return lambda found: found._replace(brokers=[found.brokers[0].model_copy(update=fields), *found.brokers[1:]])


def changed_node(**fields: object) -> Callable[[Objects], Objects]:
    return lambda found: found._replace(nodes=[found.nodes[0].model_copy(update=fields), *found.nodes[1:]])


def test_a_cluster_that_keeps_all_has_no_fault() -> None:
    assert [one.fault for one in check(good()) if one.fault] == []


def test_in_zookeeper_mode_there_are_no_controllers_to_find() -> None:
    found = good()._replace(stateful_sets=good().stateful_sets[:1], controllers=[], needs_controllers=False)
    assert [one.fault for one in check(found) if one.fault] == []


def test_combined_nodes_are_controllers_too() -> None:
    found = changed_broker(is_controller=True)(good())
    combined = found._replace(stateful_sets=found.stateful_sets[:1], controllers=[])
    assert [one.fault for one in check(combined) if one.fault] == []


@pytest.mark.parametrize(
    ("change", "fault", "remedy"),
    [
        (
            lambda found: found._replace(stateful_sets=found.stateful_sets[1:], brokers=[]),
            "no StatefulSet of namespace kafka is labelled as the brokers of prod",
            """statefulset NAME --type merge -p '{"metadata":{"labels":{"kafka-runbooks.io/cluster":"prod","""
            """"kafka-runbooks.io/map":"MAP"}},"spec":{"updateStrategy":{"type":"OnDelete","rollingUpdate":null},"template":""",
        ),
        (
            lambda found: found._replace(stateful_sets=found.stateful_sets[:1], controllers=[]),
            "no controllers of prod are labelled",
            """"kafka-runbooks.io/roles":"controller"}},"spec":{"updateStrategy":{"type":"OnDelete","rollingUpdate":null},""",
        ),
        (
            changed_set(update_strategy="RollingUpdate"),
            "StatefulSet kafka-events has updateStrategy RollingUpdate",
            """statefulset kafka-events --type merge -p '{"spec":{"updateStrategy":{"type":"OnDelete","rollingUpdate":null}}}'""",
        ),
        (changed_set(claim_templates=()), "has no volumeClaimTemplates", "volumeClaimTemplates"),
        (changed_set(deletes_claims=True), "deletes the claims", '"whenScaled":"Retain"'),
        (changed_set(readiness="9092/"), "readiness says nothing of replicas", "path: /readyz, port: 8099"),
        (changed_set(readiness=None), "readiness says nothing of replicas", "path: /readyz, port: 8099"),
        (
            changed_set(marks_pods=False),
            "its template lacks labels",
            """"template":{"metadata":{"labels":{"kafka-runbooks.io/cluster":"prod","kafka-runbooks.io/map":"events"}}}}}'""",
        ),
        (
            changed_set(replicas=4),
            "2 of 4 pods carry its labels",
            "kubectl -n kafka label pod kafka-events-2 kafka-events-3 "
            "kafka-runbooks.io/cluster=prod kafka-runbooks.io/map=events --overwrite",
        ),
        (
            changed_broker(broker_id=None),
            "pod kafka-events-0 has no broker ID",
            """patch configmap kafka-broker-ids-prod --type merge -p '{"data":{"kafka-events-0":"ID"}}'; """
            "where there is none yet, first: kubectl -n kafka create configmap kafka-broker-ids-prod",
        ),
        (
            lambda found: found._replace(controllers=[found.controllers[0].model_copy(update={"node_id": None})]),
            "pod controller-0 has no node ID",
            "annotate pod controller-0 kafka-runbooks.io/first-controller-id=ID-OF-ORDINAL-0; kubectl -n kafka patch statefulset "
            """controller --type merge -p '{"spec":{"template":{"metadata":{"annotations":""",
        ),
        (changed_broker(started_at=None), "has no running container kafka", "name: kafka"),
        (changed_broker(node="node-1"), "node node-1 carries 2 brokers", "podAntiAffinity"),
        (changed_node(zone=None), "node node-0 has no zone", "label node node-0 topology.kubernetes.io/zone=ZONE"),
        (
            changed_node(map=None),
            "node node-0 is labelled as of map none, and carries a broker of events",
            "label node node-0 kafka-runbooks.io/map=events",
        ),
        (lambda found: found._replace(budgets=[]), "cover 0 pods, fewer than the 2 brokers", "--max-unavailable=0"),
    ],
)
def test_what_is_not_kept_is_named_with_what_mends_it(change: Callable[[Objects], Objects], fault: str, remedy: str) -> None:
    (found,) = [one for one in check(change(good())) if one.fault]
    assert found.fault is not None and fault in found.fault
    assert found.remedy is not None and remedy in found.remedy
