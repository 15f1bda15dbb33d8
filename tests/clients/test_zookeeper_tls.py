"""A real ensemble of ZooKeeper 3.8 goes from plain text to TLS, member by member, by the example's own start script and zoo.cfg.

What it is before has none of that: no TLS, and the client's port among the servers.
"""

import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NoAuthError
from kazoo.security import make_acl

from kafka_runbooks.agent.member_readiness import MemberReadiness
from kafka_runbooks.agent.tls_files import TlsFilesWatch
from kafka_runbooks.clients.kubernetes.register import tls_files
from kafka_runbooks.clients.security.files import client_context
from kafka_runbooks.clients.security.settings import TlsSettings
from kafka_runbooks.clients.zookeeper.client import ZooKeeperClient
from kafka_runbooks.clients.zookeeper.settings import ZookeeperSettings
from kafka_runbooks.models.ensemble import Ensemble
from kafka_runbooks.safety.ensemble import in_order, not_in_sync, reasons_not_to_go_down
from kafka_runbooks.safety.quorum_tls import would_split
from tests.clients import local_zookeeper_kafka
from tests.clients.local_kafka import ROOT, free_ports
from tests.clients.local_zookeeper import WORDS, Process
from tests.clients.security.certificates import Authority, Leaf, written

pytestmark = [
    pytest.mark.server,
    pytest.mark.timeout(600),
    # kazoo's own TLS leaves a socket to a member that goes down in the handshake.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

IDS = (1, 2, 3)
DEPLOYED = ROOT / "deploy" / "kubernetes" / "zookeeper" / "config"
SPLIT_SECONDS = 10
"""How long a member that the others don't take is watched: one that they take is back in three."""


class Deployed:
    """One member: `start(None)` as before TLS, else by the script with this `QUORUM_TLS`."""

    def __init__(self, folder: Path, ports: tuple[int, int], servers: str, plain_servers: str) -> None:
        folder.mkdir()
        self.folder, (self.plain_port, self.secure_port) = folder, ports
        (folder / "data").mkdir()
        written(folder / "data" / "myid", f"{folder.name}\n")
        written(folder / "servers.cfg", servers)
        before = f"dataDir={folder / 'data'}\ntickTime=2000\ninitLimit=10\nsyncLimit=5\nadmin.enableServer=false\n"
        self._before = Process(
            folder, "quorum.QuorumPeerMain", before + WORDS + plain_servers, libraries=local_zookeeper_kafka.jars()
        )
        self._config = folder / "config"
        shutil.copytree(DEPLOYED, self._config)
        places = {
            "/etc/zookeeper-config": self._config,
            "/etc/zookeeper-tls": folder / "tls",
            "/identity": folder,
            "/opt/kafka/libs": local_zookeeper_kafka.jars(),
            "/data/zookeeper": folder / "data",
            "/tmp/zoo.cfg": folder / "made.cfg",
            "secureClientPort=2281": f"secureClientPort={self.secure_port}",
            "clientPort=2181": f"clientPort={self.plain_port}",
        }
        for name in ("start.sh", "zoo.cfg"):
            text = (self._config / name).read_text()
            for there, here in places.items():
                text = text.replace(there, str(here))
            written(self._config / name, text)
        self.quorum_tls: str | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, quorum_tls: str | None) -> None:
        self.quorum_tls = quorum_tls
        if quorum_tls is None:
            self._before.start()
            return
        own = {"QUORUM_TLS": quorum_tls, "ZOOKEEPER_HEAP_OPTIONS": "-Xmx96m"}
        with (self.folder / "zookeeper.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["bash", str(self._config / "start.sh")],
                env=os.environ | own,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        self._before.stop(how)
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def mount(self, authority: Authority, leaf: Leaf) -> None:
        """Bring a Secret into the folder as the kubelet does: files are links into a folder that is replaced as a whole."""
        tls = self.folder / "tls"
        tls.mkdir(exist_ok=True)
        new = tls / f"..{time.time_ns()}"
        new.mkdir()
        files = {"tls.crt": leaf.certificate, "tls.key": leaf.key, "tls-combined.pem": leaf.both, "ca.crt": authority.pem}
        for name, text in files.items():
            (new / name).write_text(text)
            if not (tls / name).is_symlink():
                (tls / name).symlink_to(Path("..data") / name)
        (tls / "..new").symlink_to(new.name)
        (tls / "..new").replace(tls / "..data")

    def presents(self, tls: TlsSettings) -> str:
        """The certificate that clients see, as PEM."""
        plain = socket.create_connection(("127.0.0.1", self.secure_port), 10)
        with client_context(tls).wrap_socket(plain, server_hostname="127.0.0.1") as link:
            return ssl.DER_cert_to_PEM_cert(link.getpeercert(binary_form=True) or b"")


class Three:
    """An ensemble, its authority, and clients of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.authority = folder, Authority("the ensemble's")
        ports = free_ports(4 * len(IDS))
        quorum, clients = {}, {}
        for server_id in IDS:
            follow, elect, plain, secure = ports[4 * server_id - 4 : 4 * server_id]
            quorum[server_id], clients[server_id] = f"127.0.0.1:{follow}:{elect}", (plain, secure)
        servers = "".join(f"server.{server_id}={at}\n" for server_id, at in quorum.items())
        before = "".join(f"server.{one}={at}:participant;127.0.0.1:{clients[one][0]}\n" for one, at in quorum.items())
        self.members = {one: Deployed(folder / str(one), clients[one], servers, before) for one in IDS}
        for member in self.members.values():
            member.mount(self.authority, self.authority.leaf("zookeeper", "127.0.0.1"))
        self.broker, self.stranger = self._client("kafka-broker"), self._client("somebody")
        self.is_by_tls = False

    def _client(self, name: str) -> TlsSettings:
        leaf = self.authority.leaf(name)
        return TlsSettings(
            ca_file=written(self.folder / "ca.crt", self.authority.pem),
            certificate_file=written(self.folder / f"{name}.crt", leaf.certificate),
            key_file=written(self.folder / f"{name}.key", leaf.key),
        )

    @property
    def hosts(self) -> str:
        ports = (one.secure_port if self.is_by_tls else one.plain_port for one in self.members.values())
        return ",".join(f"127.0.0.1:{port}" for port in ports)

    def look(self) -> Ensemble:
        tls = self.broker if self.is_by_tls else None
        return ZooKeeperClient(ZookeeperSettings(hosts=self.hosts, tls=tls)).ensemble()

    def kazoo(self, tls: TlsSettings | None = None) -> Any:
        if not self.is_by_tls:
            return KazooClient(hosts=self.hosts, timeout=20)
        own = tls or self.broker
        files = {"ca": own.ca_file, "certfile": own.certificate_file, "keyfile": own.key_file}
        return KazooClient(hosts=self.hosts, timeout=20, use_ssl=True, **{name: str(path) for name, path in files.items()})

    def until(self, holds: Callable[[Ensemble], bool], seconds: float = 60) -> Ensemble:
        deadline = time.monotonic() + seconds
        while not holds(found := self.look()):
            assert time.monotonic() < deadline, found
            time.sleep(0.2)
        return found

    def whole(self) -> Ensemble:
        return self.until(lambda found: found.quorum == 2 and not not_in_sync(found) and found.leader is not None)

    def others(self, server_id: int) -> Mapping[int, str | None]:
        return {other: one.quorum_tls for other, one in self.members.items() if other != server_id}

    def restart(self, server_id: int, quorum_tls: str | None) -> None:
        self.members[server_id].stop(signal.SIGTERM)
        self.members[server_id].start(quorum_tls)

    def roll(self, quorum_tls: str) -> None:
        """By the rules, each of them asked before each restart."""
        left, deadline = set(IDS), time.monotonic() + 120
        while left:
            assert time.monotonic() < deadline, not_in_sync(self.look())
            found = self.look()
            for server_id in in_order(found, left):
                split = would_split(server_id, quorum_tls, self.others(server_id))
                assert split == []
                if not reasons_not_to_go_down(found, server_id, age_seconds=0, later=left):
                    self.restart(server_id, quorum_tls)
                    left.discard(server_id)
                    break
        self.whole()

    def a_follower(self) -> int:
        found = self.whole()
        return next(one.server_id for one in found.members if one is not found.leader and one.server_id is not None)

    def stays_away(self, server_id: int) -> None:
        """The others are a quorum meanwhile."""
        deadline = time.monotonic() + SPLIT_SECONDS
        while time.monotonic() < deadline:
            assert set(not_in_sync(self.look())) == {server_id}
            time.sleep(0.5)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Three]:
    """Without TLS at first; tests go on from each other, in their order."""
    ensemble = Three(tmp_path_factory.mktemp("ensemble"))
    try:
        for member in ensemble.members.values():
            member.start(None)
        ensemble.whole()
        yield ensemble
    finally:
        for member in ensemble.members.values():
            member.stop()


class Writer:
    """Creates znodes all the time, and keeps how long it took at most from one to the next."""

    def __init__(self, three: Three) -> None:
        self._client, self._stop = three.kazoo(), threading.Event()
        self._thread = threading.Thread(target=self._write)
        self.made: list[str] = []
        self.longest_seconds = 0.0
        self.failed: list[Exception] = []

    def __enter__(self) -> "Writer":
        self._client.start(timeout=20)
        self._client.ensure_path("/written")
        self._thread.start()
        return self

    def _write(self) -> None:
        last = time.monotonic()
        while not self._stop.is_set():
            try:
                self.made.append(self._client.retry(self._client.create, "/written/one-", b"", sequence=True))
                now = time.monotonic()
                self.longest_seconds, last = max(self.longest_seconds, now - last), now
            except KazooException as error:
                self.failed.append(error)
            time.sleep(0.01)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)
        there = {f"/written/{name}" for name in self._client.get_children("/written")}
        self._client.stop()
        self._client.close()
        assert set(self.made) <= there and len(self.made) > 50
        assert self.longest_seconds < 15, self.longest_seconds


def test_a_step_that_is_left_out_keeps_a_member_away_and_the_rules_refuse_it(three: Three) -> None:
    one = three.a_follower()
    assert would_split(one, "spoken", three.others(one))
    three.restart(one, "spoken")
    three.stays_away(one)
    three.restart(one, "accepted")
    three.whole()


def test_members_take_tls_and_then_speak_it_while_somebody_writes(three: Three) -> None:
    with Writer(three):
        three.roll("accepted")
    one = three.a_follower()
    assert would_split(one, "required", three.others(one))
    three.restart(one, "required")
    three.stays_away(one)
    three.restart(one, "accepted")
    three.whole()
    three.is_by_tls = True
    with Writer(three):
        three.roll("spoken")


def test_the_plain_port_is_closed_at_last_while_somebody_writes_by_tls(three: Three) -> None:
    with Writer(three):
        three.roll("required")
    three.is_by_tls = False
    assert all("Connection refused" in (one.fault or "") for one in three.look().members)
    three.is_by_tls = True


def test_the_agent_asks_by_tls_with_the_member_s_own_certificate(three: Three) -> None:
    for member in three.members.values():
        tls = member.folder / "tls"
        own = TlsSettings(ca_file=tls / "ca.crt", certificate_file=tls / "tls.crt", key_file=tls / "tls.key")
        verdict = MemberReadiness(f"127.0.0.1:{member.secure_port}", own).verdict()
        assert verdict.is_ready, verdict


def test_what_a_broker_makes_only_brokers_change_and_all_may_read(three: Three) -> None:
    """As Kafka makes znodes with `zookeeper.set.acl=true`, once each client has a certificate (`ZkData.defaultAcls`)."""
    broker, stranger = three.kazoo(), three.kazoo(three.stranger)
    broker.start(timeout=20)
    stranger.start(timeout=20)
    try:
        acl = [make_acl("auth", "", all=True), make_acl("world", "anyone", read=True)]
        broker.create("/of-a-broker", b"1", acl=acl)
        (of_broker, _), _ = broker.get_acls("/of-a-broker")
        assert of_broker.id.scheme == "x509" and of_broker.id.id == "CN=kafka-broker"
        assert stranger.get("/of-a-broker")[0] == b"1"
        with pytest.raises(NoAuthError):
            stranger.set("/of-a-broker", b"2")
    finally:
        for one in (broker, stranger):
            one.stop()
            one.close()


class Register:
    """What an agent publishes."""

    def __init__(self) -> None:
        self.data: dict[str, str] = {}

    def pod_uid(self) -> str:
        return "uid"

    def add_entries(self, cluster: str, entries: Mapping[str, str], version: str | None) -> None:
        self.data |= entries


def test_a_renewed_certificate_comes_into_force_with_a_restart_and_its_agent_tells_that_it_has_not_yet(three: Three) -> None:
    """ZooKeeper 3.8 can reload the quorum's files, but not what clients see; `client.certReload` is of later releases."""
    one = three.a_follower()
    member, register = three.members[one], Register()
    files = [member.folder / "tls" / name for name in ("tls-combined.pem", "ca.crt")]
    watch = TlsFilesWatch(register, "lab", "zookeeper-0", files=files, started=member.folder / "started-tls", own={})

    def outdated() -> set[str]:
        watch.poll()
        record = tls_files(register.data)["zookeeper-0"]
        assert record.unusable == () and record.started_with.keys() == record.sha256.keys() == set(map(str, files))
        return {Path(path).name for path, digest in record.sha256.items() if record.started_with[path] != digest}

    before, renewed = member.presents(three.broker), three.authority.leaf("zookeeper", "127.0.0.1")
    assert outdated() == set()
    member.mount(three.authority, renewed)
    assert outdated() == {"tls-combined.pem"}
    time.sleep(3)
    assert member.presents(three.broker) == before
    three.restart(one, "required")
    three.whole()
    assert outdated() == set() and member.presents(three.broker).split() == renewed.certificate.split()


def test_a_client_s_certificate_makes_nobody_a_member(three: Three) -> None:
    """It is of the same authority, and has no member's name."""
    one = three.a_follower()
    three.members[one].mount(three.authority, three.authority.leaf("kafka-broker"))
    three.restart(one, "required")
    three.stays_away(one)
    three.members[one].mount(three.authority, three.authority.leaf("zookeeper", "127.0.0.1"))
    three.restart(one, "required")
    three.whole()
