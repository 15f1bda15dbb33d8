"""A ZooKeeper ensemble in memory, in pods of a StatefulSet `zookeeper`; `World.ensemble` has it.

It is as slow to come back as the real one where a runbook depends upon it:

- a member's pod that is deleted serves until it has stopped (`shutdown_steps`), and its successor starts in `start_steps`;
- a member that has started looks for a leader, then copies what it has missed for `sync_steps`; meanwhile it answers, and serves
  nobody. One whose disk was wiped copies for `wiped_sync_steps`;
- without a quorum of voters that are up there is no leader, and nobody serves; those that followed a leader that went look for
  another one, for `election_steps`, and the one with the newest transaction leads;
- a look commits a transaction, which a follower in `lagging` never applies;
- a process that is killed answers nobody, in a pod that is as it was; one in `hanging` too;
- a member connects to the others as `QUORUM_TLS` said when its pod was made, and one that doesn't take the leader's connections,
  or whose connections the leader doesn't take, doesn't serve;
- it has the certificate that was in its Secret when it started.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.clients.protocols import ZooKeeper
from kafka_runbooks.models.certificates import TlsFiles
from kafka_runbooks.models.cluster import TopicPartition
from kafka_runbooks.models.ensemble import (
    BrokerSession,
    BrokerSessions,
    Ensemble,
    EnsembleMember,
    Mode,
    PartitionState,
    Server,
)
from kafka_runbooks.models.kraft_migration import MigrationZnodes

if TYPE_CHECKING:
    from tests.fakes.world import World

SET = "zookeeper"
APART = {frozenset(pair) for pair in ((None, "spoken"), (None, "required"), ("accepted", "required"))}
"""Which values of `QUORUM_TLS` can't talk to each other, as `tests/clients/test_zookeeper_tls.py` shows of real members."""
TLS_FILE = "/etc/zookeeper-tls/tls-combined.pem"


@dataclass
class Member:
    """One member, and the pod that it runs in."""

    server_id: int
    pod: str
    uid: str
    revision: str
    is_observer: bool = False
    started_at: datetime | None = None
    starts_in: int = 0
    ends_in: int | None = None
    is_terminating: bool = False
    syncs_in: int = 0
    """Steps until it has copied what it lacks, once there is a leader."""
    is_wiped: bool = False
    zxid: int = 1
    ready_steps: int = 0
    quorum_tls: str | None = None
    certificate: str | None = None
    """What it was started with; None: no TLS."""


