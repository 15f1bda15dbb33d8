"""`kafka-runbooks-agent identify` before a broker starts, `kafka-runbooks-agent serve` beside it while it runs."""

import os
import socket
import sys
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import structlog
from pydantic_settings import BaseSettings
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_random_exponential

from kafka_runbooks.agent import identity, readiness
from kafka_runbooks.clients.beside import Metadata, PodApi
from kafka_runbooks.clients.errors import ClientError, Conflict, Unreachable
from kafka_runbooks.models import labels

log = structlog.get_logger()

LOOK_SECONDS = 2.0
POD_SECONDS = 6.0
"""How often the pod's annotation is read."""

STALE_SECONDS = 10.0
"""A look that is older says nothing about now: not ready."""


class AgentSettings(BaseSettings):
    """From the pod's environment (downward API); names as they stand in the manifests."""

    pod_name: str
    pod_namespace: str
    node_name: str
    cluster: str
    first_broker_id: int
    identity_file: Path = Path("/identity/broker.properties")
    kafka_bootstrap: str = "localhost:9092"


@retry(
    retry=retry_if_exception_type((Conflict, Unreachable)),
    wait=wait_random_exponential(multiplier=0.1, max=5),
    stop=stop_after_delay(300),
    reraise=True,
)
def identify(settings: AgentSettings) -> int:
    """Take or find this pod's broker id, write it with the rack to the identity file, label pod and node."""
    api = PodApi(settings.pod_namespace, settings.pod_name)
    given, version = api.read_ids(settings.cluster)
    broker_id = identity.assign(given, settings.pod_name, settings.first_broker_id)
    if settings.pod_name not in given:
        api.write_ids(settings.cluster, {**given, settings.pod_name: broker_id}, version)
    rack = api.zone(settings.node_name)
    api.label(settings.node_name, broker_id)
    settings.identity_file.write_text(identity.properties(broker_id, rack))
    log.info("identified", pod=settings.pod_name, broker_id=broker_id, rack=rack, node=settings.node_name)
    return broker_id


class Watch:
    """Looks at the cluster and at the pod's annotation, and knows whether the broker is ready."""

    def __init__(self, settings: AgentSettings, broker_id: int) -> None:
        self._settings = settings
        self._broker_id = broker_id
        self._why: str | None = "not looked yet"
        self._looked_at = float("-inf")
        self._forced: readiness.Forced | None = None
        self._refused: str | None = None

    def run(self) -> None:
        """For ever, in a thread of its own. What fails is tried again at the next look."""
        metadata, api = Metadata(self._settings.kafka_bootstrap), PodApi(self._settings.pod_namespace, self._settings.pod_name)
        pod_due = 0.0
        while True:
            try:
                live, partitions = metadata.look()
                self._why, self._looked_at = readiness.why_not_in_sync(self._broker_id, live, partitions), time.monotonic()
            except ClientError as error:
                self._why = str(error)
            if time.monotonic() >= pod_due:
                pod_due = time.monotonic() + POD_SECONDS
                try:
                    self._look_at_pod(api)
                except ClientError as error:
                    log.warning("the pod can't be read", error=str(error))
            time.sleep(LOOK_SECONDS)

    def _look_at_pod(self, api: PodApi) -> None:
        text = api.force_ready()
        before = self._forced
        try:
            self._forced = readiness.parse_force(text, datetime.now(UTC)) if text else None
        except readiness.BadForce as error:
            self._forced = None
            if self._refused != text:
                api.event("ReadinessNotForced", f"annotation {labels.FORCE_READY} is ignored: {error}")
                self._refused = text
        if self._forced is not None and self._forced != before:
            one = self._forced
            api.event("ReadinessForced", f"forced by {one.owner} until {one.expires_at:%Y-%m-%dT%H:%M:%SZ}: {one.reason}")
        if before is not None and self._forced is None:
            api.event("ReadinessForceEnded", f"readiness is no longer forced by {before.owner}")

    def answer(self) -> tuple[bool, str]:
        """Ready or not, and why. The expiry is compared at each question: no failure makes it last longer."""
        forced = self._forced
        if forced is not None and datetime.now(UTC) < forced.expires_at:
            return (
                True,
                f"forced by {forced.owner} until {forced.expires_at.isoformat()}: {forced.reason} ({self._why or 'in sync'})",
            )
        age = time.monotonic() - self._looked_at
        if age > STALE_SECONDS:
            return False, self._why or f"no look at the cluster for {age:.0f} s"
        return self._why is None, self._why or "every replica is in sync"


def is_port_open(bootstrap: str) -> bool:
    host, _, port = bootstrap.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=2):
            return True
    except OSError:
        return False


def serve(settings: AgentSettings) -> None:
    """Answer `/livez`, `/readyz` and `/kafkaz` until the pod ends."""
    lines = dict(line.split("=", 1) for line in settings.identity_file.read_text().splitlines() if "=" in line)
    watch = Watch(settings, int(lines["node.id"]))
    threading.Thread(target=watch.run, daemon=True, name="watch").start()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/readyz":
                holds, why = watch.answer()
            elif self.path == "/kafkaz":
                holds = is_port_open(settings.kafka_bootstrap)
                why = "the Kafka port is open" if holds else "the Kafka port is closed"
            else:
                holds, why = True, "the agent lives"
            self.send_response(200 if holds else 503)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.end_headers()
            self.wfile.write((why + "\n").encode())

        def log_message(self, format: str, *args: object) -> None:
            """Probes are not news."""

    ThreadingHTTPServer(("0.0.0.0", labels.AGENT_PORT), Handler).serve_forever()


def main() -> None:
    """Entry point."""
    if sys.argv[1:] not in (["identify"], ["serve"]):
        print("usage: kafka-runbooks-agent identify|serve", file=sys.stderr)
        sys.exit(2)
    settings = AgentSettings()
    if sys.argv[1] == "identify":
        identify(settings)
    else:
        serve(settings)
    sys.stdout.flush()
    os._exit(0)
