"""A link's page: what is wrong now, what the runbook would do, and one button. Looking changes nothing."""

import hashlib
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Path, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from kafka_runbooks import links
from kafka_runbooks.links import MOST_TOKEN_CHARACTERS, BadLink, Link
from kafka_runbooks.page import audit, picture, presses, protection, rendering
from kafka_runbooks.page.identity import KnownPerson
from kafka_runbooks.page.protection import FormToken
from kafka_runbooks.page.state import Page, ThisPage

router = APIRouter()

Token = Annotated[str, Path(max_length=MOST_TOKEN_CHARACTERS, description="the signed link")]


class OtherCluster(BadLink):
    """It is for a cluster that this page is not for."""


@router.get("/links/{token}", response_class=HTMLResponse)
async def show(request: Request, token: Token, person: KnownPerson, this: ThisPage) -> Response:
    """Show what the runbook of a link would do. Changes nothing."""
    link, queue = _read(this, token)
    about = _about(link, token)
    async with this.temporal.client() as client:
        run = await presses.run_of(client, link)
        if run is not None and not run.is_over:
            look = None
        else:
            look = await presses.look(client, link, person, queue)
    audit.view(person, "link", **about)
    plan = look.survey.plan if look is not None and look.survey is not None else None
    return rendering.page(
        request,
        "link.html",
        person=person,
        link=link,
        look=look,
        plan=plan,
        picture=None if plan is None else picture.of(plan),
        run=run,
        may_start=look is not None and look.can_start and (run is None or presses.may_start_again(run)),
        form_token=protection.form_token(this.keys(), person, request.scope["path"]),
    )


@router.post("/links/{token}", response_class=RedirectResponse, status_code=303)
async def press(
    request: Request,
    token: Token,
    person: KnownPerson,
    this: ThisPage,
    form_token: FormToken,
    after: Annotated[str, Form(max_length=100, description="the ended run after which another is started")] = "",
) -> Response:
    """Start the run of a link, or land on the one that is there."""
    protection.check_form(request, this.keys(), person, form_token, this.settings.page_url)
    link, queue = _read(this, token)
    async with this.temporal.client() as client:
        workflow_id, is_new = await presses.start(client, link, person, queue, after)
    outcome = "started" if is_new else "joined"
    audit.press(person, "start", outcome=outcome, run=workflow_id, **_about(link, token))
    return RedirectResponse(f"/runs/{quote(workflow_id, safe='/')}", 303)


def _read(this: Page, token: str) -> tuple[Link, str]:
    """The link, and the task queue of its cluster's workers."""
    link = links.read(token, this.keys())
    cluster = link.request(link.made_by).cluster
    queue = this.settings.queue(cluster)
    if queue is None:
        raise OtherCluster(f"this link is for cluster {cluster}, and this page isn't")
    return link, queue


def _about(link: Link, token: str) -> dict[str, object]:
    """What an audit line says of a link: which one, but not what it takes to open it."""
    digest = hashlib.sha256(token.encode()).hexdigest()[:12]
    return {"runbook": link.runbook, "cluster": link.input.get("cluster"), "link": digest, "made_by": link.made_by}
