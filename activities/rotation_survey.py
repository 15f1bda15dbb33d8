"""What a rotation of certificates finds: nodes, their files and Secrets, and the issuer; who takes part follows from that."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from activities import known_listeners
from activities.restart_plans import Found
from activities.rotation_summary import eta_seconds, restarts_of, steps_of
from activities.rotation_views import PREVIOUS
from kafka_runbooks.clients.certificates import pem
from kafka_runbooks.clients.certificates.protocols import LeafRequest, Secret
from kafka_runbooks.clients.clusters import CertificateClients, ClusterClients
from kafka_runbooks.clients.errors import ClientError, Unreachable
from kafka_runbooks.models.certificates import Certificate, Seen, Stores
from kafka_runbooks.models.inputs import RotateCertificatesInput
from kafka_runbooks.models.restart_plan import RestartTarget
from kafka_runbooks.models.results import Reason
from kafka_runbooks.models.rotation_plan import RotatedClient, RotatedNode, RotationPlan
from kafka_runbooks.models.rotations import Mode
from kafka_runbooks.safety import rotation_start
from kafka_runbooks.safety.rotation_start import FoundStores

TITLES: dict[Mode, str] = {
    "renew": "renew the certificates",
    "change-authority": "change the authority of the certificates",
    "change-names": "change the names in the certificates",
}


class _Place(NamedTuple):
    """Where a node's files come from."""

    secret: str
    keystore: str
    truststore: str


