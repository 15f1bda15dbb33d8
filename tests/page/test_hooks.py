"""The webhook: alerts become links that are posted to the configured URL; never an action, and nobody else's."""

import hashlib
import hmac
import json
import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response

from kafka_runbooks import links
from kafka_runbooks.page.alerts import Alertmanager, Asked, link, message
from kafka_runbooks.runs.validation import BadInput
from tests.page.conftest import HOOK_TOKEN, KEY, SLACK_SECRET, URL, Browse
from tests.page.serving import served

STARTED = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5)
RUNBOOK = "replace-broker cluster=lab broker_id=1002 ticket=INC-1"


def alert(text: str = RUNBOOK, **fields: Any) -> dict[str, Any]:
    annotations = {"kafka_runbook": text, "summary": "Broker 1002 is lost"}
    return {"status": "firing", "labels": {}, "annotations": annotations, "startsAt": STARTED.isoformat(), **fields}


def group(*alerts: dict[str, Any]) -> dict[str, Any]:
    return {"version": "4", "externalURL": "http://evil.example.org/", "alerts": list(alerts)}


class Chat:
    """Where links are posted."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.answer: Response = Response("ok")
        self.app = FastAPI()

        @self.app.api_route("/{path:path}", methods=["GET", "POST"])
        async def take(request: Request, path: str) -> Response:
            self.texts.append(f"{request.method} /{path} {(await request.body()).decode()}")
            return self.answer


@pytest_asyncio.fixture
async def chat(tmp_path: Path, nowhere: Browse) -> AsyncIterator[Chat]:
    chat = Chat()
    async with served(chat.app) as address:
        (tmp_path / "post").write_text(f"{address}/T0/secret\n")
        yield chat


async def send(page: Browse, path: str, body: Any, token: str = HOOK_TOKEN) -> Any:
    return await page(None).http.post(f"/hooks/{path}", json=body, headers={"Authorization": f"Bearer {token}"})


def posted(chat: Chat) -> links.Link:
    (text,) = chat.texts
    method, path, body = text.split(" ", 2)
    assert (method, path) == ("POST", "/T0/secret")
    found = re.search(rf"<{re.escape(URL)}/links/([^|]+)\|replace-broker on lab>", json.loads(body)["text"])
    assert found is not None, body
    return links.read(found[1], [KEY])


async def test_an_alert_becomes_a_link(nowhere: Browse, chat: Chat) -> None:
    """Temporal can't be reached here: a webhook starts nothing. What is sent again leads to the same run."""
    body = group(alert(generatorURL="http://evil.example.org/x"), alert(status="resolved"), alert(annotations={}))
    answer = await send(nowhere, "alertmanager", body)
    assert answer.status_code == 200 and answer.json()["text"].startswith("1 links posted")
    assert "/links/" not in answer.text
    made = posted(chat)
    assert (made.runbook, made.input, made.made_by) == (
        "ReplaceBroker",
        {"cluster": "lab", "broker_ids": [1002], "ticket": "INC-1"},
        "Alertmanager",
    )
    assert made.workflow_id == f"lab/replace-broker/1002-{STARTED:%Y%m%dT%H%M%SZ}"
    chat.texts.clear()
    await send(nowhere, "alertmanager", body)
    assert posted(chat).workflow_id == made.workflow_id


async def test_an_incident_becomes_a_link(nowhere: Browse, chat: Chat) -> None:
    data = {
        "title": f"Broker 1002 is lost (kafka-runbook: {RUNBOOK})",
        "created_at": STARTED.isoformat(),
        "self": "http://evil.example.org",
    }
    event = {"event": {"event_type": "incident.triggered", "data": data}}
    assert (await send(nowhere, "pagerduty", event)).status_code == 200
    assert posted(chat).input["broker_ids"] == [1002]
    chat.texts.clear()
    event["event"]["event_type"] = "incident.resolved"
    assert (await send(nowhere, "pagerduty", event)).status_code == 200
    assert chat.texts == []


