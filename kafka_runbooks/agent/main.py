"""`kafka-runbooks-agent`: `identify` before a broker starts, `serve` beside it while it runs, `record` beside a controller."""

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

import structlog
from pydantic import ValidationError
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from kafka_runbooks.agent.identity import claim_id, read_broker_id, write_identity
from kafka_runbooks.agent.settings import AgentSettings
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
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    log.info("serving", broker_id=readiness.broker_id, port=labels.AGENT_PORT)
    server.serve_forever(poll_interval=1.0)
    stop.set()


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
    commands = {"identify": _identify_patiently, "serve": serve, "record": record}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit("usage: kafka-runbooks-agent identify|serve|record")
    try:
        settings = AgentSettings()
    except ValidationError as error:
        for problem in error.errors():
            print(f"{'.'.join(map(str, problem['loc'])).upper()}: {problem['msg']}", file=sys.stderr)
        sys.exit(2)
    try:
        commands[sys.argv[1]](settings)
    except BadSettings as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except ClientError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    sys.stdout.flush()
    # librdkafka's threads and the watches have nothing to save; joining them could take seconds of the pod's grace period.
    os._exit(0)


def _identify_patiently(settings: AgentSettings) -> None:
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
