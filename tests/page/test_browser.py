"""A real Chromium drives the page, on a desktop and on a phone, through a run on a world in memory.

`SCREENSHOTS=docs/incident-links` has what it sees written there; the documentation shows these pictures.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from selenium.webdriver import Chrome
from starlette.types import ASGIApp, Receive, Scope, Send
from temporalio.testing import WorkflowEnvironment

from kafka_runbooks.page import app
from tests.fakes.world import World
from tests.page import chromium
from tests.page.conftest import PROXY_SECRET, connected, link, settings, token
from tests.page.serving import served
from tests.page.test_presses import lose
from tests.temporal_env import Bench, bench


class Proxy:
    """Stands in front of the page as a team's proxy does, and says that everybody is alice."""

    page: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            told = [(b"x-proxy-secret", PROXY_SECRET.encode()), (b"x-forwarded-user", b"alice")]
            scope = {**scope, "headers": [*scope["headers"], *told]}
        await self.page(scope, receive, send)


@pytest_asyncio.fixture
async def runbooks(server: WorkflowEnvironment, world: World) -> AsyncIterator[Bench]:
    """A bench whose cluster has a name that can be shown."""
    async with bench(server, world, cluster="production-eu") as ready:
        yield ready


@pytest_asyncio.fixture
async def url(runbooks: Bench, tmp_path: Path) -> AsyncIterator[str]:
    """The page, behind the proxy, on loopback. Where it is is known once it is served."""
    proxy = Proxy()
    async with served(proxy) as address:
        clusters = {runbooks.cluster: runbooks.task_queue}
        proxy.page = app.create(settings(tmp_path, page_url=address, page_clusters=clusters), connected(runbooks.client))
        yield address


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium.started(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.mark.parametrize("size", chromium.SIZES)
async def test_an_incident(runbooks: Bench, world: World, url: str, driver: Chrome, size: str) -> None:
    lose(world)
    one = link(runbooks.cluster, ticket="INC-4711", throttle={"mode": "fixed", "rate_bytes_per_s": 3_000_000})
    await asyncio.to_thread(chromium.incident, driver, f"{url}/links/{token(one)}", size, patience_s=60)
