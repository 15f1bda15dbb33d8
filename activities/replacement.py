"""Preflight of `ReplaceBroker`: find the brokers, and collect every reason not to start."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from activities import plan_store, proof, second_person
from activities.replacement_plans import broken_rules, freeze, summarise
from activities.step import POLL_SECONDS, Steps, heartbeating, step
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.models.cluster import ClusterSnapshot
from kafka_runbooks.models.inputs import NodeState, ReplaceBrokerInput
from kafka_runbooks.models.kubernetes import BrokerPlace, BrokerPod
from kafka_runbooks.models.messages import PlanRequest, Survey
from kafka_runbooks.models.replacement import ReplacementPlan
from kafka_runbooks.models.results import Reason
from kafka_runbooks.safety import lost_node, replacement
from kafka_runbooks.safety.availability import may_go_down, under_min_isr

SILENT_SECONDS = 60.0
"""By then a node without power is NotReady, and its broker unregistered (after 40 s and 9 s by default)."""

NOTED = 20
"""Observations of a kind that an operator is told."""


class ReplacementActivities(Steps):
    """The plan of `ReplaceBroker`."""

    @step
    def plan_replace_broker(self, asked: PlanRequest[ReplaceBrokerInput]) -> Survey:
        """Find the brokers and every reason against replacing them, and freeze the plan. Changes nothing.

        When the rest of an approved plan is planned again, and when brokers are added to it, the approved places are kept: claims
        may have been replaced since.
        """
        with heartbeating():
            clients, request = self._open(asked.request.cluster), asked.request
            kept: tuple[BrokerPlace, ...] = ()
            if asked.approved is not None:
                kept = plan_store.load_as(clients.kubernetes, asked.approved, ReplacementPlan).places
            if asked.approved is not None and not asked.adds:
                found = _judged(clients, request, clients.kafka.snapshot(), kept)
            else:
                found = _patiently(clients, request, kept)
            if not found.places or found.nothing_to_do is not None:
                return Survey(reasons=found.reasons, notes=found.notes, nothing_to_do=found.nothing_to_do)
            is_blocked = any(not reason.can_be_acknowledged for reason in found.reasons)
            if is_blocked and asked.token is not None:
                return Survey(reasons=found.reasons, notes=found.notes)
            sizes = clients.kafka.replica_sizes(found.snapshot.live_broker_ids)
            places = tuple(sorted((*kept, *found.places) if asked.adds else found.places, key=lambda place: place.broker_id))
            plan = freeze(clients, request, found.snapshot, sizes, places, asked.token)
            reasons = found.reasons if is_blocked else (*found.reasons, *broken_rules(clients, plan, found.snapshot, sizes))
            if asked.token is not None and asked.keeps_plan(reasons):
                plan_store.save(clients.kubernetes, plan, asked.token)
            survey = Survey(plan=summarise(clients, plan, found.snapshot, asked.token), reasons=reasons, notes=found.notes)
            return second_person.demanded(clients.settings, request, survey)


@dataclass(frozen=True)
class Found:
    """Result of the preflight. `places` is empty if a broker can't be found, or there is none to find."""

    snapshot: ClusterSnapshot
    places: tuple[BrokerPlace, ...]
    reasons: tuple[Reason, ...] = ()
    notes: tuple[str, ...] = ()
    nothing_to_do: str | None = None


def _patiently(clients: ClusterClients, request: ReplaceBrokerInput, kept: Sequence[BrokerPlace]) -> Found:
    """Preflight; a broker that doesn't answer, or is down on a node that counts as up, may have lost power, unnoticed so far."""
    gives_up = time.monotonic() + SILENT_SECONDS
    while True:
        found, doubtful = _preflight(clients, request, kept)
        if time.monotonic() > gives_up or not _may_be_lost(clients, doubtful, found.snapshot):
            return found
        time.sleep(POLL_SECONDS)


def _may_be_lost(clients: ClusterClients, doubtful: frozenset[int], snapshot: ClusterSnapshot) -> bool:
    """Whether one of these is down, or doesn't answer."""
    up = doubtful & snapshot.live_broker_ids
    return doubtful != up or bool(up and clients.kafka.replica_sizes(sorted(up)).unanswered_broker_ids)


def _preflight(clients: ClusterClients, request: ReplaceBrokerInput, kept: Sequence[BrokerPlace]) -> tuple[Found, frozenset[int]]:
    """What was found, and the doubtful brokers: those that are meant and count as up, or whose node does, if disks are lost.

    Args:
        kept: brokers that are brought back already.
    """
    seen, snapshot = _Seen(clients), clients.kafka.snapshot()
    notes: list[str] = []
    if request.zone is not None:
        everyone = [seen.place(broker_id, snapshot, request) for broker_id in seen.known_in(request.zone, snapshot)]
        there = [place for place in everyone if place.rack == request.zone]
        if not there and (reason := replacement.unknown_zone(request.zone, seen.racks(snapshot))) is not None:
            return Found(snapshot, (), reasons=(reason,)), frozenset()
        places = [place for place in there if replacement.needs_return(request.node_state, place, seen.nodes, snapshot)]
        left = [place for place in there if place not in places]
        notes += [
            f"broker {place.broker_id} of {request.zone} is left alone: {_why_left(place, seen, snapshot)}" for place in left
        ]
        doubtful = frozenset(place.broker_id for place in left)
    else:
        named: list[int | str] = [*request.broker_ids, *request.nodes]
        meant = [
            replacement.find_broker(one, request.cluster, seen.pods, seen.nodes, seen.broker_ids, seen.last_starts)
            for one in named
        ]
        if reasons := tuple(one for one in meant if isinstance(one, Reason)):
            return Found(snapshot, (), reasons=reasons), frozenset()
        ids = sorted({one for one in meant if isinstance(one, int)})
        places = [seen.place(broker_id, snapshot, request) for broker_id in ids]
        doubtful = frozenset(ids) & snapshot.live_broker_ids
    again = {place.broker_id for place in kept}
    places = [place for place in places if place.broker_id not in again]
    is_lost = request.node_state is NodeState.LOST and request.replacement_broker_id is None
    if not places:
        nothing = "all of them are being brought back already" if again else f"no broker of zone {request.zone} has to come back"
        return Found(snapshot, (), notes=tuple(notes[:NOTED]), nothing_to_do=nothing), doubtful if is_lost else frozenset()
    found = _judged(clients, request, snapshot, places, also_lost=again)
    return replace(found, notes=(*notes[:NOTED], *found.notes)), doubtful if is_lost else frozenset()