class RotationSurvey:
    """A look at everything that a plan is made of, and the plan."""

    def __init__(
        self,
        clients: ClusterClients,
        certificates: CertificateClients,
        found: Found,
        request: RotateCertificatesInput,
        issuer: str,
    ) -> None:
        self._certificates = certificates
        self._request = request
        self._issuer_name = issuer
        self._issuer = certificates.issuers[issuer]
        self._kafka = clients.kafka
        self._found = found.nodes
        self._asked_issuer: list[Reason] = []
        self._wanted: str | None = None
        records = clients.kubernetes.tls_files()
        self.stores = _stores(clients, found, request.cluster)
        self._has_record: set[int] = set()
        for node_id, one in found.nodes.items():
            record = records.get(one.pod.name)
            if record is not None and record.pod_uid == one.pod.uid:
                self._has_record.add(node_id)
        self._secrets: dict[str, Secret | None] = {}
        self._clients = tuple(
            RotatedClient(client=one, before=self._public(one.secret, one.certificate_key)) for one in certificates.clients
        )
        self._authorities = self._known_authorities()
        self._seen = self._see()
        self.served = {self._name(node_id): one.chain[0] for node_id, one in self._seen.items() if one.chain}

    # What is there

    def _name(self, node_id: int) -> str:
        return f"{'broker' if self._found[node_id].node.is_broker else 'controller'} {node_id}"

    def _secret(self, name: str) -> Mapping[str, bytes]:
        if name not in self._secrets:
            self._secrets[name] = self._certificates.secrets.read(name)
        found = self._secrets[name]
        return {} if found is None else found.data

    def _public(self, secret: str, key: str) -> Certificate | None:
        """The certificate in a Secret; the former one where a rotation has begun."""
        data = self._secret(secret)
        found = pem.certificates(data.get(key + PREVIOUS, data.get(key, b"")))
        return found[0] if found else None

    def _place(self, node_id: int) -> _Place | None:
        """Which keys of which Secret a node's files are."""
        stores, mounts = self.stores.get(node_id, ()), self._found[node_id].pod.secrets
        for mount in mounts:
            keys = [mount.key_of(file or "") for file in (stores[0].keystore, stores[0].truststore)] if stores else []
            if len(keys) == 2 and keys[0] is not None and keys[1] is not None:
                return _Place(mount.secret, keys[0], keys[1])
        return None

    def _known_authorities(self) -> dict[str, str]:
        """Every authority that anybody trusts, and the issuer's."""
        found: dict[str, str] = {}
        for node_id in sorted(self._found):
            place = self._place(node_id)
            if place is not None:
                found |= pem.by_sha256(self._secret(place.secret).get(place.truststore, b""))
        for one in self._certificates.clients:
            found |= pem.by_sha256(self._secret(one.secret).get(one.ca_key, b""))
        try:
            issuing = pem.by_sha256("\n".join(self._issuer.authorities()).encode())
        except ClientError as error:
            self._asked_issuer.append(self._bad_issuer(error))
            return found
        found |= issuing
        if len(issuing) != 1:
            self._asked_issuer.append(
                Reason(
                    name="several-authorities",
                    message=f"issuer {self._issuer_name} has {len(issuing)} authorities: nobody knows which one issues next",
                    remedy="let it have one authority, and name another issuer for the other",
                )
            )
            return found
        (self._wanted,) = issuing
        return found

    def _bad_issuer(self, error: ClientError) -> Reason:
        is_away = isinstance(error, Unreachable)
        return Reason(
            name="issuer-unreachable" if is_away else "issuer-refuses",
            message=f"issuer {self._issuer_name}: {error}",
            remedy="let it answer again" if is_away else "correct what it says, or name another issuer",
        )

    def _see(self) -> dict[int, Seen]:
        """The first listener of each node that shows no certificate, else its first one."""
        listeners = [one.listener for stores in self.stores.values() for one in stores]
        found: dict[int, Seen] = {}
        for seen in self._certificates.handshakes.see(listeners, dict.fromkeys(self._authorities.values())):
            node_id = seen.listener.node_id
            if node_id not in found or (found[node_id].chain and not seen.chain):
                found[node_id] = seen
        return found

    # Reasons

    def reasons(self) -> list[Reason]:
        """Every reason of nodes and issuer."""
        reasons, mode = list(self._asked_issuer), self._request.mode
        for node_id, one in sorted(self._found.items()):
            seen = self._seen.get(node_id)
            found = FoundStores(
                name=self._name(node_id),
                pod=one.pod.name,
                stores=self.stores.get(node_id, ()),
                mounts=one.pod.secrets,
                has_record=node_id in self._has_record,
                served=seen.chain[0] if seen is not None and seen.chain else None,
                problem=None if seen is None else seen.problem,
                is_broker=one.node.is_broker,
            )
            reasons += rotation_start.against_node(found, mode)
            reasons += rotation_start.down(found)
            reasons += [] if self._request.break_glass else rotation_start.expired(found, datetime.now(UTC))
        for client in self._certificates.clients:
            if not self._secret(client.secret):
                reasons.append(
                    Reason(
                        name=f"no-secret-of:{client.name}",
                        message=f"the Secret {client.secret} of our {client.name} doesn't exist",
                        remedy="correct certificates.clients in clusters.yaml",
                    )
                )
        if self._wanted is None:
            return reasons
        served = {self._name(node_id): seen.authority for node_id, seen in self._seen.items() if seen.chain}
        reasons += rotation_start.other_authority(self._request.mode, served, self._wanted)
        for asked in self._requests():
            try:
                self._issuer.check(asked)
            except ClientError as error:
                return [*reasons, self._bad_issuer(error)]
        return reasons

    def _requests(self) -> list[LeafRequest]:
        return [LeafRequest(*self._wanted_names(node_id, seen.chain[0])) for node_id, seen in self._seen.items() if seen.chain]

    def _wanted_names(self, node_id: int, before: Certificate) -> tuple[str, tuple[str, ...]]:
        """Subject and alternative names of the new certificate."""
        pod, request = self._found[node_id].pod.name, self._request
        subject = before.subject if request.subject is None else request.subject.replace("{pod}", pod)
        names = tuple(name.replace("{pod}", pod) for name in request.names) or before.names
        return subject, names

    # The plan

    def freeze(self) -> RotationPlan:
        """The plan, not stored yet."""
        request = self._request
        nodes = tuple(node for node_id in sorted(self._found) if (node := self._node(node_id)) is not None)
        changing = sum(1 for node in nodes if not node.keeps)
        wanted, is_change = self._wanted or "", request.mode == "change-authority"
        presented = {seen.authority for seen in self._seen.values()} | {
            self._issued_by(self._secret(node.secret).get(key, b""))
            for node in nodes
            for key in (node.keystore, node.keystore + PREVIOUS)
        }
        old = tuple(sorted(one for one in presented if one is not None and one != wanted))
        plan = RotationPlan(
            cluster=request.cluster,
            kind="RotateCertificates",
            title=f"{TITLES[request.mode]} of {changing} nodes, issued by {self._issuer_name}: {request.reason}",
            steps=steps_of(request, nodes),
            reason=request.reason,
            mode=request.mode,
            issuer=self._issuer_name,
            authority=wanted,
            old=old if is_change else (),
            old_subjects=self._subjects(old) if is_change else (),
            authorities=self._authorities,
            nodes=nodes,
            clients=self._clients,
            canary=self._canary(nodes),
            at_once=request.at_once,
            may_restart=request.restarts == "now",
            break_glass=request.break_glass,
            limits=request.limits,
            wait_for=request.wait_for,
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        return plan.model_copy(update={"eta_seconds": eta_seconds(plan)})

    def _subjects(self, old: Sequence[str]) -> tuple[str, ...]:
        new, *rest = (
            pem.certificates(self._authorities[sha256].encode())[0].subject
            for sha256 in (self._wanted, *old)
            if sha256 is not None
        )
        return tuple(dict.fromkeys(one for one in rest if one != new))

    def _node(self, node_id: int) -> RotatedNode | None:
        """None where it needs no new certificate, or can't be changed."""
        one, place, stores = self._found[node_id], self._place(node_id), self.stores.get(node_id, ())
        seen = self._seen.get(node_id)
        if place is None or not stores:
            return None
        # A former key beside the new one is what a rotation that hasn't ended has replaced.
        former = pem.certificates(self._secret(place.secret).get(place.keystore + PREVIOUS, b""))
        served = seen.chain[0] if seen is not None and seen.chain else self._public(place.secret, place.keystore)
        before = former[0] if former else served
        if before is None:
            return None
        limit = self._request.ending_within_days
        subject, names = self._wanted_names(node_id, before)
        return RotatedNode(
            node=one.node,
            pod=one.pod.name,
            stores=stores,
            secret=place.secret,
            keystore=place.keystore,
            truststore=place.truststore,
            before=before,
            subject=subject,
            names=names,
            reloads=self._takes(node_id, before, subject, names),
            keeps=limit is not None and not former and before.not_after > datetime.now(UTC) + timedelta(days=limit),
        )

    def _takes(self, node_id: int, before: Certificate, subject: str, names: Sequence[str]) -> bool:
        """Whether a node loads the new certificate without a restart.

        Another subject, or one name less, it takes only where its file has allowed that since its start (KIP-978). Kafka
        accepts the setting dynamically too, and goes by what it was started with.
        """
        if self._request.break_glass and before.not_after <= datetime.now(UTC):
            return False
        needed = {
            *(("ssl.allow.dn.changes",) if subject != before.subject else ()),
            *(("ssl.allow.san.changes",) if not set(before.names) <= set(names) else ()),
        }
        if not needed:
            return True
        found = self._kafka.broker_configs([node_id], needed).get(node_id, {}) if self._found[node_id].node.is_broker else {}
        return all(name in found and found[name].in_file == "true" for name in needed)

    def _issued_by(self, chain: bytes) -> str | None:
        ders = pem.ders(chain)
        try:
            return pem.issued_by(ders[0], ders[1:], tuple(self._authorities.values())) if ders else None
        except ValueError:
            return None

    def _canary(self, nodes: Sequence[RotatedNode]) -> str | None:
        given = self._request.canary_node_id
        reloading = [node for node in nodes if node.reloads and not node.keeps]
        reloading = [node for node in reloading if node.name in self.served] or reloading
        chosen = [node for node in nodes if node.node.id == given] or reloading[len(reloading) // 2 :][:1]
        return chosen[0].name if chosen else None

    def restarting(self, plan: RotationPlan) -> list[RestartTarget]:
        """The nodes that restart, for the rules of restarts."""
        return [
            RestartTarget(node=one.node, pod=one.pod, pod_uid=self._found[one.node.id].pod.uid, why="its certificate changes")
            for one in plan.nodes
            if restarts_of(one, plan)
        ]

    def notes(self, plan: RotationPlan) -> list[str]:
        eta = timedelta(seconds=plan.eta_seconds)
        found = rotation_start.ending_soon(self.served, datetime.now(UTC), eta)
        if not plan.clients:
            found.append(
                "certificates.clients in clusters.yaml names none of our own: keep their Secrets up to date by other means"
            )
        return found


def _stores(clients: ClusterClients, found: Found, cluster: str) -> dict[int, tuple[Stores, ...]]:
    """As nodes report them, or as they did when they could be asked last."""
    try:
        live = clients.kafka.tls_stores(list(found.nodes))
    except ClientError:
        live = {}
    known = known_listeners.recall(clients.kubernetes, cluster)
    return {node_id: stores for node_id in found.nodes if (stores := live.get(node_id) or known.get(node_id, ()))}
