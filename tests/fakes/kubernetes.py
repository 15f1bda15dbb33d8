"""`protocols.Kubernetes` on a `World`."""

from collections.abc import Iterable, Mapping
from typing import Any

from kafka_runbooks.clients.errors import Conflict, Refused, Unreachable
from kafka_runbooks.clients.protocols import Kubernetes, Record
from kafka_runbooks.models import labels
from kafka_runbooks.models.certificates import ClientHandshake, TlsFiles
from kafka_runbooks.models.kubernetes import (
    ApiServer,
    BrokerPod,
    Claim,
    ConfigMap,
    ControllerPod,
    DisruptionBudget,
    FileChanges,
    KafkaPod,
    LastStart,
    Node,
    StatefulSet,
)
from kafka_runbooks.models.rights import Right
from tests.fakes.ensemble import SET
from tests.fakes.kafka import DYNAMIC, SENSITIVE
from tests.fakes.world import World, WorldNode, WorldPod

CONFIG_MAP_BYTES = 1_048_576
ANNOTATIONS_BYTES = 262_144


class FakeKubernetes:
    def __init__(self, world: World) -> None:
        self.world = world

    def broker_pods(self) -> tuple[BrokerPod, ...]:
        self._ask()
        self.world.look()
        return tuple(self._pod(pod) for _, pod in sorted(self.world.pods.items()))

    def _pod(self, pod: WorldPod) -> BrokerPod:
        return BrokerPod(
            **self._common(pod),
            broker_id=pod.broker_id,
            is_controller=pod.broker_id in self.world.directories,
            map=pod.map,
            claims=pod.claims,
            is_ready=self.world.is_ready(pod),
            force_ready=pod.force_ready,
        )

    def controller_pods(self) -> tuple[ControllerPod, ...]:
        self._ask()
        self.world.look()
        return tuple(
            ControllerPod(**self._common(pod), node_id=pod.broker_id, is_ready=self.world.runs(pod))
            for _, pod in sorted(self.world.controllers.items())
        )

    def ensemble_pods(self) -> tuple[KafkaPod, ...]:
        self._ask()
        self.world.look()
        found = self.world.ensemble
        return tuple(
            KafkaPod(
                name=one.pod,
                uid=one.uid,
                stateful_set=SET,
                node=f"node-{one.pod}",
                phase="Running" if one.started_at else "Pending",
                is_ready=found.is_ready(one),
                is_terminating=one.is_terminating,
                revision=one.revision,
                started_at=None if one.server_id in found.killed else one.started_at,
                quorum_tls=one.quorum_tls,
                stuck=f"zookeeper: {found.why_stuck(one)}" if one.started_at is None and found.why_stuck(one) else None,
            )
            for one in (() if found is None else found.members.values())
            if found is not None
        )

    def ensemble_sets(self) -> tuple[StatefulSet, ...]:
        self._ask()
        if self.world.ensemble is None:
            return ()
        return (
            StatefulSet(
                name=SET,
                version="1",
                replicas=len(self.world.ensemble.members),
                update_revision=self.world.revision(SET),
                update_strategy=self.world.update_strategies.get(SET, "OnDelete"),
                has_brokers=False,
                quorum_tls=self.world.ensemble.quorum_tls,
            ),
        )

    def _common(self, pod: WorldPod) -> dict[str, Any]:
        """Of every pod."""
        stuck = self.world.why_stuck(pod) if pod.node and pod.started_at is None else None
        return {
            "name": pod.name,
            "uid": pod.uid,
            "stateful_set": pod.stateful_set,
            "node": pod.node,
            "scheduled_at": pod.scheduled_at if self.world.tls is None else self.world.tls.made_at.get(pod.uid),
            "pod_ip": "10.0.0.1" if pod.started_at else None,
            "phase": "Running" if pod.started_at else "Pending",
            "is_terminating": pod.is_terminating,
            "why_pending": stuck if pod.node else self._why_pending(pod),
            "revision": pod.revision,
            "started_at": None if pod.broker_id in self.world.killed else pod.started_at,
            "restarts": pod.restarts,
            "stuck": stuck and f"kafka: {stuck}",
            "secrets": () if self.world.tls is None else self.world.tls.mounts_of(pod),
        }

    def _why_pending(self, pod: WorldPod) -> str:
        bound_to = self.world.claims[pod.claims[0]].node if pod.claims else pod.home
        if bound_to is None:
            return "0 nodes are available: no free node of this map"
        node = self.world.nodes.get(bound_to)
        if node is not None and node.is_cordoned:
            return f"0 nodes are available: {bound_to} was unschedulable"
        return f"0 nodes are available: only {bound_to} matches PersistentVolume's node affinity"

    def stateful_sets(self) -> tuple[StatefulSet, ...]:
        self._ask()
        return tuple(
            StatefulSet(
                name=name,
                version=f"{name}@{replicas}",
                replicas=replicas,
                first_ordinal=self.world.first_ordinal,
                claim_templates=self.world.claim_templates,
                deletes_claims=self.world.deletes_claims,
                update_revision=self.world.revision(name),
                update_strategy=self.world.update_strategies.get(name, "OnDelete"),
                has_brokers=name != "controller",
                readiness=None if name == "controller" else labels.READINESS,
            )
            for name, replicas in sorted(self.world.stateful_sets.items())
        )

    def scale(self, stateful_set: StatefulSet, replicas: int) -> None:
        self._ask()
        with self.world.act("scale"):
            if stateful_set.version != f"{stateful_set.name}@{self.world.stateful_sets[stateful_set.name]}":
                raise Conflict(f"StatefulSet {stateful_set.name} has changed")
            self.world.scale(stateful_set.name, replicas)

    def denied(self, asked: Iterable[Right]) -> tuple[Right, ...]:
        self._ask()
        return tuple(right for right in asked if right in self.world.denied)

    def server(self) -> ApiServer:
        self._ask()
        return ApiServer(version=(1, 34), clock_ahead_seconds=0.4)

    def broker_ids(self) -> dict[str, int]:
        self._ask()
        return dict(self.world.broker_ids)

    def last_starts(self) -> dict[str, LastStart]:
        self._ask()
        return dict(self.world.last_starts)

    def file_changes(self) -> dict[str, FileChanges]:
        self._ask()
        now = self.world.file
        return {
            name: FileChanges(
                pod_uid=pod.uid,
                started_at=pod.started_at,
                changed={
                    key: now.get(key) if key in DYNAMIC and key not in SENSITIVE else None
                    for key in sorted(now.keys() | pod.file.keys())
                    if now.get(key) != pod.file.get(key)
                },
            )
            for name, pod in sorted(self.world.pods.items())
            if pod.started_at is not None and pod.broker_id not in self.world.killed
        }

    def tls_files(self) -> dict[str, TlsFiles]:
        self._ask()
        tls = self.world.tls
        of_members = {} if self.world.ensemble is None else self.world.ensemble.tls_files()
        if tls is None:
            return of_members
        telling = [pod for pod in tls.pods if pod.name not in tls.no_agent and pod.started_at is not None]
        tls.records |= {pod.name: tls.record_of(pod) for pod in telling}
        return of_members | tls.records

    def client_handshakes(self, pod: str) -> tuple[ClientHandshake, ...] | None:
        self._ask()
        return None if self.world.tls is None else self.world.tls.client_handshakes

    def sync_files(self, pod: str, uid: str) -> None:
        self._ask()
        with self.world.act("sync_files"):
            if self.world.tls is not None and uid in self.world.tls.due:
                self.world.tls.due[uid] = min(self.world.tls.due[uid], self.world.tls.kubelet_steps)

    def disruption_budgets(self) -> tuple[DisruptionBudget, ...]:
        """One for each StatefulSet; `maxUnavailable: 0`, as deployed, or what a test gives in `max_unavailable`."""
        self._ask()
        ready: dict[str, list[bool]] = {}
        for pod in self.world.pods.values():
            ready.setdefault(pod.stateful_set, []).append(self.world.is_ready(pod))
        for pod in self.world.controllers.values():
            ready.setdefault(pod.stateful_set, []).append(self.world.runs(pod))
        most = self.world.max_unavailable
        return tuple(
            DisruptionBudget(name=name, selected_pods=len(found), allowed_disruptions=max(0, most - found.count(False)))
            for name, found in sorted(ready.items())
        )

    def nodes(self) -> tuple[Node, ...]:
        self._ask()
        return tuple(
            Node(
                name=node.name,
                uid=node.uid,
                zone=node.zone,
                map=node.map,
                instance_type=node.instance_type,
                is_ready=node.is_ready or node.name in self.world.unnoticed,
                not_ready_since=node.not_ready_since,
                is_cordoned=node.is_cordoned,
                cordoned_by=node.cordoned_by,
                broker_id=node.broker_id,
                machine=node.machine,
                created_at=node.created_at,
                taints=(*node.taints, *_taints(node)),
            )
            for node in self.world.nodes.values()
        )

    def claim(self, name: str) -> Claim | None:
        self._ask()
        claim = self.world.claims.get(name)
        if claim is None:
            return None
        return Claim(
            name=claim.name,
            uid=claim.uid,
            is_terminating=claim.is_terminating,
            volume=claim.volume,
            volume_nodes=(claim.node,) if claim.node else (),
        )

    def delete_claim(self, name: str, uid: str) -> None:
        self._ask()
        with self.world.act("delete_claim"):
            claim = self.world.claims.get(name)
            if claim is None or claim.uid != uid:
                return
            # Kubernetes keeps a claim while a scheduled pod uses it (storage object in use protection).
            claim.is_terminating = True
            if not any(name in pod.claims and pod.node for pod in self.world.pods.values()):
                self.world.remove_claim(claim)

    def delete_pod(self, name: str, uid: str, *, force: bool) -> None:
        self._ask()
        with self.world.act("delete_pod"):
            ensemble = self.world.ensemble
            if ensemble is not None and name.startswith(f"{SET}-"):
                if ensemble.of_pod(name).uid != uid:
                    raise Conflict(f"pod {name} is another one by now")
                ensemble.delete_pod(name, force=force)
                return
            pod = self.world.pods.get(name) or self.world.controllers.get(name)
            if pod is None:
                return
            if pod.uid != uid:
                raise Conflict(f"pod {name} is another one by now")
            if force or pod.node is None or self.world.nodes[pod.node].is_ready:
                self.world.end_pod(pod, is_killed=force)
            else:
                pod.is_terminating = True

    def cordon(self, node: str, uid: str, owner: str) -> None:
        self._ask()
        with self.world.act("cordon"):
            found = self.world.nodes.get(node)
            if found is not None and found.uid == uid and not found.is_cordoned:
                found.is_cordoned, found.cordoned_by = True, owner

    def uncordon(self, node: str, uid: str, owner: str) -> None:
        self._ask()
        with self.world.act("uncordon"):
            found = self.world.nodes.get(node)
            if found is not None and found.uid == uid and found.cordoned_by == owner:
                found.is_cordoned, found.cordoned_by = False, None

    def clear_broker_label(self, node: str, uid: str) -> None:
        self._ask()
        with self.world.act("clear_broker_label"):
            found = self.world.nodes.get(node)
            if found is not None and found.uid == uid:
                found.broker_id = None

    def definitions(self, kind: str) -> tuple[ConfigMap, ...]:
        self._ask()
        found = self.world.definitions if kind == labels.TOPICS else {}
        return tuple(
            ConfigMap(name=name, uid=f"uid-of-{name}", data=data, annotations=self.world.annotations.get(name, {}))
            for name, data in sorted(found.items())
        )

    def tell(self, config_map: ConfigMap, reason: str, message: str, *, is_warning: bool) -> None:
        self._ask()
        assert len(message) <= 1024
        if self.world.events_are_forbidden:
            raise Refused("event: 403 Forbidden")
        self.world.events[config_map.name, reason] = message, is_warning

    def read_record(self, name: str) -> Record | None:
        self._ask()
        found = self.world.records.get(name)
        if found is None:
            return None
        return Record(dict(found[1]), self._version(name) or "", dict(self.world.record_annotations.get(name, {})))

    def _version(self, name: str) -> str | None:
        """None where there is none; a record that a test put there has one too."""
        return self.world.record_versions.setdefault(name, self.world.new_uid()) if name in self.world.records else None

    def write_record(
        self,
        name: str,
        kind: str,
        parts: Mapping[str, bytes],
        summary: str,
        version: str | None,
        annotations: Mapping[str, str],
    ) -> str:
        self._ask()
        # As the API server validates it: text and decoded binary data together, keys of annotations with their values.
        if sum(map(len, parts.values())) + len(summary.encode()) > CONFIG_MAP_BYTES:
            raise Refused(f"ConfigMap {name} is too long: must have at most {CONFIG_MAP_BYTES} bytes")
        if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > ANNOTATIONS_BYTES:
            raise Refused(f"ConfigMap {name}: metadata.annotations is too long: must have at most {ANNOTATIONS_BYTES} bytes")
        with self.world.act("write_record"):
            if self._version(name) != version:
                raise Conflict(f"record {name} has changed")
            self.world.records[name] = (kind, {**parts, "summary": summary.encode()})
            self.world.record_annotations[name] = dict(annotations)
            self.world.record_versions[name] = self.world.new_uid()
        return self.world.record_versions[name]

    def delete_record(self, name: str, version: str | None = None) -> None:
        self._ask()
        with self.world.act("delete_record"):
            if version is not None and self._version(name) not in (None, version):
                raise Conflict(f"record {name} has changed")
            self.world.records.pop(name, None)
            self.world.record_versions.pop(name, None)
            self.world.record_annotations.pop(name, None)

    def records(self, kind: str) -> dict[str, Mapping[str, str]]:
        self._ask()
        return {
            name: dict(self.world.record_annotations.get(name, {}))
            for name, (record_kind, _) in sorted(self.world.records.items())
            if record_kind == kind
        }

    def _ask(self) -> None:
        if self.world.is_kubernetes_away:
            raise Unreachable("the Kubernetes API doesn't answer")


def _taints(node: WorldNode) -> tuple[str, ...]:
    """Those that Kubernetes sets by a node's state."""
    away = () if node.is_ready else ("node.kubernetes.io/unreachable",)
    return (*away, *(("node.kubernetes.io/unschedulable",) if node.is_cordoned else ()))


def _conforms(world: World) -> Kubernetes:
    return FakeKubernetes(world)
