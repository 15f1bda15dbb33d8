"""What runbooks count on in a cluster's Kubernetes objects (docs/quickstart.md), and for each that isn't so what mends it.

A cluster that lacks one of these isn't found, isn't understood, or is restarted by somebody else.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from kafka_runbooks.models import labels
from kafka_runbooks.models.diagnosis import Check
from kafka_runbooks.models.kubernetes import BrokerPod, ControllerPod, DisruptionBudget, Node, StatefulSet

QUICKSTART = "docs/quickstart.md"
ON_DELETE = {"type": "OnDelete", "rollingUpdate": None}


class Objects(NamedTuple):
    """A cluster's objects in Kubernetes."""

    cluster: str
    namespace: str
    stateful_sets: Sequence[StatefulSet]
    brokers: Sequence[BrokerPod]
    controllers: Sequence[ControllerPod]
    nodes: Sequence[Node]
    budgets: Sequence[DisruptionBudget]
    needs_controllers: bool = True
    """In ZooKeeper mode one of the brokers is the controller."""


def check(found: Objects) -> tuple[Check, ...]:
    """Every convention; one entry for each object that doesn't keep it, or one that all do."""
    checks: list[Check] = []
    for about, what, faults in (
        ("StatefulSet", "brokers' and controllers' StatefulSets carry the cluster's label", _sets(found)),
        ("StatefulSet", "updateStrategy is OnDelete: runbooks decide when a node restarts", _strategy(found)),
        ("StatefulSet", "brokers' disks are of volumeClaimTemplates and stay when it is scaled down", _claims(found)),
        ("StatefulSet", "brokers' readiness is the agent's: all replicas are in sync", _readiness(found)),
        ("Pod", "every pod carries the cluster's label", _pods(found)),
        ("Pod", "every broker and controller has a node ID", _ids(found)),
        ("Pod", "Kafka runs in a container called kafka", _containers(found)),
        ("Node", "a node carries one broker, and has a zone and the broker's map", _nodes(found)),
        ("PodDisruptionBudget", "every broker is covered", _budgets(found)),
    ):
        mended = [Check(about=about, what=what, fault=fault, remedy=remedy) for fault, remedy in faults]
        checks += mended or [Check(about=about, what=what)]
    return tuple(checks)


Faults = Iterator[tuple[str, str]]


def _sets(found: Objects) -> Faults:
    mark = {labels.CLUSTER: found.cluster}
    if not any(one.has_brokers for one in found.stateful_sets):
        yield (
            f"no StatefulSet of namespace {found.namespace} is labelled as the brokers of {found.cluster}",
            _marking(found, "NAME", mark | {labels.MAP: "MAP"}),
        )
    has_controllers = any(not one.has_brokers for one in found.stateful_sets) or any(one.is_controller for one in found.brokers)
    if found.needs_controllers and not has_controllers:
        yield (
            f"no controllers of {found.cluster} are labelled",
            f"{_marking(found, 'NAME', mark | {labels.ROLES: labels.CONTROLLER})}; where brokers are controllers too, "
            f"{labels.ROLES}={labels.BROKER_AND_CONTROLLER} beside their other labels",
        )


def _patch(found: Objects, name: str, patch: Mapping[str, Any]) -> str:
    return f"kubectl -n {found.namespace} patch statefulset {name} --type merge -p '{_json(patch)}'"


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))


def _marking(found: Objects, name: str, marks: Mapping[str, str]) -> str:
    """Labels on a StatefulSet and its template; and `OnDelete`, or Kubernetes restarts its pods for the new template."""
    template = {"metadata": {"labels": dict(marks)}}
    return _patch(found, name, {**template, "spec": {"updateStrategy": ON_DELETE, "template": template}})


def _strategy(found: Objects) -> Faults:
    for one in found.stateful_sets:
        if one.update_strategy != "OnDelete":
            patch = {"spec": {"updateStrategy": ON_DELETE}}
            yield f"StatefulSet {one.name} has updateStrategy {one.update_strategy}", _patch(found, one.name, patch)


def _claims(found: Objects) -> Faults:
    """Of brokers: what controllers keep their metadata on no runbook releases."""
    for one in found.stateful_sets:
        if one.has_brokers and not one.claim_templates:
            yield (
                f"StatefulSet {one.name} has no volumeClaimTemplates: no runbook can tell or release its disks",
                f"make the StatefulSet again with volumeClaimTemplates ({QUICKSTART}); its pods can stay (--cascade=orphan)",
            )
        if one.deletes_claims:
            patch = {"spec": {"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Retain"}}}
            yield f"StatefulSet {one.name} deletes the claims of pods that it loses", _patch(found, one.name, patch)


