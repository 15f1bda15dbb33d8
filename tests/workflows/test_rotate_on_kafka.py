"""`RotateCertificates` on a real Kafka, seen by real handshakes; only Kubernetes is a fake, whose Secrets are files."""

import ipaddress
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from activities import rotations, step
from kafka_runbooks.clients.certificates import pem
from kafka_runbooks.clients.certificates.handshakes import TlsHandshakes
from kafka_runbooks.clients.certificates.protocols import Leaf, LeafRequest, Secret
from kafka_runbooks.clients.clusters import CertificateClients
from kafka_runbooks.clients.kafka import KafkaAdmin
from kafka_runbooks.clients.security.settings import Security
from kafka_runbooks.models.certificates import ClientHandshake, ClientSecret, TlsFiles
from kafka_runbooks.models.kubernetes import SecretMount
from tests.clients.certificates.tls_kafka import CLIENT, CONTROLLER_ID, TlsKafka
from tests.clients.local_kafka import running
from tests.clients.security.certificates import Authority, written
from tests.fakes.certificates import Tls
from tests.fakes.world import World, WorldPod
from tests.temporal_env import Bench, bench
from tests.workflows.test_replace_broker import failure
from tests.workflows.test_rolling_restart import is_done

# kafka-python leaves sockets to brokers that went away for the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

OLD, NEW = Authority("old"), Authority("new")
NODES = (CONTROLLER_ID, 1001, 1002)


class Files(Tls):
    """Of a real Kafka, in the place of a world's TLS: its folder is the Secret and every pod's file system."""

    def __init__(self, world: World, kafka: TlsKafka) -> None:
        self.world, self.kafka = world, kafka
        self.no_agent = set(world.controllers)
        self.records: dict[str, TlsFiles] = {}
        self.due: dict[str, int] = {}
        self.kubelet_steps = 0
        self.made_at: dict[str, datetime] = {}
        self.client_handshakes: tuple[ClientHandshake, ...] | None = ()
        self.digests = {path: pem.digest(path.read_bytes()) for path in kafka.certificates.iterdir()}

    def advance(self) -> None: ...

    def why_not_start(self, pod: WorldPod) -> str | None:
        return None

    def mounts_of(self, pod: WorldPod) -> tuple[SecretMount, ...]:
        return (SecretMount(secret="kafka-tls", path=str(self.kafka.certificates)),)

    def record_of(self, pod: WorldPod) -> TlsFiles:
        files = (self.kafka.keystore(pod.broker_id), self.kafka.truststore(pod.broker_id))
        return TlsFiles(
            pod_uid=pod.uid,
            sha256={str(path): pem.digest(path.read_bytes()) for path in files},
            started_with={str(path): self.digests[path] for path in files},
            started_at=pod.started_at,
        )


