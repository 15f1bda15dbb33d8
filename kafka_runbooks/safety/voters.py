"""May the voters of the metadata quorum change so (KIP-853)? Who leaves it for good, in which order, and who may join it.

Kafka asks little itself. It removes any voter, even the last one, and commits that by a majority of those that are left, whether
they are up or not; and what becomes a voter may be an hour behind. Voters change one at a time. Those that are behind leave
first, which makes the others' majority safer, and the active controller last: it resigns, and another one is elected once.
"""

from collections.abc import Collection

from kafka_runbooks.models.cluster import MetadataQuorum, QuorumReplica
from kafka_runbooks.models.restarts import FETCH_TIMEOUT_SECONDS
from kafka_runbooks.models.results import Reason
from kafka_runbooks.safety.availability import listed
from kafka_runbooks.safety.quorum import caught_up_voters, majority

AUTO_JOIN = "controller.quorum.auto.join.enable"
NO_SPARE_VOTER = "no-spare-voter"
STATIC = "the quorum is static (kraft.version 0): its voters are those of controller.quorum.voters in every node's file"


def in_order_of_leaving(quorum: MetadataQuorum, leaving: Collection[int]) -> list[QuorumReplica]:
    """Those of these nodes that are voters."""
    caught_up = caught_up_voters(quorum)
    found = [voter for voter in quorum.voters if voter.id in leaving]
    return sorted(found, key=lambda voter: (voter.id in caught_up, voter.id == quorum.leader_id, voter.id))


def reasons_not_to_leave(quorum: MetadataQuorum, leaving: Collection[int]) -> list[Reason]:
    """Why these nodes may not leave the quorum, one after the other; empty: they may, or none of them is a voter.

    Each departure has to be committed by those that are left after it.
    """
    going, caught_up = quorum.voter_ids.intersection(leaving), caught_up_voters(quorum)
    if not going:
        return []
    who = f"controller {listed(sorted(going))}"
    if quorum.is_static:
        return [
            Reason(
                name="static-quorum",
                message=f"{who} is a voter, and {STATIC}",
                remedy="finalise kraft.version 1 first (kafka-features.sh upgrade --feature kraft.version=1, Kafka >= 4.1), or "
                "leave out remove_pods, and take it out of controller.quorum.voters on every node before its pod goes",
            )
        ]
    left = quorum.voter_ids - going
    if not left:
        return [Reason(name="last-voter", message=f"without {who} there is no voter left", remedy="add other voters first")]
    stay, spare = set(quorum.voter_ids), len(caught_up) - majority(len(quorum.voters))
    for voter in in_order_of_leaving(quorum, leaving):
        stay.discard(voter.id)
        good = stay & caught_up
        if len(good) < majority(len(stay)):
            return [
                Reason(
                    name="no-majority-left",
                    message=f"without controller {voter.id}, {len(good)} of {len(stay)} voters that are left have caught up",
                    remedy=f"wait until controller {listed(sorted(stay - caught_up))} has caught up, or decommission it first",
                )
            ]
    if len(left & caught_up) == majority(len(left)) and spare > 0:
        return [
            Reason(
                name=NO_SPARE_VOTER,
                message=f"without {who}, none of the {len(left)} voters that are left may fail: {listed(sorted(left))}",
                remedy=f'add another voter first (scale-up), or acknowledge with acknowledged_risks ["{NO_SPARE_VOTER}"]',
                can_be_acknowledged=True,
            )
        ]
    return []


def joins_again(nodes: Collection[int]) -> list[Reason]:
    """Controllers that make themselves voters again while they run (KIP-1186), until their pods are down and can't be spared."""
    return [
        Reason(
            name=f"joins-again:{node}",
            message=f"controller {node} has {AUTO_JOIN}=true: it would join the quorum again as soon as it has left it",
            remedy=f"set {AUTO_JOIN}=false in its file and restart it (rolling-restart) first",
        )
        for node in sorted(nodes)
    ]


def said_of_leaving(quorum: MetadataQuorum, leaving: Collection[int]) -> str:
    """Who is left, in one line."""
    going = quorum.voter_ids.intersection(leaving)
    left = quorum.voter_ids - going
    return f"controller {listed(sorted(going))} leaves the metadata quorum: {_voters(left)}"


def said_of_joining(quorum: MetadataQuorum, joining: Collection[int]) -> str:
    """Who votes then, in one line."""
    return f"controller {listed(sorted(joining))} joins the metadata quorum: {_voters(quorum.voter_ids.union(joining))}"


def _voters(ids: Collection[int]) -> str:
    count = len(ids)
    even = f"; an even number: {count - 1} would stand as many failures" if count and count % 2 == 0 else ""
    return f"{count} voters ({listed(sorted(ids))}), of which {(count - 1) // 2} may fail{even}"


def observer(quorum: MetadataQuorum, node_id: int) -> QuorumReplica | None:
    """A controller as it follows the quorum without a vote. Where a voter has lost its disk, its id is in both lists.

    A disk that is away leaves its entry for some minutes, so the one counts that has fetched last.
    """
    voting = {voter.directory_id for voter in quorum.voters if voter.id == node_id}
    found = [one for one in quorum.observers if one.id == node_id and one.directory_id not in voting]
    return max(found, key=lambda one: 0.0 if one.last_fetch_at is None else one.last_fetch_at.timestamp(), default=None)


def lacks_its_vote(quorum: MetadataQuorum, node_id: int) -> bool:
    """Whether a controller is no voter, or a disk that it has lost has its vote."""
    return node_id not in quorum.voter_ids or observer(quorum, node_id) is not None


def has_caught_up(quorum: MetadataQuorum, node_id: int) -> bool:
    """Whether a controller has what the active one has; where it has no vote, or a lost disk has it, as an observer."""
    found = observer(quorum, node_id)
    return node_id in caught_up_voters(quorum) if found is None else _follows(quorum, found)


def _follows(quorum: MetadataQuorum, found: QuorumReplica) -> bool:
    """By the rule of voters (`caught_up_voters`)."""
    leader_at = next((voter.last_caught_up_at for voter in quorum.voters if voter.id == quorum.leader_id), None)
    at = found.last_caught_up_at
    return leader_at is not None and at is not None and (leader_at - at).total_seconds() < FETCH_TIMEOUT_SECONDS


def why_not_to_join(quorum: MetadataQuorum, node_id: int) -> str | None:
    """Why a controller without a vote may not have one now; None: it may, once a disk that it has lost has none any more."""
    found = observer(quorum, node_id)
    if quorum.is_static:
        return STATIC
    if found is None or found.directory_id is None:
        return "the active controller doesn't know it"
    if not _follows(quorum, found):
        return "it has not caught up with the metadata log"
    if node_id in caught_up_voters(quorum):
        return "a voter of its id follows the quorum with another disk: two nodes have the same id"
    return None
