"""The agent's HTTP side: `/readyz` (the broker's readiness), `/kafkaz` (its liveness), `/livez` (the agent's own), `/metrics`.
Beside a member of an ensemble, `/readyz` and `/livez`.

The agent's own liveness is not the broker's: a broker that recovers its logs for an hour keeps its port closed, and killing
the agent during that time would help nobody.
"""

from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from kafka_runbooks.agent.readiness import Verdict
from kafka_runbooks.agent.watching import GlassWatch, ReadinessWatch, is_open


class AgentCollector(Collector):
    """The agent's own metrics, taken from the watches at each scrape."""

    def __init__(self, readiness: ReadinessWatch, glass: GlassWatch) -> None:
        self._readiness = readiness
        self._glass = glass

    def collect(self) -> Iterator[GaugeMetricFamily]:
        verdict, forced = self._readiness.verdict(), self._glass.forced()
        prefix = "kafka_runbooks_agent"
        yield GaugeMetricFamily(f"{prefix}_in_sync", "1 if every replica of this broker is in sync", verdict.is_ready)
        yield GaugeMetricFamily(f"{prefix}_ready", "1 if /readyz answers 200", verdict.is_ready or forced is not None)
        yield GaugeMetricFamily(f"{prefix}_readiness_forced", "1 while the glass is broken", forced is not None)
        yield GaugeMetricFamily(f"{prefix}_replicas", "Replicas assigned to this broker", verdict.assigned)
        yield GaugeMetricFamily(f"{prefix}_replicas_out_of_sync", "Those not in their ISR", verdict.out_of_sync)
        yield GaugeMetricFamily(f"{prefix}_look_cpu_seconds", "CPU of the newest poll", self._readiness.poll_cpu_s)
        yield GaugeMetricFamily(f"{prefix}_look_period_seconds", "Time between polls", self._readiness.period_s)


def answer(path: str, readiness: ReadinessWatch, glass: GlassWatch, registry: CollectorRegistry) -> tuple[int, bytes]:
    """Status and body for a path."""
    if path == "/livez":
        return 200, b"the agent lives\n"
    if path == "/kafkaz":
        return (200, b"Kafka's port is open\n") if is_open(readiness.local) else (503, b"Kafka's port is closed\n")
    if path == "/readyz":
        verdict, forced = readiness.verdict(), glass.forced()
        if forced is not None and not verdict.is_ready:
            note = f"forced until {forced.expires_at.isoformat()} by {forced.owner}: {forced.reason}; really: {verdict.reason}\n"
            return 200, note.encode()
        return 200 if verdict.is_ready else 503, f"{verdict.reason}\n".encode()
    if path == "/metrics":
        return 200, generate_latest(registry)
    return 404, b"/readyz, /kafkaz, /livez or /metrics\n"


def answer_of_member(path: str, look: Callable[[], Verdict]) -> tuple[int, bytes]:
    """Status and body for a path, beside a member of an ensemble, which is asked each time."""
    if path == "/livez":
        return 200, b"the agent lives\n"
    if path == "/readyz":
        verdict = look()
        return 200 if verdict.is_ready else 503, f"{verdict.reason}\n".encode()
    return 404, b"/readyz or /livez\n"


def serve(port: int, readiness: ReadinessWatch, glass: GlassWatch) -> ThreadingHTTPServer:
    """A broker's."""
    registry = CollectorRegistry()
    registry.register(AgentCollector(readiness, glass))
    ProcessCollector(registry=registry)
    return server(port, lambda path: answer(path, readiness, glass, registry))


def server(port: int, answer: Callable[[str], tuple[int, bytes]]) -> ThreadingHTTPServer:
    """A server bound to `port` on every address; the caller runs it."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            status, body = answer(self.path.partition("?")[0])
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Don't log probe requests."""

    return ThreadingHTTPServer(("", port), Handler)
