"""`kafka-runbooks-agent`: `identify` before a broker starts, `serve` beside it while it runs, `record` beside a controller.

Likewise `identify-member` and `serve-member` for a member of a ZooKeeper ensemble.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import structlog
from pydantic import ValidationError
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from kafka_runbooks.agent.identity import claim_id, read_broker_id, write_identity
from kafka_runbooks.agent.settings import AgentSettings, MemberSettings
from kafka_runbooks.clients.errors import ClientError, Conflict, Refused, Unreachable
from kafka_runbooks.clients.kubernetes.agent import AgentKubernetes
from kafka_runbooks.clients.security.settings import Security, read_security
from kafka_runbooks.models import labels

if TYPE_CHECKING:
    from kafka_runbooks.agent.tls_files import TlsFilesWatch

log = structlog.get_logger()

API_PATIENCE_S = 120
"""How long `identify` retries while the API server doesn't answer, before it exits and the kubelet restarts it."""


class BadSettings(Exception):
    """What a setting names can't be used."""


def identify(settings: AgentSettings) -> None:
    """Find or take the pod's broker id, label pod and node, and write the broker's identity.

    Raises:
        BadSettings: there is no first broker id.
        Refused: the node has no zone, the register is missing, or rights are.
        Unreachable: the API server doesn't answer.
    """
    if settings.first_broker_id is None:
        raise BadSettings("FIRST_BROKER_ID: Field required")
    kubernetes = AgentKubernetes(settings.pod_namespace, settings.pod_name)
    start = kubernetes.start_on(settings.node_name)
    if not start.rack:
        raise Refused(f"node {settings.node_name} has no label {labels.ZONE}; the broker's rack comes from it")
    broker_id = claim_id(kubernetes, settings.cluster, settings.pod_name, settings.first_broker_id, start)
    kubernetes.label(settings.node_name, broker_id)
    write_identity(settings.identity_file, broker_id, start.rack)
    log.info("identified", pod=settings.pod_name, broker_id=broker_id, rack=start.rack, node=settings.node_name)


def serve(settings: AgentSettings) -> None:
    """Watch and answer probes until SIGTERM.

    Raises:
        BadSettings: the Kafka configuration can't be used.
    """
    from kafka_runbooks.agent import properties_file, serving, watching
    from kafka_runbooks.clients.own_configs import OwnConfigsClient

    security, broker_id = _security(settings), read_broker_id(settings.identity_file)
    readiness = watching.ReadinessWatch(settings.kafka_bootstrap, broker_id, security)
    kubernetes = AgentKubernetes(settings.pod_namespace, settings.pod_name)
    glass = watching.GlassWatch(kubernetes)
    watches: list[watching.Watch] = [readiness, glass]
    if settings.properties_files:
        configs = OwnConfigsClient(settings.kafka_bootstrap, broker_id, security)
        files, started = settings.properties_files, settings.started_properties
        watches.append(
            properties_file.FileWatch(
                kubernetes, settings.cluster, settings.pod_name, files=files, started=started, updatable=configs.updatable
            )
        )
    if settings.tls_files:
        watches.append(_tls_files(settings, kubernetes, security))
    stop = threading.Event()
    for watch in watches:
        threading.Thread(target=watch.run, args=(stop,), name=type(watch).__name__, daemon=True).start()
    server = serving.serve(labels.AGENT_PORT, readiness, glass)
    log.info("serving", broker_id=readiness.broker_id, port=labels.AGENT_PORT)
    _run(server)
    stop.set()


def identify_member(settings: MemberSettings) -> None:
    """Find or take the members' server ids, and write the pod's own onto its disk and the list of all for the start script.

    Raises:
        Refused: the register is missing or contradicts itself or the disk, or rights are missing.
        Unreachable: the API server doesn't answer.
    """
    from kafka_runbooks.agent import ensemble
    from kafka_runbooks.clients.kubernetes.server_ids import ServerIdRegister

    pod, register = settings.pod_name, ServerIdRegister(settings.pod_namespace, settings.cluster)
    ids = ensemble.claim_server_ids(register, ensemble.pods_of(pod, settings.ensemble_size))
    may_be_empty = ensemble.prepare_disk(register, pod, ids[pod], settings.data_folder)
    ensemble.write_servers(settings.servers_file, ids, settings.pod_namespace)
    log.info("identified", pod=pod, server_id=ids[pod], may_be_empty=may_be_empty)


