"""Controllers that leave the metadata quorum for good, and controllers that become voters (KIP-853), one at a time.

Each look asks the quorum who votes; neither a reply nor an earlier look is remembered. Kafka's own checks are few, so the rules
of `safety.voters` are asked right before each change.
"""

import re
import time
from collections.abc import Collection, Mapping

from activities import plan_store
from activities.errors import NotProven, PlanDrift
from activities.permits import Fence
from activities.step import Reporter, Steps, poll, step, wait
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.clients.errors import Refused, Unreachable
from kafka_runbooks.clients.protocols import Kafka
from kafka_runbooks.models.cluster import BrokerConfig, ControllerEndpoint, MetadataQuorum
from kafka_runbooks.models.messages import StepRequest
from kafka_runbooks.models.results import Reason
from kafka_runbooks.models.status import Progress
from kafka_runbooks.moves.planning import Controllers
from kafka_runbooks.safety.availability import listed
from kafka_runbooks.safety.moves import unacknowledged
from kafka_runbooks.safety.voters import (
    AUTO_JOIN,
    in_order_of_leaving,
    lacks_its_vote,
    observer,
    reasons_not_to_leave,
    why_not_to_join,
)

JOIN_PATIENCE_SECONDS = 120.0
"""For a controller to catch up with the metadata log, which its broker's data don't wait for."""
ROLES, LISTENERS, ADVERTISED, CONTROLLER_LISTENERS = (
    "process.roles",
    "listeners",
    "advertised.listeners",
    "controller.listener.names",
)
_LISTENER = re.compile(r"(?P<name>\w+)://(?P<host>\[[^\]]*\]|[^:,]*):(?P<port>\d+)")
ANY_HOST = ("", "0.0.0.0", "[::]")


class VoterActivities(Steps):
    """Changes of the quorum's voters."""

    @step
    def leave_quorum(self, request: StepRequest) -> str:
        """Take the plan's voters out of the quorum, and see that they are out of it; returns who has left, and who votes now.

        The active controller resigns when its turn comes, and another one is elected.
        """
        clients, fence = self._open(request.token.cluster), Fence(self._link, request.token)
        leaving = plan_store.load_moves(clients.kubernetes, request).leaving_voters

        def look() -> str | None:
            quorum, against = _quorum(clients.kafka), list[Reason]()
            for _ in leaving:
                going = in_order_of_leaving(quorum, leaving)
                against = unacknowledged(reasons_not_to_leave(quorum, leaving), request.acknowledged_risks)
                if not going or against:
                    break
                fence.check()
                clients.kafka.remove_voter(going[0].id, going[0].directory_id or "")
                quorum = _quorum(clients.kafka)
            left = quorum.voter_ids.intersection(leaving)
            if not left:
                return f"controller {listed(sorted(leaving))} has left the metadata quorum, whose voters are {_named(quorum)}"
            _report(
                f"controller {listed(sorted(left))} is a voter still" + "".join(f": {reason.message}" for reason in against),
                "; ".join(reason.remedy for reason in against) or "the quorum is without it",
                tuple(reason.name for reason in against),
            )
            return None

        return wait(look)

    @step
    def join_quorum(self, request: StepRequest) -> tuple[str, ...]:
        """Make the plan's controllers voters, each once it has caught up; returns what is to be said of them.

        The vote of a disk that is lost is taken away first. One that isn't ready in time stays without a vote.
        """
        clients, fence = self._open(request.token.cluster), Fence(self._link, request.token)
        joining = plan_store.load_moves(clients.kubernetes, request).joining_voters
        ends_at = time.monotonic() + JOIN_PATIENCE_SECONDS

        def look() -> tuple[str, ...] | None:
            late = {node: why for node in joining if (why := _join(clients, fence, node)) is not None}
            if not late or time.monotonic() > ends_at:
                joined, quorum = [node for node in joining if node not in late], _quorum(clients.kafka)
                said = [f"controller {listed(joined)} votes in the metadata quorum, whose voters are {_named(quorum)}"]
                return (*(said if joined else ()), *(f"controller {node} has no vote: {why}" for node, why in late.items()))
            whys = "; ".join(f"controller {node}: {why}" for node, why in late.items())
            _report(f"not a voter yet: {whys}", "it has caught up", tuple(f"controller {node}" for node in late))
            return None

        return poll(look, soon=True)