class WorldEnsemble:
    """Members in zones of their own, all serving; `observers` after the voters."""

    def __init__(self, world: "World", voters: int = 3, observers: int = 0) -> None:
        self.world = world
        self.shutdown_steps, self.start_steps, self.sync_steps, self.wiped_sync_steps = 1, 2, 2, 5
        self.election_steps = 2
        self.readiness_lag = 1
        self.leader = voters
        """Server id; 0: none leads."""
        self.electing = 0
        """Steps until there is one, once there is a quorum."""
        self.killed: set[int] = set()
        self.hanging: set[int] = set()
        self.lagging: set[int] = set()
        self.zxid = 1
        self.quorum_tls: str | None = None
        """Of the template."""
        self.certificate: str | None = None
        """In the members' Secret."""
        self.lasts: dict[str, tuple[datetime, datetime]] = {}
        """Certificate -> from when to when it is valid."""
        self.members = {
            number: Member(
                number,
                f"{SET}-{number - 1}",
                world.new_uid(),
                world.revision(SET),
                is_observer=number > voters,
                started_at=world.now,
                ready_steps=self.readiness_lag + 1,
            )
            for number in range(1, voters + observers + 1)
        }

    # what a test does

    def kill(self, server_id: int) -> None:
        """The process is down and stays down until `revive`."""
        self.killed.add(server_id)
        self._settle()

    def revive(self, server_id: int) -> None:
        self.killed.discard(server_id)
        self._start(self.members[server_id])

    def wipe(self, server_id: int) -> None:
        """Its disk is lost, and replaced by an empty one."""
        self.members[server_id].is_wiped = True
        self._start(self.members[server_id])

    # physics

    def delete_pod(self, pod: str, *, force: bool) -> None:
        member = self.of_pod(pod)
        member.is_terminating = True
        member.ends_in = 0 if force or not self.is_up(member) else self.shutdown_steps
        if member.ends_in == 0:
            self._make_anew(member)

    def advance(self) -> None:
        for member in self.members.values():
            if member.ends_in is not None:
                member.ends_in -= 1
                if member.ends_in <= 0:
                    self._make_anew(member)
            elif member.started_at is None and self.why_stuck(member) is None:
                member.started_at, member.starts_in = self.world.now, self.start_steps
            elif member.starts_in > 0:
                member.starts_in -= 1
        self._settle()
        if self.leader == 0 and self._has_quorum:
            self.electing -= 1
            if self.electing <= 0:
                up = [one for one in self.members.values() if self.is_up(one) and not one.is_observer and not one.is_wiped]
                self.leader = max(up, key=lambda one: (one.zxid, one.server_id)).server_id
        for member in self.members.values():
            if self._reaches_leader(member) and member.syncs_in > 0 and member.server_id != self.leader:
                member.syncs_in -= 1
                if member.syncs_in == 0:
                    member.zxid, member.is_wiped = self.zxid, False
            member.ready_steps = member.ready_steps + 1 if self.mode(member) is not Mode.NOT_SERVING else 0

    def _settle(self) -> None:
        """Without its leader, or without a quorum, nobody serves."""
        leader = self.members.get(self.leader)
        if self.leader and (leader is None or not self.is_up(leader) or not self._has_quorum):
            self.leader, self.electing = 0, self.election_steps
            for member in self.members.values():
                member.syncs_in = max(member.syncs_in, 1)

    @property
    def _has_quorum(self) -> bool:
        voters = [one for one in self.members.values() if not one.is_observer]
        # ZOOKEEPER-261: a member without its data has no vote.
        up = [one for one in voters if self.is_up(one) and not one.is_wiped]
        return any(2 * sum(1 for one in up if talk(one, other)) > len(voters) for other in up)

    def _make_anew(self, member: Member) -> None:
        member.uid, member.revision = self.world.new_uid(), self.world.revision(SET)
        member.is_terminating, member.ends_in, member.started_at = False, None, None
        member.quorum_tls, member.certificate = self.quorum_tls, self.certificate
        self.killed.discard(member.server_id)
        self._start(member)
        member.started_at = None
        self._settle()

    def _start(self, member: Member) -> None:
        member.starts_in, member.ready_steps = self.start_steps, 0
        member.syncs_in = self.wiped_sync_steps if member.is_wiped else self.sync_steps
        self._settle()

    # what it is like

    def of_pod(self, pod: str) -> Member:
        return next(one for one in self.members.values() if one.pod == pod)

    def is_up(self, member: Member) -> bool:
        """Its process runs, whether it serves or not."""
        runs = member.started_at is not None and member.starts_in == 0
        return runs and member.server_id not in self.killed | self.hanging

    def _reaches_leader(self, member: Member) -> bool:
        leader = self.members.get(self.leader)
        return leader is not None and self.is_up(member) and talk(member, leader)

    def tls_files(self) -> dict[str, TlsFiles]:
        """What the members' agents record."""
        return {
            one.pod: TlsFiles(
                pod_uid=one.uid,
                sha256={TLS_FILE: self.certificate},
                started_with={TLS_FILE: one.certificate},
                started_at=one.started_at,
                lasts=self.lasts.get(self.certificate),
                started_lasts=self.lasts.get(one.certificate),
            )
            for one in self.members.values()
            if self.certificate is not None and one.certificate is not None and one.started_at is not None
        }

    def mode(self, member: Member) -> Mode:
        """Of one that is up."""
        if not self._reaches_leader(member):
            return Mode.NOT_SERVING
        if member.server_id == self.leader:
            return Mode.LEADER
        if member.syncs_in > 0:
            return Mode.NOT_SERVING
        return Mode.OBSERVER if member.is_observer else Mode.FOLLOWER

    def serves(self, member: Member) -> bool:
        return self.mode(member) is not Mode.NOT_SERVING

    def is_ready(self, member: Member) -> bool:
        return self.serves(member) and member.ready_steps > self.readiness_lag and not member.is_terminating

    def why_stuck(self, member: Member) -> str | None:
        return self.world.stuck.get(member.pod) or self.world.stuck.get(member.revision)

    def away(self) -> set[int]:
        """Voters that don't serve."""
        return {one.server_id for one in self.members.values() if not one.is_observer and not self.serves(one)}

    def commit(self) -> bool:
        """A transaction that followers apply at once, but for those that lag."""
        voters = [one for one in self.members.values() if not one.is_observer]
        if not self.leader or 2 * sum(1 for one in voters if self.serves(one)) <= len(voters):
            return False
        self.zxid += 1
        for member in self.members.values():
            if self.serves(member) and member.server_id not in self.lagging:
                member.zxid = self.zxid
        return True