class Folders:
    """`Secrets`, each a folder."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = folders
        self._version = 1

    def read(self, name: str) -> Secret | None:
        folder = self._folders.get(name)
        if folder is None:
            return None
        return Secret({path.name: path.read_bytes() for path in folder.iterdir()}, str(self._version))

    def write(self, name: str, changes: Mapping[str, bytes | None], version: str) -> str:
        self._version += 1
        for key, value in changes.items():
            path = self._folders[name] / key
            if value is None:
                path.unlink(missing_ok=True)
            else:
                written(path, value.decode())
        return str(self._version)


class AuthorityIssuer:
    def __init__(self, authority: Authority) -> None:
        self._authority = authority

    def authorities(self) -> tuple[str, ...]:
        return (self._authority.pem,)

    def check(self, request: LeafRequest) -> None: ...

    def issue(self, request: LeafRequest) -> Leaf:
        addresses = [name for name in request.names if _is_address(name)]
        hosts = tuple(name for name in request.names if name not in addresses)
        leaf = self._authority.leaf(request.subject.removeprefix("CN="), *addresses, hosts=hosts)
        return Leaf(leaf.certificate, leaf.key)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsKafka]:
    with running(TlsKafka(tmp_path_factory.mktemp("tls"), OLD, brokers=2)) as cluster:
        yield cluster


@pytest_asyncio.fixture
async def real(
    server: WorkflowEnvironment, kafka: TlsKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    monkeypatch.setattr(step, "POLL_SECONDS", 0.5)
    monkeypatch.setattr(rotations, "PROOF_SECONDS", 20.0)
    leaf = OLD.leaf("worker")
    for name, text in (("tls.crt", leaf.certificate), ("tls.key", leaf.key), ("ca.crt", OLD.pem)):
        written(tmp_path / name, text)
    security = Security(
        protocol="SSL", ca_file=tmp_path / "ca.crt", certificate_file=tmp_path / "tls.crt", key_file=tmp_path / "tls.key"
    )
    world = World(maps=("events",), zones=("zone-a", "zone-b"), controllers=1)
    world.tls = Files(world, kafka)
    admin = KafkaAdmin(kafka.bootstrap_of(CLIENT), security)
    secrets = Folders({"kafka-tls": kafka.certificates, "worker-tls": tmp_path})
    issuers = {"old": AuthorityIssuer(OLD), "new": AuthorityIssuer(NEW)}
    own = (ClientSecret(name="worker", secret="worker-tls"),)
    async with bench(server, world, admin) as ready:
        ready.clusters.speak_tls(CertificateClients(secrets, issuers, "old", TlsHandshakes(), own), security)
        yield ready
    admin.close()


def presented(kafka: TlsKafka) -> dict[int, str]:
    """The certificate in each node's keystore, which the exit contract has proven to be served."""
    return {node_id: pem.certificates(kafka.keystore(node_id).read_bytes())[0].issuer for node_id in NODES}


async def test_a_broker_that_refuses_says_why_before_anything_is_loaded(real: Bench, kafka: TlsKafka) -> None:
    certificates = real.clusters.open(real.cluster).certificates
    assert certificates is not None
    before = kafka.keystore(1001).read_bytes()

    class Wrong(AuthorityIssuer):
        def issue(self, request: LeafRequest) -> Leaf:
            is_node = request.subject.startswith("CN=node")
            return super().issue(LeafRequest("CN=somebody else", request.names) if is_node else request)

    assert isinstance(certificates.issuers, dict)
    certificates.issuers["old"] = Wrong(OLD)
    asked = {"reason": "a test", "wait_for_approval": False, "canary_node_id": 1001}
    handle = await real.start_runbook("RotateCertificates", mode="change-names", names=["localhost", "127.0.0.1", "new"], **asked)
    summary = (await failure(handle)).summary
    assert "DistinguishedName" in summary and "taken back, proven by handshakes" in summary, summary
    assert kafka.keystore(1001).read_bytes() == before


async def test_renewed_and_then_moved_to_another_authority_without_a_restart(real: Bench, kafka: TlsKafka) -> None:
    """The worker's own connection goes on, by certificates of the one and of the other."""
    asked = {"reason": "a test", "wait_for_approval": False}
    before = {node_id: kafka.keystore(node_id).read_bytes() for node_id in NODES}
    renewed = await (await real.start_runbook("RotateCertificates", mode="renew", **asked)).result()
    is_done(renewed)
    assert all(kafka.keystore(node_id).read_bytes() != before[node_id] for node_id in NODES)
    moved = await real.start_runbook("RotateCertificates", mode="change-authority", issuer="new", restarts="later", **asked)
    result = await moved.result()
    is_done(result)
    assert presented(kafka) == {CONTROLLER_ID: "CN=old", 1001: "CN=new", 1002: "CN=new"}
    assert all(len(pem.ders(kafka.truststore(node_id).read_bytes())) == 2 for node_id in NODES)
    assert not [path for path in kafka.certificates.iterdir() if path.name.endswith((".previous", ".written-at"))]
