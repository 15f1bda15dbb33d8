"""A real ZooKeeper ensemble of three on loopback: members killed, paused, wiped, and what is said of each."""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import KazooException
from kazoo.security import make_acl, make_digest_acl

from kafka_runbooks.clients.errors import Refused, Unreachable
from kafka_runbooks.clients.zookeeper.client import ZooKeeperClient
from kafka_runbooks.clients.zookeeper.connection import Connection
from kafka_runbooks.clients.zookeeper.settings import ZookeeperSettings
from kafka_runbooks.models.cluster import TopicPartition
from kafka_runbooks.models.ensemble import Ensemble, Mode, PartitionState
from kafka_runbooks.safety.ensemble import in_order, not_in_sync, reasons_not_to_go_down
from tests.clients.local_zookeeper import WORDS, LocalEnsemble, LocalZookeeper
from tests.clients.security.certificates import Authority, written


@pytest.fixture(scope="module")
def zookeeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEnsemble]:
    ensemble = LocalEnsemble(tmp_path_factory.mktemp("ensemble"), observers=1)
    try:
        ensemble.start()
        yield ensemble
    finally:
        ensemble.stop()


@pytest.fixture
def client(zookeeper: LocalEnsemble) -> ZooKeeperClient:
    """All members serve when a test begins."""
    zookeeper.healed()
    return opened(zookeeper.hosts)


def opened(hosts: str, **settings: object) -> ZooKeeperClient:
    return ZooKeeperClient(ZookeeperSettings.model_validate({"hosts": hosts, **settings}))