def _readiness(found: Objects) -> Faults:
    for one in found.stateful_sets:
        if one.has_brokers and one.readiness != labels.READINESS:
            yield (
                f"StatefulSet {one.name}: readiness says nothing of replicas, so a restarted broker counts before it is in sync",
                f"readinessProbe: {{httpGet: {{path: /readyz, port: {labels.AGENT_PORT}}}}} on its container kafka, "
                f'beside the agent ({QUICKSTART}, "Add the agent")',
            )


def _pods(found: Objects) -> Faults:
    known = {pod.name for pod in (*found.brokers, *found.controllers)}
    for one in found.stateful_sets:
        if not one.marks_pods:
            yield (
                f"StatefulSet {one.name}: its template lacks labels that it has itself, by which its pods are found",
                _marking(found, one.name, one.marks),
            )
        pods = [f"{one.name}-{ordinal}" for ordinal in range(one.first_ordinal, one.end)]
        if missing := [pod for pod in pods if pod not in known]:
            marks = " ".join(f"{key}={value}" for key, value in one.marks.items())
            yield (
                f"StatefulSet {one.name}: {len(pods) - len(missing)} of {one.replicas} pods carry its labels",
                f"kubectl -n {found.namespace} label pod {' '.join(missing)} {marks} --overwrite",
            )


def _ids(found: Objects) -> Faults:
    for pod in found.brokers:
        if pod.broker_id is None:
            register = f"{labels.BROKER_IDS_CONFIG_MAP_PREFIX}{found.cluster}"
            yield (
                f"pod {pod.name} has no broker ID: neither a label of its agent's nor an entry in {register}",
                f"kubectl -n {found.namespace} patch configmap {register} --type merge -p "
                f"'{_json({'data': {pod.name: 'ID'}})}'; where there is none yet, first: "
                f"kubectl -n {found.namespace} create configmap {register}",
            )
    first = {labels.FIRST_CONTROLLER_ID: "ID-OF-ORDINAL-0"}
    for controller in found.controllers:
        if controller.node_id is None:
            yield (
                f"pod {controller.name} has no node ID",
                f"kubectl -n {found.namespace} annotate pod {controller.name} {labels.FIRST_CONTROLLER_ID}=ID-OF-ORDINAL-0; "
                + _patch(found, controller.stateful_set, {"spec": {"template": {"metadata": {"annotations": first}}}}),
            )


def _containers(found: Objects) -> Faults:
    for pod in (*found.brokers, *found.controllers):
        if pod.is_ready and pod.started_at is None:
            yield (
                f"pod {pod.name} is ready, and has no running container {labels.KAFKA_CONTAINER}",
                f"name: {labels.KAFKA_CONTAINER}, for Kafka's container in the template of StatefulSet {pod.stateful_set}",
            )


def _nodes(found: Objects) -> Faults:
    nodes = {node.name: node for node in found.nodes}
    places = Counter(pod.node for pod in found.brokers if pod.node is not None)
    for name, pods in places.items():
        if pods > 1:
            yield (
                f"node {name} carries {pods} brokers: one disk, machine or drain takes them all",
                "podAntiAffinity with topologyKey kubernetes.io/hostname, in the template of their StatefulSets",
            )
    for pod in found.brokers:
        node = nodes.get(pod.node or "")
        if node is None:
            continue
        if node.zone is None:
            yield (
                f"node {node.name} has no zone, which is the rack of its broker",
                f"kubectl label node {node.name} {labels.ZONE}=ZONE",
            )
        if node.map != pod.map:
            yield (
                f"node {node.name} is labelled as of map {node.map or 'none'}, and carries a broker of {pod.map}",
                f"kubectl label node {node.name} {labels.MAP}={pod.map} --overwrite",
            )


def _budgets(found: Objects) -> Faults:
    covered = sum(budget.selected_pods for budget in found.budgets)
    if found.brokers and covered < len(found.brokers):
        yield (
            f"PodDisruptionBudgets of namespace {found.namespace} cover {covered} pods, fewer than the {len(found.brokers)} "
            "brokers: a drain evicts the others, whatever that does to partitions",
            f"kubectl -n {found.namespace} create poddisruptionbudget kafka-runbooks --max-unavailable=0 "
            f"--selector={labels.CLUSTER}={found.cluster},{labels.MAP}",
        )