def serve_member(settings: MemberSettings) -> None:
    """Answer probes, and tell what the member's TLS files hold, until SIGTERM."""
    from kafka_runbooks.agent import ensemble, serving
    from kafka_runbooks.agent.member_readiness import SECURE_PORT, MemberReadiness
    from kafka_runbooks.agent.tls_files import TlsFilesWatch
    from kafka_runbooks.clients.kubernetes.server_ids import ServerIdRegister
    from kafka_runbooks.clients.security.settings import TlsSettings

    pod, namespace, folder = settings.pod_name, settings.pod_namespace, settings.tls_folder
    # A member's certificate is for clients too: it connects to the others with it.
    own = TlsSettings(ca_file=folder / "ca.crt", certificate_file=folder / "tls.crt", key_file=folder / "tls.key")
    readiness = MemberReadiness(f"{ensemble.host_of(pod, namespace)}:{SECURE_PORT}", own)
    watch = TlsFilesWatch(
        ServerIdRegister(namespace, settings.cluster, pod_uid=settings.pod_uid),
        settings.cluster,
        pod,
        files=[folder / "tls-combined.pem", folder / "ca.crt"],
        started=settings.started_tls_files,
        own={},
    )
    stop = threading.Event()
    threading.Thread(target=watch.run, args=(stop,), daemon=True).start()
    server = serving.server(labels.AGENT_PORT, lambda path: serving.answer_of_member(path, readiness.verdict))
    log.info("serving", port=labels.AGENT_PORT)
    _run(server)
    stop.set()


def _run(server: ThreadingHTTPServer) -> None:
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=1.0)


def record(settings: AgentSettings) -> None:
    """Tell what a controller's TLS files hold, until SIGTERM.

    Raises:
        BadSettings: no files are named.
    """
    if not settings.tls_files:
        raise BadSettings("TLS_FILES: Field required")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    _tls_files(settings, AgentKubernetes(settings.pod_namespace, settings.pod_name), None).run(stop)


def _tls_files(settings: AgentSettings, kubernetes: AgentKubernetes, security: Security | None) -> "TlsFilesWatch":
    from kafka_runbooks.agent.tls_files import TlsFilesWatch

    own = {"certificate": security.certificate_file, "ca": security.ca_file} if security is not None else {}
    return TlsFilesWatch(
        kubernetes,
        settings.cluster,
        settings.pod_name,
        files=settings.tls_files,
        started=settings.started_tls_files,
        own={what: path for what, path in own.items() if path is not None},
    )


def _security(settings: AgentSettings) -> Security | None:
    try:
        return None if settings.kafka_config is None else read_security(settings.kafka_config)
    except Refused as error:
        raise BadSettings(f"KAFKA_CONFIG: {error}") from error


def main() -> None:
    """Exit code 2 for bad settings, 1 where Kubernetes or Kafka failed."""
    commands: dict[str, Callable[[], Callable[[], None]]] = {
        "identify": lambda: partial(_patiently, identify, AgentSettings()),
        "serve": lambda: partial(serve, AgentSettings()),
        "record": lambda: partial(record, AgentSettings()),
        "identify-member": lambda: partial(_patiently, identify_member, MemberSettings()),
        "serve-member": lambda: partial(serve_member, MemberSettings()),
    }
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit(f"usage: kafka-runbooks-agent {'|'.join(commands)}")
    try:
        command = commands[sys.argv[1]]()
    except ValidationError as error:
        for problem in error.errors():
            print(f"{'.'.join(map(str, problem['loc'])).upper()}: {problem['msg']}", file=sys.stderr)
        sys.exit(2)
    try:
        command()
    except BadSettings as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except ClientError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    sys.stdout.flush()
    # librdkafka's threads and the watches have nothing to save; joining them could take seconds of the pod's grace period.
    os._exit(0)


def _patiently(identify: Callable[[Any], None], settings: Any) -> None:
    for attempt in Retrying(
        retry=retry_if_exception_type((Unreachable, Conflict)),
        wait=wait_random_exponential(multiplier=0.2, max=5),
        stop=stop_after_delay(API_PATIENCE_S),
        reraise=True,
    ):
        with attempt:
            identify(settings)


if __name__ == "__main__":
    main()
