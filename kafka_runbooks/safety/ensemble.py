"""Which member of a ZooKeeper ensemble may go down now? One at a time, and only while all others are in sync without it.

A quorum commits, so an ensemble of three stands one failure, and a restart uses it up. Therefore no member goes down while
another one is away, and one that was away counts again only once it has what was committed (`Ensemble.is_synced`): a server that
listens, or that looks for a leader, or copies from one, isn't there. The leader goes last, since each of its restarts costs an
election in which nobody commits (Zab); who leads may change at any time, so the caller asks again before each.
"""

from collections.abc import Collection, Sequence

from kafka_runbooks.models.ensemble import Ensemble, EnsembleMember, Mode, Server
from kafka_runbooks.models.results import Reason

OLDEST_LOOK_SECONDS = 10.0
"""A follower that falls behind is dropped by its leader after `syncLimit` ticks, 10 s by default: an older look may know none
of it."""


def reasons_not_to_go_down(
    ensemble: Ensemble,
    server_id: int,
    *,
    age_seconds: float,
    later: Collection[int] = (),
    shutting_down: Collection[int] = (),
) -> list[Reason]:
    """Why this member may not go down now; empty: it may.

    Args:
        ensemble: as it was seen.
        server_id: whose it is.
        age_seconds: since the look began.
        later: members that are to go down after this one: the leader waits for them.
        shutting_down: those that somebody has told to end, and that may still serve.
    """
    if age_seconds > OLDEST_LOOK_SECONDS:
        why = f"the ensemble was looked at {age_seconds:.0f} s ago"
        return [Reason(name="stale-observation", message=why, remedy="look again")]
    if ensemble.committed_zxid is None:
        return [
            Reason(
                name="commits-nothing",
                message=f"the ensemble commits nothing: {ensemble.fault or 'nobody knows why'}",
                remedy="bring back as many of its members as make a quorum",
            )
        ]
    if found := _unclear(ensemble, server_id):
        return found
    # One that is away already isn't the second, and its restart may be what it needs. But one that we can't reach may still vote.
    second = [] if _is_away(ensemble, server_id) else _others_away(ensemble, server_id, shutting_down)
    return [
        *(second or _no_quorum(ensemble, server_id, shutting_down)),
        *_leader_not_last(ensemble, server_id, later),
    ]


def in_order(ensemble: Ensemble, server_ids: Collection[int]) -> list[int]:
    """These members in the order in which they restart: what isn't in sync, observers, followers, the leader."""
    leader = ensemble.leader

    def place(server_id: int) -> tuple[bool, bool, bool, int]:
        is_leader = leader is not None and leader.server_id == server_id
        return is_leader, _is_up(ensemble, server_id), server_id in ensemble.voter_ids, server_id

    return sorted(server_ids, key=place)


def not_in_sync(ensemble: Ensemble, but: int | None = None) -> dict[int, str]:
    """Servers of the ensemble's configuration that aren't known to be in sync -> why; `but` is left out."""
    return {
        server.server_id: _why_away(ensemble, server)
        for server in ensemble.servers
        if server.server_id != but and not _is_up(ensemble, server.server_id)
    }


def _members(ensemble: Ensemble, server_id: int) -> list[EnsembleMember]:
    return [member for member in ensemble.members if member.server_id == server_id]


def _is_up(ensemble: Ensemble, server_id: int) -> bool:
    return any(ensemble.is_synced(member) for member in _members(ensemble, server_id))


def _is_away(ensemble: Ensemble, server_id: int) -> bool:
    """Whether it serves nobody; one that only lags isn't away."""
    return all(member.mode in (None, Mode.NOT_SERVING) for member in _members(ensemble, server_id))


