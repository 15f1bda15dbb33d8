"""TLS of a `World`: authorities, Secrets, the files that kubelets bring late, and the processes that load them, or refuse to.

Certificates are real ones (elliptic curves, so that they cost nothing). What Kafka and Kubernetes do is kept where a
rotation depends upon it:

- a pod that is made gets the Secret as it is then; one that lives gets a change `kubelet_steps` later, or at once when it
  is annotated;
- a process reads its files at its start, where broken ones keep it from starting; it reads them again when it is told to,
  and silently keeps what it had if the key doesn't fit, its own truststore refuses the new certificate, or the subject or
  names differ where `ssl.allow.dn.changes` or `ssl.allow.san.changes` weren't in the file that it was started with; a dry
  run tells which;
- a controller checks less, and loads a key that doesn't fit or a certificate that nobody trusts without a word;
- a node's connection of the quorum (Raft) presents and trusts what the process was started with;
- a node lets a client in whose certificate is of an authority that it trusts, whatever has expired;
- our own client reads its files, which the kubelet brings too, before each request; brokers refuse it, and it refuses them,
  likewise.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kafka_runbooks.clients.certificates import pem
from kafka_runbooks.clients.certificates.protocols import Handshakes, Issuer, Leaf, LeafRequest, Secret, Secrets
from kafka_runbooks.clients.errors import Conflict, Refused, Unreachable
from kafka_runbooks.models.certificates import Certificate, ClientHandshake, Listener, Seen, Stores, TlsFiles
from kafka_runbooks.models.kubernetes import SecretMount

if TYPE_CHECKING:
    from tests.fakes.world import World, WorldPod

MOUNT = "/etc/kafka-tls"
KEY = "the key doesn't fit"
Fault = Literal["subject", "authority", "broken PEM", "key"]


class Authority:
    """A certificate authority with its key."""

    def __init__(self, name: str) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(self.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )

    @functools.cached_property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def sha256(self) -> str:
        return next(iter(pem.by_sha256(self.pem.encode())))

    def issue(self, subject: str, names: Sequence[str] = (), *, days: float = 90, age_days: float = 0) -> Leaf:
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name.from_rfc4514_string(subject))
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(min(now - timedelta(days=age_days), now + timedelta(days=days)) - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
            )
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names or ("none",)]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        return Leaf(certificate.public_bytes(Encoding.PEM).decode(), private)


class FakeIssuer:
    """An authority that issues, or returns what no issuer should (`faults`, by common name)."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.faults: dict[str, Fault] = {}
        self.why_not: str | None = None
        self.is_away = False
        self.issued: list[LeafRequest] = []
        self.days = 90.0

    def authorities(self) -> tuple[str, ...]:
        self._ask()
        return (self.authority.pem,)

    def check(self, request: LeafRequest) -> None:
        self._ask()

    def issue(self, request: LeafRequest) -> Leaf:
        self._ask()
        self.issued.append(request)
        fault = next((fault for name, fault in self.faults.items() if f"CN={name}" in request.subject), None)
        subject = f"{request.subject},O=wrong" if fault == "subject" else request.subject
        issued_by = Authority("nobody knows it") if fault == "authority" else self.authority
        leaf = issued_by.issue(subject, request.names, days=self.days)
        if fault == "key":
            return Leaf(leaf.chain, self.authority.issue(request.subject, request.names).key)
        if fault == "broken PEM":
            return Leaf(leaf.chain.replace("MII", "!!!", 1), leaf.key)
        return leaf

    def _ask(self) -> None:
        if self.is_away:
            raise Unreachable("the issuer doesn't answer")
        if self.why_not is not None:
            raise Refused(self.why_not)


@dataclass
class Loaded:
    """What a process uses."""

    keystore: bytes
    truststore: bytes


