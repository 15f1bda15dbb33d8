"""What `doctor` asks a worker: whether it reaches the cluster, has the rights that runbooks need, and finds what they count on.

The worker is asked, since its ServiceAccount and its principal count, not those of whoever types the command. Changes nothing.
Each part is looked at by itself: one that doesn't answer is a fault, and hides no other.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property

from temporalio import activity

from activities.step import Steps, heartbeating, step
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.clients.errors import ClientError
from kafka_runbooks.clients.kubernetes import rights
from kafka_runbooks.clients.security.settings import PasswordSasl
from kafka_runbooks.models.diagnosis import Check, Diagnosis, DoctorInput
from kafka_runbooks.models.features import releases
from kafka_runbooks.models.rights import Right
from kafka_runbooks.safety import conventions, kraft_migration
from kafka_runbooks.safety.conventions import Objects
from kafka_runbooks.safety.freshness import without_ensemble

TOLERATED_SECONDS = 5.0
"""How far clocks may be apart: leases, deadlines and change windows are read by several machines. Kubernetes tells seconds."""
OLDEST_KUBERNETES = 1, 30
"""The first with ValidatingAdmissionPolicy, which holds the worker and the agents to what they need."""
ACCESS = "deploy/kubernetes/base/kafka-access.yaml"
WITHOUT_METRICS = "docs/metrics.md; until then runs need a fixed throttle"
WHAT_AN_ERROR_MEANS = '; docs/security.md, "What an error means"'
SEE_ALSO = {
    "kafka": WHAT_AN_ERROR_MEANS,
    "zookeeper": "; docs/zookeeper.md",
    "acls": WHAT_AN_ERROR_MEANS,
    "metrics": f"; {WITHOUT_METRICS}",
}
"""Where more is said of what doesn't answer."""


class DoctorActivities(Steps):
    """The look of `Doctor`."""

    @step
    def examine(self, request: DoctorInput) -> Diagnosis:
        """Look at everything that runbooks count on. Changes nothing.

        Raises:
            UnknownCluster: the worker's clusters file has no such cluster.
        """
        now = datetime.now(UTC)
        clients = self._open(request.cluster)
        with heartbeating():
            look = _Look(request.cluster, clients)
            parts = (
                look.kafka,
                look.zookeeper,
                look.migration,
                look.acls,
                look.kubernetes,
                look.rbac,
                look.conventions,
                look.metrics,
            )
            checks = [_clock("Temporal", (activity.info().started_time - now).total_seconds())]
            for part in parts:
                checks += _attempted(part)
            return Diagnosis(checks=tuple(checks))


def _attempted(part: Callable[[], Iterator[Check]]) -> list[Check]:
    """What a part finds, until something doesn't answer."""
    checks = []
    try:
        for check in part():
            checks.append(check)
    except ClientError as error:
        name = part.__name__
        remedy = f"what the error says{SEE_ALSO.get(name, '')}"
        checks.append(Check(about=name.capitalize(), what=f"{name} can be asked", fault=str(error), remedy=remedy))
    return checks


def _clock(of: str, ahead_seconds: float) -> Check:
    what = f"clock of {of}: within {TOLERATED_SECONDS:.0f} s of the worker's"
    if abs(ahead_seconds) <= TOLERATED_SECONDS:
        return Check(about="clock", what=what)
    way = "ahead of" if ahead_seconds > 0 else "behind"
    fault = f"the clock of {of} is {abs(ahead_seconds):.0f} s {way} the worker's"
    return Check(about="clock", what=what, fault=fault, remedy="chronyc makestep, on the machine whose clock is wrong")