def slack_headers(body: str, at: float, key: str = SLACK_SECRET) -> dict[str, str]:
    signature = hmac.digest(key.encode(), f"v0:{at:.0f}:{body}".encode(), hashlib.sha256).hex()
    form = "application/x-www-form-urlencoded"
    return {"X-Slack-Request-Timestamp": f"{at:.0f}", "X-Slack-Signature": f"v0={signature}", "Content-Type": form}


async def test_a_slash_command_becomes_a_link(nowhere: Browse, chat: Chat) -> None:
    body = urlencode({"text": RUNBOOK, "user_name": "bob", "response_url": "http://evil.example.org"})
    http = nowhere(None).http
    for headers in (
        slack_headers(body, time.time(), "guessed"),
        slack_headers(body, time.time() - 301),
        slack_headers(body + "&text=x", time.time()),
        {**slack_headers(body, time.time()), "X-Slack-Request-Timestamp": "-1"},
        {},
    ):
        assert (await http.post("/hooks/slack", content=body, headers=headers)).status_code == 401
    assert chat.texts == []
    assert (await http.post("/hooks/slack", content=body, headers=slack_headers(body, time.time()))).status_code == 200
    assert posted(chat).made_by == "Slack, bob"


@pytest.mark.parametrize("token", ["", "guessed", HOOK_TOKEN[:-1], HOOK_TOKEN + "x"])
async def test_without_the_token_nothing_is_read(nowhere: Browse, chat: Chat, token: str) -> None:
    for path in ("alertmanager", "pagerduty"):
        assert (await send(nowhere, path, "not what it takes", token)).status_code == 401
    assert chat.texts == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("replace-broker cluster=lab broker_id=1002 node_is_gone=true", "node_is_gone: an alert can't say that"),
        ("replace-broker cluster=lab broker_id=1002 wait_for_approval=false", "wait_for_approval: an alert can't say that"),
        ("replace-broker cluster=lab broker_id=1 acknowledged_risks=[]", "acknowledged_risks: an alert can't say that"),
        ("replace-broker cluster=lab broker_id=1 requester=root", "requester: an alert can't say that"),
        ("replace-broker cluster=lab broker_id=1 cluster=other", "write each field once"),
        ("replace-broker cluster=lab brokr_id=1", "did you mean broker_ids?"),
        ("replace-broker cluster=lab", "exactly one of broker_ids, nodes and zone"),
        ("replace-broker cluster=lab broker_id=@/etc/passwd", "@/etc/passwd"),
        ("rm -rf", "names no runbook"),
        ("replace-broker 'cluster=lab", "No closing quotation"),
        ("", "names no runbook"),
    ],
)
def test_what_an_alert_may_not_say(text: str, fault: str) -> None:
    with pytest.raises(BadInput, match=re.escape(fault)):
        link(Asked("x", text), timedelta(hours=1), "test", datetime.now(UTC))


async def test_faults_are_posted_and_their_markup_is_text(nowhere: Browse, chat: Chat) -> None:
    annotations = {"kafka_runbook": "replace-broker <!channel>", "summary": "<http://evil.example.org|press here> & *now*"}
    answer = await send(nowhere, "alertmanager", group(alert(annotations=annotations)))
    assert answer.status_code == 200
    (text,) = chat.texts
    assert "<" not in text.split(" ", 2)[2] and "&lt;http://evil" in text and "&lt;!channel&gt;" in text


@pytest.mark.parametrize("status", [302, 500])
async def test_where_posting_fails_the_alert_is_sent_again(nowhere: Browse, chat: Chat, status: int) -> None:
    """And a receiver that sends us elsewhere isn't followed."""
    chat.answer = RedirectResponse("/elsewhere", 302) if status == 302 else Response(status_code=status)
    answer = await send(nowhere, "alertmanager", group(alert()))
    assert answer.status_code == 502 and "secret" not in answer.text
    assert len(chat.texts) == 1


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "2020-01-01T00:00:00Z"])
def test_a_time_that_cannot_be_is_now(since: str) -> None:
    now = datetime.now(UTC)
    (asked,) = Alertmanager.model_validate(group(alert(startsAt=since))).asked()
    made = link(asked, timedelta(hours=1), "test", now)
    assert made.at == now
    assert message([(asked, made, "u")], [])