@dataclass
class Tls:
    """TLS of every node of a world, all with certificates of `old`."""

    world: "World"
    folder: Path
    """Of our own client's files."""
    old: Authority = field(default_factory=lambda: Authority("old"))
    new: Authority = field(default_factory=lambda: Authority("new"))
    days: float = 30
    kubelet_steps: int = 3

    def __post_init__(self) -> None:
        self.secrets: dict[str, dict[str, bytes]] = {}
        self.versions: dict[str, int] = {}
        self.files: dict[str, dict[str, bytes]] = {}
        """By uid of the pod; our own client's by the name of its Secret."""
        self.loaded: dict[str, Loaded] = {}
        """By pod; what is started anew replaces it."""
        self.due: dict[str, int] = {}
        """Uid -> steps until the kubelet brings its files."""
        self.no_agent: set[str] = set(self.world.controllers)
        self.records: dict[str, TlsFiles] = {}
        """What agents have told, those of pods that are gone too: nobody removes it."""
        """Pods whose agent records nothing; as deployed, controllers have none."""
        self.cut_off: list[str] = []
        """Pairs of nodes that couldn't connect, at any step."""
        self.reloads: list[int] = []
        self.sub_path: set[str] = set()
        self.client_authentication: dict[str, Literal["required", "requested", "none"]] = {}
        """By StatefulSet."""
        self.rejects: set[str] = set()
        """Pods whose process refuses whatever is new, for reasons of its own."""
        self.rejects_silently: set[str] = set()
        """Those of them that a dry run doesn't tell."""
        self.started_files: dict[str, Loaded] = {}
        """What each process was started with."""
        self.made_at: dict[str, datetime] = {}
        """When each pod was made, by uid, on this machine's clock: that is what Secrets' changes are compared with."""
        self.client_handshakes: tuple[ClientHandshake, ...] | None = None
        """What each broker's log says of clients; None: nothing."""
        self.started: dict[str, str] = {}
        for pod in self.pods:
            leaf = self.old.issue(f"CN={pod.name},O=kafka", [f"{pod.name}.kafka"], days=self.days)
            self.secrets.setdefault(self.secret_of(pod), {}).update(
                {f"{pod.name}.pem": pem.keystore(leaf), f"{pod.name}.ca.pem": self.old.pem.encode()}
            )
        for name in ("worker", "agent"):
            leaf = self.old.issue(f"CN={name},O=kafka-runbooks", days=self.days)
            self.secrets[f"{name}-tls"] = {
                "tls.crt": leaf.chain.encode(),
                "tls.key": leaf.key.encode(),
                "ca.crt": self.old.pem.encode(),
            }
            self.files[f"{name}-tls"] = dict(self.secrets[f"{name}-tls"])
        for pod in self.pods:
            self.made_at[pod.uid] = datetime.now(UTC) - timedelta(days=1)
            self._start(pod)
        self._write_own_files()

    @property
    def pods(self) -> list["WorldPod"]:
        return [*self.world.pods.values(), *self.world.controllers.values()]

    def secret_of(self, pod: "WorldPod") -> str:
        return f"kafka-{pod.stateful_set}-tls"

    def name_of(self, pod: "WorldPod") -> str:
        return f"{'broker' if pod.name in self.world.pods else 'controller'} {pod.broker_id}"

    # what the world does

    def advance(self) -> None:
        """A step: kubelets bring files, processes that have started read them, and who can't connect is noted."""
        for uid in list(self.due):
            self.due[uid] -= 1
            if self.due[uid] <= 0:
                self._bring(uid)
        for pod in self.pods:
            self.made_at.setdefault(pod.uid, datetime.now(UTC))
            key = f"{pod.uid}@{pod.restarts}"
            if pod.started_at is not None and self.started.get(pod.name) != key:
                self._start(pod)
                self.started[pod.name] = key
        self._note_cut_off()

    def why_not_start(self, pod: "WorldPod") -> str | None:
        fault = self._fault(self._files_of(pod))
        return None if fault is None else f"CrashLoopBackOff: {fault}"

    def _bring(self, uid: str) -> None:
        self.due.pop(uid, None)
        if uid.endswith("-tls"):
            self.files[uid] = dict(self.secrets[uid])
            self._write_own_files()
            return
        for pod in self.pods:
            if pod.uid == uid:
                self.files[uid] = dict(self.secrets[self.secret_of(pod)])

    def _files_of(self, pod: "WorldPod") -> dict[str, bytes]:
        own = self.files.setdefault(pod.uid, dict(self.secrets[self.secret_of(pod)]))
        return {"keystore": own.get(f"{pod.name}.pem", b""), "truststore": own.get(f"{pod.name}.ca.pem", b"")}

    def _start(self, pod: "WorldPod") -> None:
        if self._fault(self._files_of(pod)) is None:
            self.loaded[pod.name] = self.started_files[pod.name] = Loaded(**self._files_of(pod))
        self.started[pod.name] = f"{pod.uid}@{pod.restarts}"

    @staticmethod
    def _fault(files: Mapping[str, bytes]) -> str | None:
        """Why Kafka can't use these files at all."""
        return _fault(files["keystore"], files["truststore"])

    def pod_of(self, node_id: int) -> "WorldPod":
        return next(pod for pod in self.pods if pod.broker_id == node_id)

    def why_refused(self, node_id: int) -> str | None:
        """As Kafka's dry run answers; what it was started with says whether it takes other names."""
        pod = self.pod_of(node_id)
        files, now = self._files_of(pod), self.loaded[pod.name]
        if pod.name in self.rejects:
            return None if pod.name in self.rejects_silently else "it has its reasons"
        fault = self._fault(files)
        is_inter_broker = pod.name in self.world.pods
        if fault is not None and (is_inter_broker or fault != KEY):
            return f"Invalid value: {fault}"
        if is_inter_broker and not _trusts(files["truststore"], files["keystore"]):
            return "its truststore doesn't have the authority of its certificate"
        was, wanted = pem.certificates(now.keystore)[0], pem.certificates(files["keystore"])[0]
        if was.subject != wanted.subject and pod.file.get("ssl.allow.dn.changes") != "true":
            return f"Keystore DistinguishedName does not match: existing={was.subject}, new={wanted.subject}"
        if not set(was.names) <= set(wanted.names) and pod.file.get("ssl.allow.san.changes") != "true":
            return "Keystore SubjectAltNames do not match"
        return None

    def reload(self, node_id: int) -> None:
        pod = self.pod_of(node_id)
        self.reloads.append(node_id)
        if self.why_refused(node_id) is None and pod.name not in self.rejects:
            self.loaded[pod.name] = Loaded(**self._files_of(pod))

    def _note_cut_off(self) -> None:
        up = [pod for pod in self.pods if self.is_up(pod)]
        for one in up:
            for other in up:
                if not _trusts(self.loaded[other.name].truststore, self.loaded[one.name].keystore):
                    self._note(f"{self.name_of(other)} refuses {self.name_of(one)}")
        for one in up:
            for controller in (other for other in up if other.name in self.world.controllers):
                started, theirs = self.started_files[one.name], self.loaded[controller.name]
                if not _trusts(theirs.truststore, started.keystore):
                    self._note(f"{self.name_of(controller)} refuses the Raft client of {self.name_of(one)}")
                if not _trusts(started.truststore, theirs.keystore):
                    self._note(f"the Raft client of {self.name_of(one)} refuses {self.name_of(controller)}")

    def _note(self, line: str) -> None:
        if line not in self.cut_off:
            self.cut_off.append(line)

    def is_up(self, pod: "WorldPod") -> bool:
        return self.world.runs(pod) and pod.broker_id not in self.world.killed and pod.broker_id not in self.world.silent

    # our own client

    def _write_own_files(self) -> None:
        for key, data in self.files["worker-tls"].items():
            (self.folder / key).write_bytes(data)

    def ask(self) -> None:
        """A request of the worker's Kafka client, with the files that it has now."""
        own = self.files["worker-tls"]
        chain, trusted = own["tls.crt"], own["ca.crt"]
        up = [pod for pod in self.world.pods.values() if self.is_up(pod)]
        for pod in up:
            loaded = self.loaded[pod.name]
            if not _trusts(trusted, loaded.keystore):
                raise Refused("the broker's certificate isn't of a CA in ca_file")
            if pem.certificates(loaded.keystore)[0].not_after < datetime.now(UTC):
                raise Refused("the broker's certificate, or its CA's, has expired")
            if not _trusts(loaded.truststore, chain):
                raise Refused("the broker refuses the client certificate")

    # for the fakes of Kafka and Kubernetes

    def stores_of(self, pod: "WorldPod") -> tuple[Stores, ...]:
        is_broker = pod.name in self.world.pods
        listener = Listener(
            node_id=pod.broker_id,
            name="INTERNAL" if is_broker else "CONTROLLER",
            host=pod.name,
            port=9094 if is_broker else 9095,
            is_controller=not is_broker,
        )
        return (
            Stores(
                listener=listener,
                keystore=f"{MOUNT}/{pod.name}.pem",
                truststore=f"{MOUNT}/{pod.name}.ca.pem",
                client_authentication=self.client_authentication.get(pod.stateful_set, "required"),
            ),
        )

    def mounts_of(self, pod: "WorldPod") -> tuple[SecretMount, ...]:
        if pod.name in self.sub_path:
            return tuple(
                SecretMount(secret=self.secret_of(pod), path=f"{MOUNT}/{pod.name}{end}", is_sub_path=True)
                for end in (".pem", ".ca.pem")
            )
        return (SecretMount(secret=self.secret_of(pod), path=MOUNT),)

    def record_of(self, pod: "WorldPod") -> TlsFiles:
        files = self._files_of(pod)
        own = self.files["agent-tls"]
        return TlsFiles(
            pod_uid=pod.uid,
            sha256={
                f"{MOUNT}/{pod.name}.pem": pem.digest(files["keystore"]),
                f"{MOUNT}/{pod.name}.ca.pem": pem.digest(files["truststore"]),
            },
            lasts=next(((one.not_before, one.not_after) for one in pem.certificates(files["keystore"])), None),
            started_with={
                f"{MOUNT}/{pod.name}.pem": pem.digest(self.started_files[pod.name].keystore),
                f"{MOUNT}/{pod.name}.ca.pem": pem.digest(self.started_files[pod.name].truststore),
            },
            started_at=pod.started_at,
            own_sha256={"certificate": pem.digest(own["tls.crt"]), "ca": pem.digest(own["ca.crt"])},
        )

    # for tests

    def replace(self, pod: "WorldPod") -> None:
        """The Secret is in its files, and in its process."""
        self._bring(pod.uid)
        self._start(pod)

    def served(self, node_id: int) -> str:
        """SHA-256 of the certificate that a node presents."""
        return self.certificate(node_id).sha256

    def certificate(self, node_id: int) -> Certificate:
        return pem.certificates(self.loaded[self.pod_of(node_id).name].keystore)[0]

    def authority_of(self, node_id: int) -> str:
        return "new" if _trusts(self.new.pem.encode(), self.loaded[self.pod_of(node_id).name].keystore) else "old"

    def trusts(self, node_id: int) -> set[str]:
        found = set(pem.by_sha256(self.loaded[self.pod_of(node_id).name].truststore))
        return {name for name, one in (("old", self.old), ("new", self.new)) if one.sha256 in found}


