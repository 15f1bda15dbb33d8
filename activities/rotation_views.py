"""Who takes part in a rotation, as seen just now: in Secrets, in the agents' records of files, and by handshakes.

What a node trusts is seen by connecting with a certificate of each authority. Where one comes from: the Secrets have keys of the
authority that is in use, kept former ones too; of one that nobody uses yet, one is issued for this and kept in memory.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from activities.errors import RotationRefused
from kafka_runbooks.clients.certificates import pem
from kafka_runbooks.clients.certificates.protocols import Leaf, LeafRequest, Secret
from kafka_runbooks.clients.clusters import CertificateClients, ClusterClients
from kafka_runbooks.models.certificates import Certificate, Seen
from kafka_runbooks.models.kubernetes import KafkaPod
from kafka_runbooks.models.rotation_plan import RotatedClient, RotatedNode, RotationPlan
from kafka_runbooks.models.rotations import NOTHING, Party, Places, Presented, Trusted

PREVIOUS = ".previous"
"""A former key of a Secret, kept beside the one that has replaced it."""
WRITTEN_AT = ".written-at"
"""When a key was changed, for pods whose agent doesn't tell what their process was started with."""
SKEW = timedelta(seconds=5)
"""Of the clocks of worker and API server."""
PROBE_SUBJECT = "CN=kafka-runbooks-probe"
PROBE_LIFETIME = timedelta(hours=24)
PROBE_LEFT = timedelta(minutes=10)

T = TypeVar("T")


