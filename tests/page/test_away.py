"""The page while Temporal is away: it says so, in words and at once, and goes on when Temporal is back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from kafka_runbooks.page import app, protection, temporal
from kafka_runbooks.page.identity import Person
from kafka_runbooks.page.temporal import Temporal
from tests.page.conftest import KEY, Browse, browse, form, link, settings, token
from tests.temporal_env import Bench


class Road:
    """A TCP proxy to the server, which can be closed and opened again at the same port."""

    def __init__(self, target: str) -> None:
        self._host, _, port = target.rpartition(":")
        self._to = int(port)
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._host or "127.0.0.1", self._to)
        self._writers |= {writer, back}
        await asyncio.gather(_copy(reader, back), _copy(there, writer), return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


@asynccontextmanager
async def road_to(bench: Bench) -> AsyncIterator[Road]:
    road = Road(bench.client.service_client.config.target_host)
    try:
        yield road
    finally:
        await road.close()


async def test_it_goes_away_and_comes_back(runbooks: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporal, "PATIENCE_SECONDS", 3.0)
    async with road_to(runbooks) as road:
        await road.open()

        async def connect() -> Client:
            return await Client.connect(f"127.0.0.1:{road.port}", data_converter=pydantic_data_converter)

        await road.close()
        alice = browse(app.create(settings(tmp_path), Temporal(connect)))()
        assert (await alice.get("/")).status_code == 503
        await road.open()
        path = f"/links/{token(link('lab'))}"
        assert (await alice.get("/")).status_code == 200
        await road.close()
        away = await alice.get("/")
        assert away.status_code == 503 and away.headers["Retry-After"] == "5"
        assert "Temporal doesn&#39;t answer" in away.text and '<meta http-equiv="refresh" content="5">' in away.text
        assert "Traceback" not in away.text and "RPCError" not in away.text
        assert (await alice.get(path)).status_code == 503
        assert (await alice.get("/healthz")).text == "ok"
        await road.open()
        async with asyncio.timeout(20):
            while (await alice.get("/")).status_code != 200:
                await asyncio.sleep(0.2)


async def test_a_press_while_it_is_away_is_not_repeated_by_itself(nowhere: Browse) -> None:
    """What was pressed may have arrived: the person is told that pressing again is safe."""
    path = f"/links/{token(link('lab'))}"
    answer = await nowhere().post(path, {"form_token": protection.form_token([KEY], Person("alice"), path)})
    assert answer.status_code == 503 and "press again" in answer.text and "http-equiv" not in answer.text
    with pytest.raises(AssertionError, match="no button"):
        form(answer, "Start")