def until(client: ZooKeeperClient, holds: Callable[[Ensemble], bool], seconds: float = 40) -> Ensemble:
    deadline = time.monotonic() + seconds
    while True:
        found = client.ensemble()
        if holds(found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def modes(found: Ensemble) -> dict[int | None, Mode | None]:
    return {member.server_id: member.mode for member in found.members}


def faults(found: Ensemble) -> dict[int | None, str | None]:
    return {member.server_id: member.fault for member in found.members if member.fault is not None}


def in_sync(found: Ensemble) -> set[int | None]:
    return {member.server_id for member in found.members if found.is_synced(member)}


def test_a_whole_ensemble(zookeeper: LocalEnsemble, client: ZooKeeperClient) -> None:
    found = client.ensemble()
    assert in_sync(found) == {1, 2, 3, 4} and not_in_sync(found) == {} and found.fault is None
    assert found.voter_ids == {1, 2, 3} and found.quorum == 2 and found.synced_followers == 2
    assert sorted(map(str, modes(found).values())) == ["follower", "follower", "leader", "observer"]
    assert found.leader is not None and found.leader.server_id == zookeeper.leader()
    assert [member.address for member in found.members] == zookeeper.hosts.split(",")
    assert all(member.version == "3.9.5" for member in found.members)


def test_the_leader_is_killed_and_comes_back(zookeeper: LocalEnsemble, client: ZooKeeperClient) -> None:
    killed = zookeeper.leader()
    zookeeper.members[killed].stop()
    try:
        # Of a new epoch, though nobody has written since.
        found = until(client, lambda found: in_sync(found) == {1, 2, 3, 4} - {killed} and found.leader is not None)
        assert "Connection refused" in (faults(found)[killed] or "")
        other = next(server_id for server_id in found.voter_ids if server_id != killed)
        assert [one.name for one in reasons_not_to_go_down(found, other, age_seconds=0)] == [f"member-away:{killed}"]
    finally:
        zookeeper.members[killed].start()
    until(client, lambda found: in_sync(found) == {1, 2, 3, 4})


def test_a_member_that_hangs_is_named_and_the_others_are_told(zookeeper: LocalEnsemble, client: ZooKeeperClient) -> None:
    hanging = next(server_id for server_id in (1, 2, 3) if server_id != zookeeper.leader())
    zookeeper.members[hanging].pause()
    began = time.monotonic()
    try:
        found = client.ensemble()
        took = time.monotonic() - began
        assert faults(found) == {hanging: f"{zookeeper.address(hanging)}: doesn't answer in 2 s"}
        assert in_sync(found) == {1, 2, 3, 4} - {hanging} and found.committed_zxid is not None
        assert took < 12
    finally:
        zookeeper.members[hanging].resume()


def test_a_leader_that_hangs_is_replaced(zookeeper: LocalEnsemble, client: ZooKeeperClient) -> None:
    """Until its followers miss it they serve, and commit nothing."""
    hanging = zookeeper.leader()
    zookeeper.members[hanging].pause()
    try:
        found = until(client, lambda found: in_sync(found) == {1, 2, 3, 4} - {hanging} and found.leader is not None)
        assert found.leader is not None and found.leader.server_id != hanging
        assert faults(found) == {hanging: f"{zookeeper.address(hanging)}: doesn't answer in 2 s"}
    finally:
        zookeeper.members[hanging].resume()
    found = until(client, lambda found: in_sync(found) == {1, 2, 3, 4})
    assert found.leader is not None and found.leader.server_id != hanging, "it has noticed that others go on without it"


def test_without_a_quorum_nothing_commits_and_each_member_says_why(zookeeper: LocalEnsemble, client: ZooKeeperClient) -> None:
    """The last one goes on listening; that it does means nothing."""
    zookeeper.members[1].stop()
    zookeeper.members[2].stop()
    try:
        found = until(client, lambda found: found.committed_zxid is None and modes(found).get(None) is Mode.NOT_SERVING)
        assert in_sync(found) == set() and found.servers == () and found.quorum is None
        assert found.fault is not None and "doesn't answer in 5 s" in found.fault
        assert f"{zookeeper.address(1)}: Connection refused" in found.fault
        assert f"{zookeeper.address(3)}: says This ZooKeeper instance is not currently serving requests" in found.fault
        reasons = reasons_not_to_go_down(found, 3, age_seconds=0)
        assert [one.name for one in reasons] == ["commits-nothing"]
        began = time.monotonic()
        with pytest.raises(Unreachable, match=f"{zookeeper.address(2)}: Connection refused"):
            client.sessions()
        assert time.monotonic() - began < 15
    finally:
        zookeeper.members[1].start()
        zookeeper.members[2].start()
    until(client, lambda found: in_sync(found) == {1, 2, 3, 4})


def test_a_member_whose_disk_was_lost_counts_only_once_it_has_everything(
    zookeeper: LocalEnsemble, client: ZooKeeperClient
) -> None:
    """It listens, and answers, long before."""
    writer = KazooClient(hosts=zookeeper.hosts)
    writer.start(timeout=15)
    try:
        writer.ensure_path("/much")
        for number in range(60):
            writer.create(f"/much/{number}", b"x" * 500_000)
        wiped = next(server_id for server_id in (1, 2, 3) if server_id != zookeeper.leader())
        zookeeper.members[wiped].stop()
        zookeeper.wipe(wiped)
        zookeeper.members[wiped].start()
        looks = 0
        while True:
            found = client.ensemble()
            if wiped in in_sync(found):
                break
            looks += 1
            assert wiped in not_in_sync(found)
        assert looks > 0
        own = KazooClient(hosts=zookeeper.address(wiped))
        own.start(timeout=15)
        try:
            assert len(own.get_children("/much")) == 60
        finally:
            own.stop()
            own.close()
    finally:
        writer.delete("/much", recursive=True)
        writer.stop()
        writer.close()


def test_a_roll_by_the_rules_never_loses_the_quorum(zookeeper: LocalEnsemble, client: ZooKeeperClient) -> None:
    """Every member restarts, the leader last, while somebody writes; only the leader's restart stops that, for an election."""
    stop, gaps, failed = threading.Event(), [0.0], []
    first_leader = zookeeper.leader()

    def write() -> None:
        writer = KazooClient(hosts=zookeeper.hosts, timeout=20)
        writer.start(timeout=20)
        last, number = time.monotonic(), 0
        while not stop.is_set():
            try:
                writer.retry(writer.create, f"/roll-{number}", b"")
                now = time.monotonic()
                gaps.append(now - last)
                last, number = now, number + 1
            except KazooException as error:
                failed.append(error)
            time.sleep(0.01)
        for one in range(number):
            writer.delete(f"/roll-{one}")
        writer.stop()
        writer.close()

    thread = threading.Thread(target=write)
    thread.start()
    left, order = {1, 2, 3, 4}, []
    deadline = time.monotonic() + 120
    try:
        while left:
            assert time.monotonic() < deadline, not_in_sync(client.ensemble())
            found = client.ensemble()
            for server_id in in_order(found, left):
                if not reasons_not_to_go_down(found, server_id, age_seconds=0, later=left):
                    zookeeper.members[server_id].stop(signal.SIGTERM)
                    zookeeper.members[server_id].start()
                    left.discard(server_id)
                    order.append(server_id)
                    break
        until(client, lambda found: in_sync(found) == {1, 2, 3, 4})
    finally:
        stop.set()
        thread.join(60)
    assert order[0] == 4 and order[-1] == first_leader
    assert max(gaps) < 15 and len(gaps) > 50, (max(gaps), len(gaps))


def test_brokers_and_controller_by_their_sessions(zookeeper: LocalEnsemble, client: ZooKeeperClient) -> None:
    broker = KazooClient(hosts=f"{zookeeper.hosts}/kafka")
    admin = KazooClient(hosts=zookeeper.hosts)
    admin.start(timeout=15)
    admin.ensure_path("/kafka")
    broker.start(timeout=15)
    kafka = opened(f"{zookeeper.hosts}/kafka")
    try:
        found = kafka.sessions()
        assert (found.brokers, found.controller_id, found.controller_epoch) == ((), None, None)
        registration = {
            "listener_security_protocol_map": {"PLAINTEXT": "PLAINTEXT"},
            "endpoints": ["PLAINTEXT://kafka-0:9092"],
            "rack": "zone-a",
            "jmx_port": -1,
            "features": {},
            "host": "kafka-0",
            "port": 9092,
            "timestamp": "1",
            "version": 5,
        }
        broker.create("/brokers/ids/1001", json.dumps(registration).encode(), ephemeral=True, makepath=True)
        controller = {"version": 2, "brokerid": 1001, "timestamp": "1", "kraftControllerEpoch": -1}
        broker.create("/controller", json.dumps(controller).encode(), ephemeral=True)
        broker.create("/controller_epoch", b"7")
        found = kafka.sessions()
        (one,) = found.brokers
        assert one.endpoints == ("PLAINTEXT://kafka-0:9092",) and one.rack == "zone-a"
        assert one.session_id == broker.client_id[0] and one.epoch == broker.exists("/brokers/ids/1001").czxid
        assert found.controller_id == 1001 and found.controller_epoch == 7
        broker.set("/controller", b"not json")
        with pytest.raises(Unreachable, match="isn't as Kafka writes it"):
            kafka.sessions()
    finally:
        broker.stop()
        broker.close()
        assert kafka.sessions().brokers == (), "it ends with its session"
        admin.delete("/kafka", recursive=True)
        admin.stop()
        admin.close()


def test_partitions_as_the_controller_has_recorded_them(zookeeper: LocalEnsemble, client: ZooKeeperClient) -> None:
    writer = KazooClient(hosts=zookeeper.hosts)
    writer.start(timeout=15)
    try:
        partitions = {str(number): [1001, 1002] for number in range(500)}
        topic = {"version": 3, "topic_id": "x", "partitions": partitions, "adding_replicas": {}, "removing_replicas": {}}
        writer.create("/brokers/topics/events", json.dumps(topic).encode(), makepath=True)
        writer.create("/brokers/topics/events/partitions", b"")
        made = []
        for number in range(500):
            leader, isr = (-1, [1002]) if number == 1 else (1001, [1001, 1002])
            state = {"controller_epoch": 7, "leader": leader, "version": 1, "leader_epoch": number, "isr": isr}
            path = f"/brokers/topics/events/partitions/{number}"
            if number != 2:  # The controller hasn't made it yet.
                made += [writer.create_async(path, b""), writer.create_async(f"{path}/state", json.dumps(state).encode())]
        for one in made:
            one.get(timeout=30)
        found = client.partition_states(["events", "gone"])
        assert len(found) == 499 and TopicPartition("events", 2) not in found
        assert found[TopicPartition("events", 0)] == PartitionState((1001, 1002), 1001, 0, (1001, 1002), 7)
        assert found[TopicPartition("events", 1)] == PartitionState((1001, 1002), None, 1, (1002,), 7)
    finally:
        writer.delete("/brokers", recursive=True)
        writer.stop()
        writer.close()


def test_a_znode_of_somebody_else_is_refused_unless_digest_says_who_asks(
    zookeeper: LocalEnsemble, client: ZooKeeperClient, tmp_path: Path
) -> None:
    owner: Any = KazooClient(hosts=zookeeper.hosts, auth_data=[("digest", "kafka:secret")])
    owner.start(timeout=15)
    try:
        owner.create("/controller", b'{"brokerid": 1001}', acl=[make_digest_acl("kafka", "secret", all=True)])
        with pytest.raises(Refused, match=r"NoAuthError.*give digest or sasl"):
            client.sessions()
        right = {"username": "kafka", "password_file": written(tmp_path / "right", "secret\n")}
        assert opened(zookeeper.hosts, digest=right).sessions().controller_id == 1001
        owner.create(
            "/controller_epoch", b"1", acl=[make_digest_acl("kafka", "secret", all=True), make_acl("world", "anyone", read=True)]
        )
        assert not client.may_give_back_control() and opened(zookeeper.hosts, digest=right).may_give_back_control()
        owner.set_acls("/controller_epoch", [make_acl("world", "anyone", all=True)])
        assert client.may_give_back_control()
        root, _ = owner.get_acls("/")
        owner.set_acls("/", [make_digest_acl("kafka", "secret", all=True), make_acl("world", "anyone", read=True)])
        assert not client.may_give_back_control(), "whoever deletes a znode needs the right to its parent"
        owner.set_acls("/", root)
        assert owner.get("/controller")[0] == b'{"brokerid": 1001}' and owner.get("/controller_epoch")[0] == b"1"
        owner.delete("/controller_epoch")
        wrong = {"username": "kafka", "password_file": written(tmp_path / "wrong", "guess")}
        with pytest.raises(Refused, match=r"user kafka: check its password and the znodes' ACLs"):
            opened(zookeeper.hosts, digest=wrong).sessions()
        missing = {"username": "kafka", "password_file": tmp_path / "missing"}
        with pytest.raises(Refused, match=r"digest.password_file .*can't be read"):
            opened(zookeeper.hosts, digest=missing).sessions()
    finally:
        owner.delete("/controller")
        owner.stop()
        owner.close()


@pytest.mark.server
def test_a_member_that_may_not_answer_is_refused_with_the_setting(tmp_path: Path) -> None:
    server = LocalZookeeper(tmp_path)
    try:
        server.start()
        with pytest.raises(Refused, match=r"doesn't answer to conf: set 4lw.commands.whitelist=srvr,conf,mntr in its zoo.cfg"):
            opened(server.hosts).ensemble()
    finally:
        server.stop()


@pytest.mark.server
def test_a_single_server_is_told_from_an_ensemble(tmp_path: Path) -> None:
    server = LocalZookeeper(tmp_path, WORDS)
    try:
        server.start()
        found = opened(server.hosts).ensemble()
        assert [member.mode for member in found.members] == [Mode.STANDALONE] and found.servers == ()
        assert [one.name for one in reasons_not_to_go_down(found, 0, age_seconds=0)] == ["standalone"]
    finally:
        server.stop()


@pytest.mark.server
def test_with_tls_and_a_client_certificate(tmp_path: Path) -> None:
    ensemble = LocalEnsemble(tmp_path / "ensemble", tls=True)
    ca_file = written(tmp_path / "ca.pem", ensemble.authority.pem)
    leaf = ensemble.authority.leaf("worker")
    own = {
        "ca_file": ca_file,
        "certificate_file": written(tmp_path / "tls.crt", leaf.certificate),
        "key_file": written(tmp_path / "tls.key", leaf.key),
    }
    try:
        ensemble.start()
        client = opened(ensemble.hosts, tls=own)
        found = until(client, lambda found: in_sync(found) == {1, 2, 3})
        assert found.voter_ids == {1, 2, 3} and client.sessions().brokers == ()
        without = opened(ensemble.hosts, tls={"ca_file": ca_file}).ensemble()
        assert without.committed_zxid is None and "TLS: " in (without.members[0].fault or ""), without
        other = {**own, "ca_file": written(tmp_path / "other.pem", Authority("another CA").pem)}
        with pytest.raises(Refused, match=r"its certificate can't be trusted"):
            opened(ensemble.hosts, tls=other).sessions()
        plain = opened(ensemble.hosts).ensemble()
        assert plain.committed_zxid is None and all(member.mode is None for member in plain.members)
    finally:
        ensemble.stop()


@pytest.mark.server
def test_with_sasl(tmp_path: Path) -> None:
    login = "org.apache.zookeeper.server.auth.DigestLoginModule"
    jaas = written(tmp_path / "jaas.conf", f'Server {{ {login} required user_kafka="secret"; }};\n')
    properties = "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\nsessionRequireClientSASLAuth=true\n"
    ensemble = LocalEnsemble(
        tmp_path / "ensemble", properties=properties, java_options=[f"-Djava.security.auth.login.config={jaas}"]
    )
    try:
        for member in ensemble.members.values():
            member.start()
        ensemble.healed()
        right = {"username": "kafka", "password_file": written(tmp_path / "right", "secret")}
        client = opened(ensemble.hosts, sasl=right)
        assert until(client, lambda found: in_sync(found) == {1, 2, 3}).quorum == 2
        wrong = {"username": "kafka", "password_file": written(tmp_path / "wrong", "guess")}
        with pytest.raises(Refused, match="user kafka: check its password"):
            opened(ensemble.hosts, sasl=wrong).ensemble()
    finally:
        ensemble.stop()


def test_a_session_ends_with_its_question(zookeeper: LocalEnsemble, client: ZooKeeperClient) -> None:
    """No session of ours is left to expire, and no thread."""
    threads = threading.active_count()
    for _ in range(3):
        client.ensemble()
    with Connection(ZookeeperSettings(hosts=zookeeper.hosts)).session() as session:
        assert session.sync() > 0
    time.sleep(0.2)
    assert threading.active_count() <= threads
