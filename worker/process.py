"""The worker as a process: startup, health endpoint, graceful shutdown.

SIGTERM stops polling; running steps notice it within half a second and fail as retryable, so the next worker resumes them. A
thread that is stuck in a library can't keep the process alive: it is killed after the grace period.
"""

import asyncio
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig

from activities import certificate_metrics
from kafka_runbooks.clients.clusters import Clusters
from kafka_runbooks.clients.webhook import Webhook
from kafka_runbooks.temporal import connect
from worker.run_metrics import RunMetrics
from worker.run_watch import RunWatch
from worker.settings import WorkerSettings
from worker.wiring import GRACE, working

log = structlog.get_logger()

HARD_EXIT_SECONDS = GRACE.total_seconds() + 15
ALIVE_SECONDS = 5.0


def serve_health(port: int, loop: asyncio.AbstractEventLoop) -> ThreadingHTTPServer:
    """`/healthz`: 200 while the event loop responds; a blocked loop can't poll, and the worker should be restarted.

    `/metrics` has what runbooks have seen of clusters; Temporal's own metrics have a port of their own.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/metrics":
                self.send_response(200)
                self.send_header("Content-Type", CONTENT_TYPE_LATEST)
                self.end_headers()
                self.wfile.write(generate_latest(certificate_metrics.REGISTRY))
                return
            answered = threading.Event()
            loop.call_soon_threadsafe(answered.set)
            is_alive = answered.wait(ALIVE_SECONDS)
            self.send_response(200 if is_alive else 503)
            self.end_headers()
            self.wfile.write(b"ok\n" if is_alive else b"the event loop doesn't answer\n")

        def log_message(self, format: str, *args: object) -> None:
            """Don't log probe requests."""

    server = ThreadingHTTPServer(("0.0.0.0", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True, name="health").start()
    return server


async def run_worker(settings: WorkerSettings, clusters: Clusters) -> None:
    """Run a worker until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    metrics = PrometheusConfig(bind_address=f"0.0.0.0:{settings.metrics_port}", durations_as_seconds=True)
    client = await connect(Runtime(telemetry=TelemetryConfig(metrics=metrics)))
    health = serve_health(settings.health_port, loop)
    loop.set_default_executor(ThreadPoolExecutor(4, "default"))
    webhook = None if settings.webhook_url_file is None else Webhook(settings.webhook_url_file)
    watch = RunWatch(client, clusters, settings.task_queue, has_webhook=webhook is not None)
    certificate_metrics.REGISTRY.register(RunMetrics(watch))
    async with working(
        client,
        clusters,
        settings.task_queue,
        slots=settings.slots,
        cached_workflows=settings.cached_workflows,
        build_id=settings.build_id,
        webhook=webhook,
    ):
        watching = asyncio.create_task(watch.watch())
        log.info("worker polls", task_queue=settings.task_queue, clusters=clusters.names(), build_id=settings.build_id)
        await stop.wait()
        watching.cancel()
        log.info("worker ends", grace_seconds=GRACE.total_seconds())
        threading.Timer(HARD_EXIT_SECONDS, lambda: os._exit(1)).start()
    health.shutdown()
    health.server_close()
    os._exit(0)