def _fault(keystore: bytes, truststore: bytes) -> str | None:
    leaf = pem.leaf_of(keystore)
    if leaf is None or len(pem.certificates(keystore)) != len(pem.ders(keystore)):
        return "the keystore isn't PEM"
    if not pem.certificates(truststore):
        return "the truststore is empty"
    key = load_pem_private_key(leaf.key.encode(), None)
    certificate = x509.load_der_x509_certificate(pem.ders(keystore)[0])
    return None if key.public_key() == certificate.public_key() else KEY


@functools.lru_cache(maxsize=10_000)
def _trusts(truststore: bytes, keystore: bytes) -> bool:
    """Whether who trusts the one accepts a peer that presents the other."""
    chain = pem.ders(keystore)
    if len(pem.certificates(keystore)) != len(chain) or not chain:
        return False
    return pem.issued_by(chain[0], chain[1:], tuple(pem.by_sha256(truststore).values())) is not None


class FakeSecrets:
    def __init__(self, tls: Tls) -> None:
        self._tls = tls

    def read(self, name: str) -> Secret | None:
        self._ask()
        data = self._tls.secrets.get(name)
        return None if data is None else Secret(dict(data), str(self._tls.versions.get(name, 0)))

    def write(self, name: str, changes: Mapping[str, bytes | None], version: str) -> str:
        self._ask()
        with self._tls.world.act("write_secret"):
            if str(self._tls.versions.get(name, 0)) != version or name not in self._tls.secrets:
                raise Conflict(f"Secret {name} has changed")
            for key, value in changes.items():
                self._tls.secrets[name].pop(key, None)
                if value is not None:
                    self._tls.secrets[name][key] = value
            self._tls.versions[name] = int(version) + 1
            uids = [pod.uid for pod in self._tls.pods if self._tls.secret_of(pod) == name] or [name]
            self._tls.due.update(dict.fromkeys(uids, self._tls.kubelet_steps * (10 if len(uids) > 1 else 1)))
        return str(self._tls.versions[name])

    def _ask(self) -> None:
        if self._tls.world.is_kubernetes_away:
            raise Unreachable("the Kubernetes API doesn't answer")


