"""A look at the end of every certificate of a cluster: what nodes present, what they were started with, our own clients'.

It has to work when certificates have expired and Kafka isn't reached any more, so nothing that fails ends it: what can't be seen
is named, and what the node's agent has recorded takes its place.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Literal

from activities.certificate_metrics import ENDS
from activities.errors import RotationRefused
from activities.step import Steps, heartbeating, step
from kafka_runbooks.clients.certificates import pem
from kafka_runbooks.clients.clusters import CertificateClients, ClusterClients
from kafka_runbooks.clients.errors import ClientError
from kafka_runbooks.models.certificate_ends import CertificateEnd, CertificateReport
from kafka_runbooks.models.certificates import Certificate, Seen, Stores
from kafka_runbooks.models.inputs import CertificateWatchInput
from kafka_runbooks.models.kubernetes import BrokerPod, ControllerPod, KafkaPod
from kafka_runbooks.safety import certificate_ends

RotatedAs = Literal["node", "client"] | None


class CertificateWatchActivities(Steps):
    """The look of `CertificateWatch`."""

    @step
    def look_at_certificates(self, request: CertificateWatchInput) -> CertificateReport:
        """See every certificate, and tell which have to be renewed. Changes nothing.

        Raises:
            RotationRefused: the cluster's entry says nothing of certificates.
        """
        clients = self._open(request.cluster)
        if clients.certificates is None:
            raise RotationRefused("the cluster's entry in clusters.yaml has no certificates")
        with heartbeating():
            look = _Look(clients, clients.certificates)
            found = list(look.ends())
            nodes = len(look.pods)
            # As if each had to be restarted too.
            rotation = certificate_ends.predicted(nodes, restarts=nodes)
            report = certificate_ends.report(found, look.unseen, datetime.now(UTC), rotation)
            ENDS.tell(request.cluster, found)
            return report.model_copy(update={"cluster": request.cluster})


class _Look:
    def __init__(self, clients: ClusterClients, certificates: CertificateClients) -> None:
        self._clients = clients
        self._certificates = certificates
        kubernetes = clients.kubernetes
        self.pods: tuple[BrokerPod | ControllerPod, ...] = (*kubernetes.broker_pods(), *kubernetes.controller_pods())
        self._ids = {pod.name: pod.node_id for pod in self.pods if pod.node_id is not None}
        self._members = kubernetes.ensemble_pods()
        records, uids = kubernetes.tls_files(), {pod.name: pod.uid for pod in (*self.pods, *self._members)}
        self._records = {name: record for name, record in records.items() if record.pod_uid == uids.get(name)}
        self.unseen: list[str] = []

    def ends(self) -> Iterator[CertificateEnd]:
        yield from self._served()
        yield from self._started()
        yield from self._of_members()
        yield from self._of_clients()

    def _served(self) -> Iterator[CertificateEnd]:
        stores = self._stores()
        listeners = [one.listener for some in stores.values() for one in some]
        by_node: dict[int, list[Seen]] = {}
        for seen in self._certificates.handshakes.see(listeners, {}):
            by_node.setdefault(seen.listener.node_id, []).append(seen)
        for pod in self.pods:
            node_id = self._ids.get(pod.name)
            if node_id is None:
                continue
            known: dict[str, tuple[Certificate, list[str]]] = {}
            own: set[str] = set()
            for seen in by_node.get(node_id, ()):
                if not seen.chain:
                    self.unseen.append(f"{_name(pod, node_id)}, listener {seen.listener.name}: {seen.problem}")
                own.update(one.sha256 for one in seen.chain[:1])
                for one in seen.chain:
                    known.setdefault(one.sha256, (one, []))[1].append(seen.listener.name)
            if not known:
                yield from self._in_file(pod, node_id)
            for certificate, names in known.values():
                rotated_as: RotatedAs = "node" if certificate.sha256 in own else None
                yield _end(_name(pod, node_id), f"listener {', '.join(names)}", certificate, rotated_as)

    def _stores(self) -> Mapping[int, tuple[Stores, ...]]:
        """The nodes' listeners with TLS."""
        try:
            found = self._clients.kafka.tls_stores(self._ids.values())
        except ClientError as error:
            self.unseen.append(f"listeners: {error}")
            return {}
        silent = sorted(set(self._ids.values()) - found.keys())
        self.unseen += [f"node {node_id}: doesn't answer where it listens" for node_id in silent]
        return found

    def _in_file(self, pod: KafkaPod, node_id: int) -> Iterator[CertificateEnd]:
        """What its agent tells of a node that can't be seen."""
        record = self._records.get(pod.name)
        if record is not None and record.lasts is not None:
            begin, end = record.lasts
            yield CertificateEnd(holder=_name(pod, node_id), where="its file", not_before=begin, not_after=end, rotated_as="node")

    def _started(self) -> Iterator[CertificateEnd]:
        for pod in self.pods:
            record, node_id = self._records.get(pod.name), self._ids.get(pod.name)
            if (
                record is not None
                and node_id is not None
                and record.started_lasts is not None
                and record.is_of_process(pod.started_at)
            ):
                begin, end = record.started_lasts
                where = "started with, for its connection to the controllers"
                yield CertificateEnd(holder=_name(pod, node_id), where=where, not_before=begin, not_after=end, needs_restart=True)

    def _of_members(self) -> Iterator[CertificateEnd]:
        """What agents tell of a ZooKeeper ensemble, whose ports aren't Kafka's listeners. No runbook issues its certificates."""
        for pod in self._members:
            record, holder = self._records.get(pod.name), f"member {pod.name}"
            if record is not None and record.lasts is not None:
                begin, end = record.lasts
                yield CertificateEnd(holder=holder, where="its file", not_before=begin, not_after=end)
            started = record.started_lasts if record is not None and record.is_of_process(pod.started_at) else None
            if record is not None and started is not None and started != record.lasts:
                begin, end = started
                yield CertificateEnd(holder=holder, where="started with", not_before=begin, not_after=end, needs_restart=True)

    def _of_clients(self) -> Iterator[CertificateEnd]:
        settings = self._clients.settings
        of_zookeeper = settings.zookeeper.tls if settings.zookeeper is not None else None
        for tls in (settings.security, of_zookeeper):
            own = tls.certificate_file if tls is not None else None
            if own is None:
                continue
            try:
                yield from _ends("worker", f"certificate_file {own}", own.read_bytes())
            except OSError as error:
                self.unseen.append(f"worker, certificate_file {own}: {error.strerror}")
        for client in self._certificates.clients:
            try:
                secret = self._certificates.secrets.read(client.secret)
            except ClientError as error:
                self.unseen.append(f"{client.name}: {error}")
                continue
            data = None if secret is None else secret.data.get(client.certificate_key)
            if data is None:
                self.unseen.append(f"{client.name}: Secret {client.secret} has no {client.certificate_key}")
            else:
                yield from _ends(client.name, f"Secret {client.secret}", data, "client")


def _name(pod: KafkaPod, node_id: int) -> str:
    return f"{'controller' if isinstance(pod, ControllerPod) else 'broker'} {node_id}"


def _ends(holder: str, where: str, data: bytes, rotated_as: RotatedAs = None) -> Iterable[CertificateEnd]:
    """Of a file: its holder's own certificate, and those of the authorities above."""
    return [_end(holder, where, one, None if number else rotated_as) for number, one in enumerate(pem.certificates(data))]


def _end(holder: str, where: str, one: Certificate, rotated_as: RotatedAs) -> CertificateEnd:
    return CertificateEnd(
        holder=holder,
        where=where,
        subject=one.subject,
        not_before=one.not_before,
        not_after=one.not_after,
        rotated_as=rotated_as,
    )