class _Seen:
    """Pods, nodes, and what was recorded of brokers, asked once."""

    def __init__(self, clients: ClusterClients) -> None:
        self._clients = clients
        kubernetes = clients.kubernetes
        self.pods, self.nodes, self.broker_ids = kubernetes.broker_pods(), kubernetes.nodes(), kubernetes.broker_ids()
        self.last_starts = kubernetes.last_starts()

    def known_in(self, zone: str, snapshot: ClusterSnapshot) -> list[int]:
        """Brokers that are, or may have been, in a zone."""
        starts = {self.broker_ids[pod]: last.rack for pod, last in self.last_starts.items() if pod in self.broker_ids}
        known = {*self.broker_ids.values(), *(pod.broker_id for pod in self.pods if pod.broker_id is not None)}
        return sorted(one for one in known if (snapshot.racks.get(one) or starts.get(one) or zone) == zone)

    def racks(self, snapshot: ClusterSnapshot) -> frozenset[str]:
        """Every rack that is known."""
        return frozenset(rack for rack in (*snapshot.racks.values(), *(one.rack for one in self.last_starts.values())) if rack)

    def pod(self, broker_id: int) -> BrokerPod | None:
        return next((pod for pod in self.pods if pod.broker_id == broker_id), None)

    def place(self, broker_id: int, snapshot: ClusterSnapshot, request: ReplaceBrokerInput) -> BrokerPlace:
        pod = self.pod(broker_id)
        name = pod.name if pod is not None else next(name for name, known in self.broker_ids.items() if known == broker_id)
        kubernetes = self._clients.kubernetes
        claims = [found for claim in _claims_of(self._clients, name, pod) if (found := kubernetes.claim(claim)) is not None]
        place = replacement.place_of(broker_id, name, pod, claims, self.nodes, snapshot, self.last_starts.get(name))
        return place.model_copy(update={"node_is_gone": request.node_is_gone})


def _why_left(place: BrokerPlace, seen: _Seen, snapshot: ClusterSnapshot) -> str:
    against = lost_node.why_node_is_not_gone(seen.nodes, place)
    if place.broker_id in snapshot.live_broker_ids:
        return "it is up" if against is None else f"it is up, and {against[0]}"
    return "it is in sync" if against is None else against[0]


def _judged(
    clients: ClusterClients,
    request: ReplaceBrokerInput,
    snapshot: ClusterSnapshot,
    places: Sequence[BrokerPlace],
    also_lost: Collection[int] = (),
) -> Found:
    """Every reason against replacing the brokers of these places, also when the rest of a plan is planned again.

    Args:
        also_lost: brokers that are brought back already, and whose copies don't count before they are in sync.
    """
    pods, nodes, reassignments = clients.kubernetes.broker_pods(), clients.kubernetes.nodes(), clients.kafka.reassignments()
    together = {place.broker_id for place in places}
    refusing = [partition for partition in under_min_isr(snapshot) if together.intersection(partition.replicas)]
    notes = [f"{partition.name} refuses acks=all writes until the broker is back" for partition in refusing]
    if up := sorted(together & snapshot.live_broker_ids):
        who = ", ".join(map(str, up))
        notes += [f"if broker {who} goes down now: {reason.message}" for reason in may_go_down(snapshot, up)]
    reasons: list[Reason] = []
    nothing: list[str | None] = []
    for place in places:
        pod = next((pod for pod in pods if pod.broker_id == place.broker_id), None)
        node = next((node for node in nodes if lost_node.is_node_of(node, place)), None)
        reasons += replacement.reasons_not_to_replace(request, place.broker_id, pod, node, snapshot, reassignments)
        nothing.append(replacement.why_nothing_to_do(request, place.broker_id, pod, node, snapshot))
    if request.node_state is NodeState.LOST and request.replacement_broker_id is None:
        reasons += proof.reasons_against(clients, request.cluster)
    lost = together | {one for one in also_lost if one not in snapshot.live_broker_ids}
    reasons += replacement.unacknowledged_risks(request, lost, snapshot)
    return Found(
        snapshot,
        tuple(places),
        reasons=tuple(dict.fromkeys(reasons)),
        notes=(*replacement.forced_ready(pods, datetime.now(UTC)), *notes[:NOTED]),
        nothing_to_do="; ".join(why for why in nothing if why) if nothing and all(nothing) else None,
    )


def _claims_of(clients: ClusterClients, name: str, pod: BrokerPod | None) -> tuple[str, ...]:
    """The names of a pod's claims; of one that is gone, by its StatefulSet's templates."""
    if pod is not None:
        return pod.claims
    owner = name.rpartition("-")[0]
    return next((one.claims_of(name) for one in clients.kubernetes.stateful_sets() if one.name == owner), ())