def _unclear(ensemble: Ensemble, server_id: int) -> list[Reason]:
    """What was seen doesn't tell who is who."""
    if len(ensemble.members) == 1 and ensemble.members[0].mode is Mode.STANDALONE:
        return [
            Reason(
                name="standalone",
                message="ZooKeeper is a single server, not an ensemble: Kafka's controller can decide nothing while it restarts",
                remedy="restart it by hand when that is acceptable, or make it an ensemble of three",
            )
        ]
    reasons = []
    if server_id not in {server.server_id for server in ensemble.servers}:
        known = ", ".join(str(server.server_id) for server in ensemble.servers) or "none"
        reasons.append(
            Reason(
                name="unknown-member",
                message=f"the ensemble's configuration has no server {server_id}",
                remedy=f"give one of {known}",
            )
        )
    for server in ensemble.servers:
        twice = [member.address for member in _members(ensemble, server.server_id) if member.mode is not None]
        if len(twice) > 1:
            reasons.append(
                Reason(
                    name=f"same-server-id:{server.server_id}",
                    message=f"{' and '.join(twice)} both answer as server {server.server_id}",
                    remedy="give each member once in zookeeper.hosts, and each a server id of its own",
                )
            )
    if ensemble.leader is None:
        leading = [member.name for member in ensemble.members if member.mode is Mode.LEADER]
        reasons.append(
            Reason(
                name="no-leader",
                message=f"{' and '.join(leading)} say that they lead" if leading else "no member says that it leads",
                remedy="wait until one leads; if it is not in zookeeper.hosts, add it",
            )
        )
    return reasons


def _others_away(ensemble: Ensemble, server_id: int, shutting_down: Collection[int]) -> list[Reason]:
    away = not_in_sync(ensemble, but=server_id)
    ending = sorted(set(shutting_down) - {server_id} - away.keys())
    reasons = [
        Reason(
            name=f"member-away:{other}",
            message=f"server {server_id} would be the second member away: {why}",
            remedy=f"wait until server {other} is back and in sync, or repair it",
        )
        for other, why in sorted(away.items())
    ]
    return reasons + [
        Reason(
            name=f"member-away:{other}",
            message=f"server {server_id} would be the second member away: somebody shuts server {other} down",
            remedy=f"wait until server {other} is back and in sync",
        )
        for other in ending
    ]


def _no_quorum(ensemble: Ensemble, server_id: int, shutting_down: Collection[int]) -> list[Reason]:
    """By our own look, and by the leader's count of its followers."""
    quorum, voters, counted = ensemble.quorum, ensemble.voter_ids, ensemble.synced_followers
    if quorum is None or server_id not in voters:
        return []
    left = [voter for voter in voters - {server_id} - set(shutting_down) if _is_up(ensemble, voter)]
    if len(left) < quorum:
        stands_none = f"an ensemble of {len(voters)} stands no failure: add members first"
        return [
            Reason(
                name="no-quorum",
                message=f"without server {server_id}, {len(left)} of {len(voters)} voters are in sync; {quorum} make a quorum",
                remedy=stands_none if len(voters) - 1 < quorum else "wait until the others are in sync",
            )
        ]
    # Whether the leader goes or a follower that it counts, as many are left as it counts followers. One that is away it doesn't
    # count.
    counts = counted if counted is None or not _is_away(ensemble, server_id) else counted + 1
    if counts is not None and counts >= quorum:
        return []
    said = "doesn't say how many followers are in sync" if counted is None else f"counts {counted} followers in sync"
    return [
        Reason(
            name="leader-counts-fewer",
            message=f"the leader {said}, and without server {server_id} {quorum} members have to be left",
            remedy="wait until the leader counts them all",
        )
    ]


def _leader_not_last(ensemble: Ensemble, server_id: int, later: Collection[int]) -> list[Reason]:
    leader, before = ensemble.leader, sorted(set(later) - {server_id})
    if leader is None or leader.server_id != server_id or not before:
        return []
    return [
        Reason(
            name="leader-last",
            message=f"server {server_id} leads the ensemble",
            remedy=f"restart server {', '.join(map(str, before))} first",
        )
    ]


def _why_away(ensemble: Ensemble, server: Server) -> str:
    found: Sequence[EnsembleMember] = _members(ensemble, server.server_id)
    if not found:
        return f"server {server.server_id} ({server.host}) answers at no address of zookeeper.hosts"
    member = found[0]
    if member.mode is None:
        return f"server {server.server_id} doesn't answer ({member.fault})"
    if member.mode is Mode.NOT_SERVING:
        return f"server {member.name} follows no leader yet"
    if member.mode is Mode.READ_ONLY:
        return f"server {member.name} is cut off from the leader (read-only)"
    return f"server {member.name} lacks what was committed"