def talk(one: Member, other: Member) -> bool:
    return frozenset((one.quorum_tls, other.quorum_tls)) not in APART


class FakeZooKeeper:
    """`protocols.ZooKeeper` on the ensemble of a `World`."""

    def __init__(self, world: "World") -> None:
        self.world = world

    @property
    def _ensemble(self) -> WorldEnsemble:
        assert self.world.ensemble is not None
        return self.world.ensemble

    def ensemble(self) -> Ensemble:
        self.world.look()
        found = self._ensemble
        is_committed = found.commit()
        if is_committed:
            servers = tuple(
                Server(server_id=one.server_id, host=_host(one), client_port=2181, is_observer=one.is_observer)
                for one in found.members.values()
            )
        else:
            servers = ()
        followers = [one for one in found.members.values() if found.mode(one) is Mode.FOLLOWER]
        return Ensemble(
            members=tuple(self._member(one, knows_ids=is_committed) for one in found.members.values()),
            servers=servers,
            committed_zxid=found.zxid if is_committed else None,
            fault=None if is_committed else "ZooKeeper doesn't answer in 5 s",
            synced_followers=len(followers) if is_committed else None,
            observed_at=self.world.now,
        )

    def _member(self, member: Member, *, knows_ids: bool) -> EnsembleMember:
        found, address = self._ensemble, f"{_host(member)}:2181"
        # One that doesn't serve doesn't tell its id: the ensemble's configuration does, while it can be read.
        server_id = member.server_id if knows_ids else None
        if not found.is_up(member):
            return EnsembleMember(address=address, server_id=server_id, fault=f"{address}: Connection refused")
        mode = found.mode(member)
        if mode is Mode.NOT_SERVING:
            return EnsembleMember(address=address, server_id=server_id, mode=mode)
        return EnsembleMember(address=address, server_id=member.server_id, mode=mode, zxid=member.zxid, version="3.8.4")

    def sessions(self) -> BrokerSessions:
        self._ask()
        live = {pod.broker_id: pod for pod in self.world.pods.values() if self.world.is_up(pod.broker_id)}
        return BrokerSessions(
            brokers=tuple(
                BrokerSession(broker_id=one, endpoints=(f"PLAINTEXT://{pod.name}:9092",), session_id=one, epoch=one)
                for one, pod in sorted(live.items())
            ),
            controller_id=min(live, default=None),
            controller_epoch=self.world.controller_epoch,
        )

    def migration(self) -> MigrationZnodes:
        """There is none."""
        sessions = self.sessions()
        return MigrationZnodes(controller_id=sessions.controller_id, controller_epoch=sessions.controller_epoch)

    def may_give_back_control(self) -> bool:
        self._ask()
        return True

    def give_back_control(self, least_epoch: int) -> None:
        self._ask()

    def partition_states(self, topics: Collection[str] | None = None) -> dict[TopicPartition, PartitionState]:
        self._ask()
        return {
            name: PartitionState(
                replicas=tuple(one.replicas),
                leader=one.leader,
                leader_epoch=0,
                in_sync=tuple(sorted(one.in_sync)),
                controller_epoch=self.world.controller_epoch,
            )
            for name, one in self.world.partitions.items()
            if topics is None or name.topic in topics
        }

    def _ask(self) -> None:
        self.world.look()
        if not self._ensemble.commit():
            raise Unreachable("ZooKeeper doesn't answer in 5 s")


def _host(member: Member) -> str:
    return f"{member.pod}.{SET}.kafka.svc"


def _conforms(world: "World") -> ZooKeeper:
    return FakeZooKeeper(world)
