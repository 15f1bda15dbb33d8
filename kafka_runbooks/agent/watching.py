"""The agent's watches, one thread each: the cluster's metadata, and the pod's break-glass annotation."""

import threading
import time
from datetime import UTC, datetime
from socket import create_connection
from typing import Protocol

import structlog

from kafka_runbooks.agent.breaking_glass import Glass
from kafka_runbooks.agent.readiness import Verdict, judge
from kafka_runbooks.clients.errors import ClientError
from kafka_runbooks.clients.kubernetes.agent import AgentKubernetes
from kafka_runbooks.clients.own_replicas import OwnReplicasClient
from kafka_runbooks.clients.security.settings import Security
from kafka_runbooks.models.force_ready import ForceReady

log = structlog.get_logger()

PERIOD_S = 2.0
LONGEST_PERIOD_S = 30.0
CPU_SHARE = 0.01
"""Of a core, at most: where polling costs more, because the cluster is large, it is done less often."""

POLL_TIMEOUT_S = 5.0
STALE_S = 20.0
"""Beyond the period. Older verdicts are treated as unknown."""

GLASS_PERIOD_S = 10.0
PORT_TIMEOUT_S = 1.0


def is_open(address: str) -> bool:
    """Whether something accepts connections at `host:port`."""
    host, _, port = address.rpartition(":")
    try:
        with create_connection((host.strip("[]"), int(port)), timeout=PORT_TIMEOUT_S):
            return True
    except OSError:
        return False


class Watch(Protocol):
    """What runs in a thread until it is told to stop."""

    def run(self, stop: threading.Event) -> None: ...


class ReadinessWatch:
    """Asks the cluster every few seconds and keeps the newest verdict."""

    def __init__(self, kafka_bootstrap: str, broker_id: int, security: Security | None = None) -> None:
        self.broker_id = broker_id
        self.local = kafka_bootstrap.split(",")[0]
        self._client = OwnReplicasClient(kafka_bootstrap, broker_id, security)
        self._verdict = Verdict(False, "the cluster has not been asked yet")
        self._judged_at_s = time.monotonic()
        self.period_s = PERIOD_S
        self.poll_cpu_s = 0.0

    def verdict(self) -> Verdict:
        """The newest verdict; not ready where that is too old."""
        verdict, age_s = self._verdict, time.monotonic() - self._judged_at_s
        if age_s > self.period_s + STALE_S:
            return verdict._replace(is_ready=False, reason=f"last answer {age_s:.0f} s ago")
        return verdict

    def poll(self) -> Verdict:
        """Ask once. The port comes first: an answer from before the broker's restart says nothing about the broker since."""
        if not is_open(self.local):
            return Verdict(False, f"Kafka's port is closed ({self.local})")
        started_s = time.thread_time()
        try:
            verdict = judge(self.broker_id, self._client.poll(POLL_TIMEOUT_S))
        except ClientError as error:
            return Verdict(False, str(error))
        self.poll_cpu_s = time.thread_time() - started_s
        self.period_s = min(LONGEST_PERIOD_S, max(PERIOD_S, self.poll_cpu_s / CPU_SHARE))
        return verdict

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                verdict = self.poll()
            except Exception as error:  # A watch that ends would leave the last verdict standing until it is too old.
                log.exception("poll failed")
                verdict = Verdict(False, f"the agent failed: {error!r}")
            if (verdict.is_ready, verdict.out_of_sync == 0) != (self._verdict.is_ready, self._verdict.out_of_sync == 0):
                log.info("readiness", broker_id=self.broker_id, is_ready=verdict.is_ready, reason=verdict.reason)
            self._verdict, self._judged_at_s = verdict, time.monotonic()
            stop.wait(self.period_s)


class GlassWatch:
    """Reads the annotation. While the API server doesn't answer, what was read last holds until it expires."""

    def __init__(self, kubernetes: AgentKubernetes) -> None:
        self._kubernetes = kubernetes
        self._glass = Glass()
        self._lock = threading.Lock()
        self._sent: set[str] = set()

    def forced(self) -> ForceReady | None:
        with self._lock:
            return self._glass.active(datetime.now(UTC), time.monotonic())

    def poll(self) -> None:
        text = self._kubernetes.force_ready()
        with self._lock:
            event = self._glass.observe(text, datetime.now(UTC), time.monotonic())
        if event is None or event.name in self._sent:
            return
        log.warning("break the glass", reason=event.reason, message=event.message)
        self._kubernetes.event(event.name, event.reason, event.message, warning=True)
        self._sent.add(event.name)

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                self.poll()
            except ClientError as error:
                log.warning("annotation not read", error=str(error))
            except Exception:
                log.exception("annotation not read")
            stop.wait(GLASS_PERIOD_S)