class FakeHandshakes:
    def __init__(self, tls: Tls) -> None:
        self._tls = tls

    def see(self, listeners: Sequence[Listener], authorities: Mapping[str, Leaf | None]) -> tuple[Seen, ...]:
        self._tls.world.look()
        for leaf in authorities.values():
            assert leaf is None or pem.is_usable(pem.keystore(leaf)), "OpenSSL takes no key with another's certificate"
        return tuple(self._see(listener, authorities) for listener in listeners)

    def _see(self, listener: Listener, authorities: Mapping[str, Leaf | None]) -> Seen:
        pod = next((pod for pod in self._tls.pods if pod.broker_id == listener.node_id), None)
        if pod is None or not self._tls.is_up(pod):
            return Seen(listener=listener, problem=f"{listener.host}:{listener.port} doesn't answer")
        loaded = self._tls.loaded[pod.name]
        if _fault(loaded.keystore, loaded.truststore) is not None:
            return Seen(listener=listener, problem=f"{listener.host}:{listener.port}: TLS alert handshake_failure")
        chain = pem.ders(loaded.keystore)
        asks = self._tls.client_authentication.get(pod.stateful_set, "required") != "none"
        return Seen(
            listener=listener,
            chain=pem.certificates(loaded.keystore),
            authority=pem.issued_by(chain[0], chain[1:], tuple(authorities)),
            trusts={
                next(iter(pem.by_sha256(one.encode()))): not asks or _trusts(loaded.truststore, leaf.chain.encode())
                for one, leaf in authorities.items()
                if leaf is not None
            },
        )


def _conforms(tls: Tls) -> tuple[Secrets, Handshakes, Issuer]:
    return FakeSecrets(tls), FakeHandshakes(tls), FakeIssuer(tls.new)
