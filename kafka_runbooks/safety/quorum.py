"""May these controllers go down? A majority of the voters must have all of the metadata without them.

The rule of a partition, with voters for replicas and their majority for `min.insync.replicas` (`in_sync_to_keep`). As in
Strimzi's `KafkaQuorumCheck`, a voter has caught up if it is the leader, or if it last had everything within
`controller.quorum.fetch.timeout.ms` of the leader; one voter may always go, and one of two once the other has caught up.

A voter is known by its own entry. A controller that came back with a new disk is listed once more, as an observer (KIP-853): its
vote is still that of the disk it lost.
"""

from collections.abc import Collection

from kafka_runbooks.models.cluster import MetadataQuorum
from kafka_runbooks.models.restarts import FETCH_TIMEOUT_SECONDS
from kafka_runbooks.models.results import Reason
from kafka_runbooks.safety.availability import in_sync_to_keep, listed

ALREADY_NO_MAJORITY = "already-no-majority"


def caught_up_voters(quorum: MetadataQuorum, fetch_timeout_seconds: float = FETCH_TIMEOUT_SECONDS) -> frozenset[int]:
    """Voters that have what the leader has, as far as is known."""
    at = {voter.id: voter.last_caught_up_at for voter in quorum.voters}
    leader_at = at.get(quorum.leader_id)
    found = {quorum.leader_id} & at.keys()
    for voter_id, voter_at in at.items():
        if leader_at is not None and voter_at is not None and (leader_at - voter_at).total_seconds() < fetch_timeout_seconds:
            found.add(voter_id)
    return frozenset(found)


def majority(voters: int) -> int:
    """How many of so many voters elect a leader and commit."""
    return voters // 2 + 1


def controllers_may_go_down(
    quorum: MetadataQuorum,
    controllers: Collection[int],
    *,
    headroom: int | None = 0,
    fetch_timeout_seconds: float = FETCH_TIMEOUT_SECONDS,
) -> list[Reason]:
    """Why these controllers may not all be down at the same time; empty: they may.

    Args:
        quorum: as its leader describes it now.
        controllers: those to take down together; what has no vote can't lower the majority.
        headroom: voters to keep caught up above the majority; None: all others.
        fetch_timeout_seconds: the cluster's `controller.quorum.fetch.timeout.ms`.
    """
    voters = {voter.id for voter in quorum.voters}
    going, caught_up = voters.intersection(controllers), caught_up_voters(quorum, fetch_timeout_seconds)
    if not going:
        return []
    left, needed = caught_up - going, majority(len(voters))
    lowers = bool(going & caught_up)
    kept = in_sync_to_keep(len(voters), needed, headroom) if lowers else min(needed, len(voters) - 1)
    if len(left) >= kept:
        return []
    one_at_a_time = len(voters) - len(going) < in_sync_to_keep(len(voters), needed, headroom)
    behind = voters - caught_up - (set() if one_at_a_time else going)
    parts = [f"wait until controller {listed(sorted(behind))} has caught up"] if behind else []
    parts += [f"take controllers {listed(sorted(going))} down one at a time"] if one_at_a_time else []
    remedy, spare = " and ".join(parts), len(left) - needed
    message = (
        f"without controller {listed(sorted(going))}, {len(left)} of {len(voters)} voters of the metadata quorum have caught up"
    )
    if not lowers:
        return [
            Reason(
                name=ALREADY_NO_MAJORITY,
                message=f"{message}, which is no majority, and it may be the next to catch up",
                remedy=f'{remedy}, or acknowledge with acknowledged_risks ["{ALREADY_NO_MAJORITY}"]',
                can_be_acknowledged=True,
            )
        ]
    return [
        Reason(
            name="no-majority",
            message=f"{message}; {kept} are to be kept",
            remedy=f"{remedy}, or set headroom to {spare}" if spare >= 0 else remedy,
        )
    ]
