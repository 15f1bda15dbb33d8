"""The page in front of a real Temporal server, with a worker whose cluster is a world in memory."""

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from temporalio.client import Client

from kafka_runbooks import links
from kafka_runbooks.catalogue import RUNBOOKS
from kafka_runbooks.links import Link
from kafka_runbooks.page import app
from kafka_runbooks.page.settings import PageSettings
from kafka_runbooks.page.temporal import Temporal
from tests.temporal_env import Bench
from tests.workflows.conftest import in_a_hurry, runbooks, server, world

__all__ = ["in_a_hurry", "runbooks", "server", "world"]

URL = "https://runbooks.example.org"
KEY, PROXY_SECRET, HOOK_TOKEN, SLACK_SECRET = "k" * 40, "the proxy's own secret", "the webhook's token", "slack's secret"


def settings(folder: Path, **fields: Any) -> PageSettings:
    """Settings with identity by proxy, and webhooks."""
    files = {"keys": KEY, "proxy": PROXY_SECRET, "hook": HOOK_TOKEN, "slack": SLACK_SECRET, "post": "http://127.0.0.1:1/"}
    for name, text in files.items():
        if not (folder / name).exists():
            (folder / name).write_text(text)
    return PageSettings(
        **{
            "page_url": URL,
            "link_keys_file": folder / "keys",
            "proxy_secret_file": folder / "proxy",
            "webhook_token_file": folder / "hook",
            "slack_signing_secret_file": folder / "slack",
            "webhook_post_url_file": folder / "post",
            **fields,
        }
    )


def link(cluster: str, runbook: str = "ReplaceBroker", **fields: Any) -> Link:
    """A link as `kafka-runbooks link` makes it; of broker 1001, unless something else is given."""
    if runbook == "ReplaceBroker":
        fields = {"broker_id": 1001, "node_is_gone": True, **fields}
    validity = fields.pop("validity", timedelta(hours=4))
    now = datetime.now(UTC)
    request = RUNBOOKS[runbook].input.model_validate({"cluster": cluster, "requester": "maker", **fields})
    return links.made(runbook, request, validity=validity, now=now - timedelta(hours=8) if validity < timedelta(0) else now)


def token(one: Link) -> str:
    return links.sign(one, [KEY])


@dataclass
class Browser:
    """One person's browser without JavaScript, behind the proxy."""

    http: httpx.AsyncClient
    who: str | None
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.who is not None:
            self.headers = {"X-Proxy-Secret": PROXY_SECRET, "X-Forwarded-User": self.who, **self.headers}

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.http.get(path, headers={**self.headers, **headers})

    async def post(self, path: str, data: dict[str, Any], **headers: str) -> httpx.Response:
        return await self.http.post(path, data=data, headers={**self.headers, **headers})

    async def press(self, path: str, button: str, **fields: Any) -> httpx.Response:
        """Send the form whose button says so, as it is on the page at `path`."""
        return await self.post(path, {**form(await self.get(path), button), **fields}, Origin=URL)


def form(page: httpx.Response, button: str) -> dict[str, Any]:
    """The hidden fields of the form whose button says so."""
    for found in re.findall(r"<form.*?</form>", page.text, re.DOTALL):
        if re.search(rf"<button[^>]*>[^<]*{re.escape(button)}", found):
            return {name: unescape(value) for name, value in re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', found)}
    raise AssertionError(f"no button {button!r} on:\n{page.text}")


Browse = Callable[..., Browser]


def browse(page: FastAPI) -> Browse:
    """Browsers of a page, by who sits before them."""
    transport = httpx.ASGITransport(page, raise_app_exceptions=False)

    def open(who: str | None = "alice", **headers: str) -> Browser:
        return Browser(httpx.AsyncClient(transport=transport, base_url=URL), who, headers)

    return open


def connected(client: Client) -> Temporal:
    async def connect() -> Client:
        return client

    return Temporal(connect)


@pytest_asyncio.fixture
async def page(runbooks: Bench, tmp_path: Path) -> AsyncIterator[Browse]:
    """The page of the bench's cluster."""
    made = app.create(settings(tmp_path, page_clusters={runbooks.cluster: runbooks.task_queue}), connected(runbooks.client))
    yield browse(made)


@pytest.fixture
def nowhere(tmp_path: Path) -> Browse:
    """A page whose Temporal can't be reached."""

    async def refuse() -> Client:
        raise RuntimeError("no route to host")

    return browse(app.create(settings(tmp_path), Temporal(refuse)))
