"""The worker's HTTP side: whether it lives, and what runbooks have seen."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx

from activities.certificate_metrics import ENDS
from kafka_runbooks.models.certificate_ends import CertificateEnd
from worker.process import serve_health


async def test_health_and_metrics() -> None:
    now = datetime.now(UTC)
    ENDS.tell("health", [CertificateEnd(holder="worker", where="file", not_before=now, not_after=now + timedelta(days=2))])
    server = serve_health(0, asyncio.get_running_loop())
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.server_address[1]}", trust_env=False) as client:
            assert (await client.get("/healthz")).text == "ok\n"
            metrics = await client.get("/metrics")
    finally:
        server.shutdown()
        server.server_close()
        ENDS.tell("health", [])
    # Other tests of this process may have told of other clusters.
    (line,) = (one for one in metrics.text.splitlines() if 'days_left{cluster="health",holder="worker"' in one)
    assert 1.9 < float(line.rsplit(" ", 1)[1]) < 2.1