def controllers_among(clients: ClusterClients, broker_ids: Collection[int], *, only_voters: bool = False) -> Controllers:
    """Which of these live brokers are controllers too, by their own word, and the quorum."""
    quorum = clients.kafka.metadata_quorum()
    if quorum is None:
        return Controllers(None)
    asked = quorum.voter_ids.intersection(broker_ids) if only_voters else broker_ids
    configs = {broker: _values(found) for broker, found in clients.kafka.broker_configs(asked, [ROLES, AUTO_JOIN]).items()}
    ids = {broker for broker, found in configs.items() if "controller" in (found.get(ROLES) or "")}
    return Controllers(quorum, frozenset(ids), frozenset(one for one in ids if configs[one].get(AUTO_JOIN) == "true"))


def ensure_no_vote(kafka: Kafka, leaving: Collection[int]) -> None:
    """See that none of these brokers, whose pods are about to go or gone, votes in the quorum.

    Raises:
        PlanDrift: one does.
        NotProven: no controller answers.
    """
    try:
        quorum = kafka.metadata_quorum()
    except Unreachable as error:
        raise NotProven(f"nobody knows who votes: no controller answers ({error})") from error
    if quorum is not None and (voting := sorted(quorum.voter_ids.intersection(leaving))):
        raise PlanDrift(f"controller {listed(voting)} is a voter of the metadata quorum")


def _join(clients: ClusterClients, fence: Fence, node_id: int) -> str | None:
    """Make a controller a voter if it may be one now; returns why it is none yet."""
    quorum = _quorum(clients.kafka)
    if not lacks_its_vote(quorum, node_id):
        return None
    if (why := why_not_to_join(quorum, node_id)) is not None:
        return why
    found = observer(quorum, node_id)
    endpoints = controller_endpoints(clients.kafka, node_id)
    if found is None or found.directory_id is None or not endpoints:
        return "it doesn't tell its controller's listeners"
    try:
        for lost in [voter for voter in quorum.voters if voter.id == node_id]:
            fence.check()
            clients.kafka.remove_voter(node_id, lost.directory_id or "")
        fence.check()
        clients.kafka.add_voter(node_id, found.directory_id, endpoints)
    except (Unreachable, Refused) as error:
        return str(error)
    return "the quorum doesn't list it yet" if lacks_its_vote(_quorum(clients.kafka), node_id) else None


def controller_endpoints(kafka: Kafka, node_id: int) -> tuple[ControllerEndpoint, ...]:
    """Where other controllers reach a combined node: by what it advertises, else by what it listens on.

    One that listens on every address is known by the host that its broker advertises. A voter corrects its own entry (KIP-853).
    """
    names = (LISTENERS, ADVERTISED, CONTROLLER_LISTENERS)
    values = _values(kafka.broker_configs([node_id], names).get(node_id, {}))
    known = {found["name"].upper(): found for key in names[:2] for found in _LISTENER.finditer(values.get(key) or "")}
    own_host = next((broker.host for broker in kafka.snapshot(()).brokers if broker.id == node_id), "")
    return tuple(
        ControllerEndpoint(name, own_host if found["host"] in ANY_HOST else found["host"].strip("[]"), int(found["port"]))
        for name in (values.get(CONTROLLER_LISTENERS) or "").split(",")
        if (found := known.get(name.strip().upper())) is not None
    )


def _values(configs: Mapping[str, BrokerConfig]) -> dict[str, str | None]:
    return {name: config.in_force for name, config in configs.items()}


def _quorum(kafka: Kafka) -> MetadataQuorum:
    quorum = kafka.metadata_quorum()
    if quorum is None:
        raise PlanDrift("the cluster has no metadata quorum: it is in ZooKeeper mode")
    return quorum


def _named(quorum: MetadataQuorum) -> str:
    return listed(sorted(quorum.voter_ids))


def _report(reason: str, until: str, blocking: tuple[str, ...]) -> None:
    Reporter.current().report(Progress(waiting=Reporter.current().waiting(reason, until, blocking)))