class Probes:
    """Leaves that were issued to find out who trusts their authority; one each, for the life of this worker."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, str], Leaf] = {}

    def of(self, cluster: str, authority: str, certificates: CertificateClients, issuer: str) -> Leaf:
        """A leaf of this authority, which this issuer speaks for.

        Raises:
            Unreachable, Refused: it issues none now.
        """
        with self._lock:
            kept = self._kept.get((cluster, authority))
            if kept is None or _ends_within(kept, PROBE_LEFT):
                asked = LeafRequest(PROBE_SUBJECT, (), PROBE_LIFETIME, frozenset(("client",)))
                kept = certificates.issuers[issuer].issue(asked)
                self._kept[cluster, authority] = kept
            return kept


def _ends_within(leaf: Leaf, time: timedelta) -> bool:
    found = pem.certificates(leaf.chain.encode())
    return not found or found[0].not_after - datetime.now(UTC) < time


def certificates_of(clients: ClusterClients) -> CertificateClients:
    """What rotates a cluster's certificates.

    Raises:
        RotationRefused: its entry says nothing of them (any more).
    """
    if clients.certificates is None:
        raise RotationRefused("the cluster's entry in clusters.yaml has no certificates")
    return clients.certificates


def read(certificates: CertificateClients, name: str) -> Secret:
    """A Secret that must be there.

    Raises:
        RotationRefused: it is gone.
    """
    found = certificates.secrets.read(name)
    if found is None:
        raise RotationRefused(f"Secret {name}: there is none (any more)")
    return found


class View:
    """One look at everybody."""

    def __init__(self, clients: ClusterClients, plan: RotationPlan, probes: Probes | None = None) -> None:
        """See everybody.

        Args:
            probes: without them nothing is issued, and of an authority that nobody has a certificate of, only files tell.
        """
        self._plan = plan
        self._authorities = tuple(plan.authorities.values())
        certificates = certificates_of(clients)
        kubernetes = clients.kubernetes
        self.pods: Mapping[str, KafkaPod] = {pod.name: pod for pod in (*kubernetes.broker_pods(), *kubernetes.controller_pods())}
        # A record outlives its pod: one of a pod that is gone, or has been replaced, tells nothing.
        self._records = {
            name: record
            for name, record in kubernetes.tls_files().items()
            if name in self.pods and record.pod_uid == self.pods[name].uid
        }
        names = {one.secret for one in plan.nodes} | {one.client.secret for one in plan.clients}
        self.secrets = {name: read(certificates, name) for name in sorted(names)}
        listeners = [stores.listener for node in plan.nodes for stores in node.stores]
        self.seen: dict[int, list[Seen]] = {}
        for found in certificates.handshakes.see(listeners, self._leaves(certificates, probes)):
            self.seen.setdefault(found.listener.node_id, []).append(found)
        self.parties = [*map(self._node, plan.nodes), *(self._client(clients, one) for one in plan.clients)]
        self._has_record = {node.name: node.pod in self._records for node in plan.nodes}
        self.by_name = {party.name: party for party in self.parties}

    def has_record(self, name: str) -> bool:
        """Whether somebody tells what is in a party's files."""
        party = self.by_name[name]
        return party.is_client or self._has_record[name]

    def _leaves(self, certificates: CertificateClients, probes: Probes | None) -> dict[str, Leaf | None]:
        """Of each authority one to connect with."""
        found: dict[str, Leaf] = {}
        for data in self._keystores():
            leaf = pem.leaf_of(data) if pem.is_usable(data) else None
            by = None if leaf is None else self._issued_by(leaf.chain.encode())
            if leaf is not None and by is not None and not _ends_within(leaf, timedelta()):
                found.setdefault(by, leaf)
        wanted = self._plan.authority
        if wanted not in found and self._plan.old and probes is not None:
            found[wanted] = probes.of(self._plan.cluster, wanted, certificates, self._plan.issuer)
        return {text: found.get(sha256) for sha256, text in self._plan.authorities.items()}

    def _keystores(self) -> Iterable[bytes]:
        for node in self._plan.nodes:
            data = self.secrets[node.secret].data
            yield from (data[key] for key in (node.keystore, node.keystore + PREVIOUS) if key in data)

    def _issued_by(self, chain: bytes) -> str | None:
        ders = pem.ders(chain)
        try:
            return pem.issued_by(ders[0], ders[1:], self._authorities) if ders else None
        except ValueError:
            return None

    # One party

    def _node(self, node: RotatedNode) -> Party:
        data, seen = self.secrets[node.secret].data, self.seen.get(node.node.id, [])
        pod, record = self.pods.get(node.pod), self._records.get(node.pod)
        keystore, truststore = node.files
        files = {} if record is None else record.sha256
        is_recorded = pod is not None and (record is None or record.is_of_process(pod.started_at))
        started = record.started_with if record is not None and is_recorded else {}
        if record is None and pod is not None:
            started = {
                path: pem.digest(data[key])
                for key, path in ((node.keystore, keystore), (node.truststore, truststore))
                if key in data and self._is_made_after(pod, data, key)
            }
        is_up = self._is_up(node)
        is_settled = all(one.is_settled for one in seen)  # If not, a reload is under way, and the next look tells.
        in_file = _in_file(data, node.truststore, truststore, files, trusted_by)

        def presented(of: bytes) -> Presented:
            return self._presented(of, node)

        return Party(
            name=node.name,
            certificate=Places(
                presented(data[node.keystore]) if node.keystore in data else None,
                _in_file(data, node.keystore, keystore, files, presented),
                self._served(node, seen) if is_up and is_settled else None,
            ),
            trust=Places(
                trusted_by(data[node.truststore]) if node.truststore in data else None,
                in_file,
                self._trusted(node, seen, in_file) if is_up and is_settled else None,
            ),
            is_up=is_up,
            is_controller=node.is_controller,
            reloads=node.reloads,
            start_is_recorded=is_recorded,
            started_certificate=_in_file(data, node.keystore, keystore, started, presented),
            started_trust=_in_file(data, node.truststore, truststore, started, trusted_by),
            is_cut_off=self._is_cut_off(node, seen),
        )

    def _is_up(self, node: RotatedNode) -> bool:
        seen = self.seen.get(node.node.id, [])
        return bool(seen) and all(one.chain for one in seen)

    def _is_cut_off(self, node: RotatedNode, seen: Sequence[Seen]) -> bool:
        """Whether no controller can have a connection to it: each asks for certificates, and has run only since its own ended.

        A controller that has only reloaded keeps the connections that it has.
        """
        ended = max((one.chain[0].not_after for one in seen if one.chain), default=None)
        controllers = [one for one in self._plan.nodes if one.is_controller]
        if ended is None or not controllers or node.is_controller:
            return False
        asking = all(
            stores.client_authentication == "required"
            for one in controllers
            for stores in one.stores
            if stores.listener.is_controller
        )
        pods = [self.pods.get(one.pod) for one in controllers]
        return asking and all(pod is not None and pod.started_at is not None and pod.started_at > ended + SKEW for pod in pods)

    def _is_made_after(self, pod: KafkaPod, data: Mapping[str, bytes], key: str) -> bool:
        """Whether a pod whose agent records nothing was made when the Secret had what it has now: it was started with that."""
        written = data.get(key + WRITTEN_AT)
        since = datetime.fromisoformat(self._plan.made_at if written is None else written.decode())
        return pod.scheduled_at is not None and pod.scheduled_at > since + SKEW

    def _presented(self, data: bytes, node: RotatedNode) -> Presented:
        """Of a keystore."""
        found = pem.certificates(data)
        if not found or not pem.is_usable(data):
            return NOTHING
        return self._of_node(found[0], self._issued_by(data), node)

    def _of_node(self, found: Certificate, authority: str | None, node: RotatedNode) -> Presented:
        judged = self._judged(found, authority, node.before, node.subject, node.names)
        return judged._replace(is_wanted=judged.is_wanted or node.keeps)

    def _judged(
        self, found: Certificate, authority: str | None, before: Certificate, subject: str, names: Sequence[str]
    ) -> Presented:
        """Only a renewal is told from what it replaces by nothing but being another certificate."""
        is_wanted = (
            authority == self._plan.authority
            and (self._plan.mode != "renew" or found.sha256 != before.sha256)
            and found.subject == subject
            and set(found.names) == set(names)
        )
        return Presented(found.sha256, authority, is_wanted)

    def _served(self, node: RotatedNode, seen: Sequence[Seen]) -> Presented:
        """Of several listeners the one that isn't as wanted, if there is one."""
        each = [self._of_node(one.chain[0], one.authority, node) for one in seen]
        return next((one for one in each if not one.is_wanted), each[0])

    def _trusted(self, node: RotatedNode, seen: Sequence[Seen], in_file: Trusted | None) -> Trusted | None:
        """The wanted authority if every listener trusts it, the others if any does; None: no listener asks for certificates.

        Of one that there is no certificate to connect with, only the file tells.
        """
        asking = {stores.listener.name for stores in node.stores if stores.client_authentication != "none"}
        each = [one.trusts for one in seen if one.listener.name in asking]
        if not each:
            return None
        known = {authority for trusts in each for authority in trusts}
        wanted = self._plan.authority
        if in_file is None and not {wanted, *self._plan.old} <= known:
            return None
        return ((in_file or frozenset()) - known) | {
            authority
            for authority in known
            if (all if authority == wanted else any)(trusts.get(authority, False) for trusts in each)
        }

    def _client(self, clients: ClusterClients, one: RotatedClient) -> Party:
        data = self.secrets[one.client.secret].data
        security = clients.settings.security
        if one.name == "worker":
            own = {"certificate": security.certificate_file, "ca": security.ca_file}
            files = {name: {pem.digest(path.read_bytes())} for name, path in own.items() if path is not None and path.is_file()}
        else:
            # What is down connects to nobody, and nothing goes on to the next phase before it is back.
            up = [self._records[node.pod] for node in self._plan.nodes if self._is_up(node) and node.pod in self._records]
            files = {
                name: {record.own_sha256[name] for record in up if name in record.own_sha256} for name in ("certificate", "ca")
            }

        def presented(of: bytes) -> Presented:
            found = pem.certificates(of)
            if not found:
                return NOTHING
            before = one.before or found[0]
            return self._judged(found[0], self._issued_by(of), before, before.subject, before.names)

        certificate: Places[Presented]
        if one.before is None:
            nothing = Presented("", self._plan.authority, True)
            certificate = Places(nothing, nothing)
        else:
            chain = data.get(one.client.certificate_key, b"")
            certificate = Places(
                presented(chain) if pem.is_usable(data.get(one.client.key_key, b"") + b"\n" + chain) else NOTHING,
                _in_files(data, one.client.certificate_key, files.get("certificate", set()), presented),
            )
        return Party(
            name=one.name,
            certificate=certificate,
            trust=Places(
                trusted_by(data.get(one.client.ca_key, b"")),
                _in_files(data, one.client.ca_key, files.get("ca", set()), trusted_by),
            ),
            is_client=True,
        )


def trusted_by(data: bytes) -> Trusted:
    """The authorities in a PEM truststore."""
    return frozenset(pem.by_sha256(data))


def _in_file(data: Mapping[str, bytes], key: str, path: str, files: Mapping[str, str], parsed: Callable[[bytes], T]) -> T | None:
    """What a file holds, by its digest: what the Secret has, or had before; None: nobody can tell."""
    return _in_files(data, key, {files[path]}, parsed) if path in files else None


def _in_files(data: Mapping[str, bytes], key: str, digests: set[str], parsed: Callable[[bytes], T]) -> T | None:
    """The same of several files that one Secret is brought into: what the slowest of them has."""
    known = {pem.digest(data[name]): data[name] for name in (key, key + PREVIOUS) if name in data}
    if not digests or not digests <= known.keys():
        return None
    slowest = next(one for one in reversed(known) if one in digests)
    return parsed(known[slowest])
