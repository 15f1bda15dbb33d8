"""The webhook: an alert comes in, a link goes out to the configured URL. Never an action, and never anywhere else."""

import hashlib
import hmac
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx2
import pydantic
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from kafka_runbooks import links
from kafka_runbooks.page import alerts, audit
from kafka_runbooks.page.alerts import Alertmanager, Asked, PagerDuty
from kafka_runbooks.page.identity import same
from kafka_runbooks.page.settings import secret
from kafka_runbooks.page.state import Page, ThisPage
from kafka_runbooks.runs.validation import BadInput

router = APIRouter(prefix="/hooks")

POST_SECONDS = 5.0
SLACK_SECONDS = 300
"""How old a request of Slack may be: one that was recorded and is sent again is older."""


class Turned(Exception):
    """A webhook that is turned away."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _body(content: str, schema: dict[str, Any]) -> dict[str, Any]:
    # The body is read by hand, after the token: nobody else's is parsed.
    return {"requestBody": {"required": True, "content": {content: {"schema": schema}}}}


_SLACK = {"type": "object", "properties": {"text": {"type": "string"}, "user_name": {"type": "string"}}, "required": ["text"]}


@router.post("/alertmanager", openapi_extra=_body("application/json", Alertmanager.model_json_schema()))
async def alertmanager(request: Request, this: ThisPage) -> JSONResponse:
    """Post a link for each firing alert that names a runbook."""
    _check_token(request, this.settings.webhook_token_file)
    found = await _parsed(request, Alertmanager)
    return await _answer(this, list(found.asked()), "Alertmanager")


@router.post("/pagerduty", openapi_extra=_body("application/json", PagerDuty.model_json_schema()))
async def pagerduty(request: Request, this: ThisPage) -> JSONResponse:
    """Post a link for an incident whose title names a runbook."""
    _check_token(request, this.settings.webhook_token_file)
    found = await _parsed(request, PagerDuty)
    return await _answer(this, list(found.asked()), "PagerDuty")


@router.post("/slack", openapi_extra=_body("application/x-www-form-urlencoded", _SLACK))
async def slack(request: Request, this: ThisPage) -> JSONResponse:
    """Post a link for what somebody has typed behind a slash command."""
    body = await request.body()
    _check_slack(request, body, this.settings.slack_signing_secret_file)
    try:
        fields = parse_qs(body.decode(), max_num_fields=100)
    except ValueError as error:
        raise Turned(422, "the body is not a form") from error
    user = fields.get("user_name", ["somebody"])[0][:100]
    return await _answer(this, [Asked(f"asked for by {user}", fields.get("text", [""])[0])], f"Slack, {user}")


def _check_token(request: Request, file: Path | None) -> None:
    if file is None:
        raise Turned(404, "there is no webhook here: KAFKA_RUNBOOKS_WEBHOOK_TOKEN_FILE is not set")
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if not same(token.strip(), secret(file)) or scheme.lower() != "bearer":
        raise Turned(401, "give the webhook's token as `Authorization: Bearer TOKEN`")


def _check_slack(request: Request, body: bytes, file: Path | None) -> None:
    if file is None:
        raise Turned(404, "there is no webhook here: KAFKA_RUNBOOKS_SLACK_SIGNING_SECRET_FILE is not set")
    at, given = request.headers.get("x-slack-request-timestamp", ""), request.headers.get("x-slack-signature", "")
    wanted = hmac.digest(secret(file).encode(), b"v0:" + at.encode() + b":" + body, hashlib.sha256).hex()
    is_recent = at.isascii() and at.isdigit() and len(at) < 15 and abs(time.time() - int(at)) <= SLACK_SECONDS
    if not same(given, f"v0={wanted}") or not is_recent:
        raise Turned(401, "Slack hasn't signed this, or it is too old")


async def _parsed(request: Request, model: type[Alertmanager] | type[PagerDuty]) -> Any:
    try:
        return model.model_validate_json(await request.body())
    except pydantic.ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        raise Turned(422, f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}") from error


async def _answer(this: Page, asked: list[Asked], made_by: str) -> JSONResponse:
    """Make the links, post them, and say what was posted; a link is never in the answer."""
    validity, keys, now = links.validity(this.settings.webhook_link_validity), this.keys(), datetime.now(UTC)
    found, faults = [], []
    for one in asked:
        try:
            made = alerts.link(one, validity, made_by, now)
            if this.settings.queue(made.input["cluster"]) is None:
                raise BadInput(f"cluster: this page is not for {made.input['cluster']}")
            found.append((one, made, links.url(this.settings.page_url, links.sign(made, keys))))
        except BadInput as error:
            faults.append((one, str(error)))
    if found or faults:
        await _post(this, alerts.message(found, faults))
    for _, made, _ in found:
        audit.linked(made_by, runbook=made.runbook, run=made.workflow_id)
    for one, fault in faults:
        audit.refused("link", reason=fault, made_by=made_by, title=one.title[:200])
    return JSONResponse(
        {"text": f"{len(found)} links posted, {len(faults)} alerts without one", "faults": [f for _, f in faults]}
    )


async def _post(this: Page, text: str) -> None:
    assert this.settings.webhook_post_url_file is not None
    try:
        async with httpx2.AsyncClient(timeout=POST_SECONDS, follow_redirects=False) as client:
            answer = await client.post(secret(this.settings.webhook_post_url_file), json={"text": text})
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise Turned(502, f"the link couldn't be posted: {type(error).__name__}") from error
    if not answer.is_success:
        raise Turned(502, f"the link couldn't be posted: the receiver answered {answer.status_code}")