class _Look:
    def __init__(self, cluster: str, clients: ClusterClients) -> None:
        self._cluster = cluster
        self._clients = clients
        self._namespace = clients.settings.namespace

    def kafka(self) -> Iterator[Check]:
        """Connection, mode and releases."""
        settings = self._clients.settings
        snapshot = self._clients.kafka.snapshot()
        yield Check(
            about="Kafka",
            what=f"{settings.bootstrap_servers} answers by {settings.security.protocol}: {len(snapshot.brokers)} brokers are up",
        )
        down = ", ".join(str(broker.id) for broker in snapshot.fenced_brokers)
        if down:
            remedy = f"kafka-runbooks plan replace-broker --cluster {self._cluster} --broker-id {snapshot.fenced_brokers[0].id}"
            yield Check(about="Kafka", what="every registered broker is up", fault=f"down: {down}", remedy=remedy)
        has_quorum = self._clients.kafka.metadata_quorum() is not None
        yield Check(about="version", what=f"Kafka runs in {'KRaft' if has_quorum else 'ZooKeeper'} mode")
        if has_quorum:  # Brokers in ZooKeeper mode have no features to tell.
            found = releases(self._clients.kafka.features([broker.id for broker in snapshot.brokers]))
            yield Check(about="version", what="Kafka: " + "; ".join(f"{name}: {len(ids)} brokers" for name, ids in found.items()))

    @cached_property
    def _in_zookeeper_mode(self) -> bool:
        """Whether it is known to be; that the quorum doesn't answer is told once, by `kafka`."""
        try:
            return self._clients.kafka.metadata_quorum() is None
        except ClientError:
            return False

    def zookeeper(self) -> Iterator[Check]:
        """Where brokers are registered, of a cluster in ZooKeeper mode."""
        if not self._in_zookeeper_mode:
            return
        if self._clients.zookeeper is None:
            reason = without_ensemble(self._cluster)
            what = "clusters.yaml names the ensemble, by which a disk is proven to be dispensable"
            yield Check(about="ZooKeeper", what=what, fault=reason.message, remedy=reason.remedy)
            return
        sessions = self._clients.zookeeper.sessions()
        what = f"ZooKeeper answers: {len(sessions.brokers)} brokers have sessions, controller is {sessions.controller_id}"
        yield Check(about="ZooKeeper", what=what)
        live = self._clients.kafka.snapshot().live_broker_ids
        if apart := sorted(live ^ sessions.by_id.keys()):
            yield Check(
                about="ZooKeeper",
                what="brokers know of the same live brokers as ZooKeeper",
                fault=f"of brokers {', '.join(map(str, apart))} they differ: another ensemble, or a broker that is cut off",
                remedy="zookeeper.hosts in clusters.yaml has to be zookeeper.connect of the brokers; else look again in a minute",
            )

    def migration(self) -> Iterator[Check]:
        """What stands in the way of KRaft, of a cluster in ZooKeeper mode."""
        if not self._in_zookeeper_mode:
            return
        kafka, kubernetes = self._clients.kafka, self._clients.kubernetes
        live = kafka.snapshot().live_broker_ids
        controllers = (pod.node_id for pod in kubernetes.controller_pods())
        yield from kraft_migration.check(
            kraft_migration.Setup(
                broker_ids=live | frozenset(kubernetes.broker_ids().values()),
                live_broker_ids=live,
                configs=kafka.broker_configs(live, kraft_migration.CONFIGS),
                controller_ids=[one for one in controllers if one is not None],
            )
        )

    def acls(self) -> Iterator[Check]:
        """Each right of the worker's principal."""
        settings = self._clients.settings
        sasl = settings.security.sasl
        principal = f"User:{sasl.username}" if isinstance(sasl, PasswordSasl) else "User:PRINCIPAL"
        missing = self._clients.kafka.missing_acls(makes_topics=settings.topics is not None)
        for acl in missing:
            yield Check(
                about="ACL",
                what=f"the worker's principal has {acl}",
                fault=f"the worker's principal lacks the ACL {acl}",
                remedy=f"kafka-acls.sh --bootstrap-server {settings.bootstrap_servers} --command-config admin.properties --add "
                f"--allow-principal {principal} {acl.arguments}",
            )
        if not missing:
            yield Check(about="ACL", what="the worker's principal has every ACL that runbooks need")

    def kubernetes(self) -> Iterator[Check]:
        """Version and clock of the API server."""
        server = self._clients.kubernetes.server()
        version, oldest = (".".join(map(str, one)) for one in (server.version, OLDEST_KUBERNETES))
        yield Check(
            about="version",
            what=f"Kubernetes: {version}",
            fault=f"Kubernetes {version} has no ValidatingAdmissionPolicy (>= {oldest}): the policies of deploy/ don't hold"
            if server.version < OLDEST_KUBERNETES
            else None,
            remedy=f"upgrade Kubernetes to {oldest} or later" if server.version < OLDEST_KUBERNETES else None,
        )
        if server.clock_ahead_seconds is not None:
            yield _clock("the Kubernetes API", server.clock_ahead_seconds)

    def rbac(self) -> Iterator[Check]:
        """Each verb that the worker needs."""
        kubernetes, certificates = self._clients.kubernetes, self._clients.settings.certificates
        needed = rights.of_worker(self._namespace)
        if certificates is not None:
            needed += rights.for_certificates(certificates, self._namespace, self._secrets_of_nodes(kubernetes.denied(needed)))
        missing = kubernetes.denied(needed)
        for right in missing:
            yield Check(about="RBAC", what=f"the worker may {right}", fault=f"the worker may not {right}", remedy=_grant(right))
        if not missing:
            yield Check(about="RBAC", what=f"the worker has each of the {len(needed)} rights that runbooks need")

    def _secrets_of_nodes(self, denied: Sequence[Right]) -> set[str]:
        """Those that Kafka's containers mount, if the worker may look."""
        if Right("", "pods", "list", self._namespace) in denied:
            return set()
        kubernetes = self._clients.kubernetes
        return {mount.secret for pod in (*kubernetes.broker_pods(), *kubernetes.controller_pods()) for mount in pod.secrets}

    def conventions(self) -> Iterator[Check]:
        """What the cluster's objects look like."""
        kubernetes = self._clients.kubernetes
        found = Objects(
            cluster=self._cluster,
            namespace=self._namespace,
            stateful_sets=kubernetes.stateful_sets(),
            brokers=kubernetes.broker_pods(),
            controllers=kubernetes.controller_pods(),
            nodes=kubernetes.nodes(),
            budgets=kubernetes.disruption_budgets(),
            needs_controllers=not self._in_zookeeper_mode,
        )
        yield from conventions.check(found)

    def metrics(self) -> Iterator[Check]:
        """Whether adaptive throttles get figures."""
        report = self._clients.metrics.traffic(self._clients.kubernetes.broker_pods())
        what = f"metrics source {self._clients.settings.metrics.source}: figures of every broker, for adaptive throttles"
        for broker_id, why in report.problems.items():
            yield Check(about="metrics", what=what, fault=f"broker {broker_id}: {why}", remedy=WITHOUT_METRICS)
        if not report.problems:
            yield Check(about="metrics", what=what)


def _grant(right: Right) -> str:
    role = "its ClusterRole" if right.namespace is None else f"its Role in namespace {right.namespace}"
    return f"to {role}, as {ACCESS} has it, add the rule {right.rule}"
