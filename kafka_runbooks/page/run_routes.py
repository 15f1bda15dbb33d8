"""The list of runs, and a run's page: progress, why it waits, and what an operator may decide."""

import hashlib
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from kafka_runbooks.catalogue import RUNBOOKS
from kafka_runbooks.models.base import OperatorInput
from kafka_runbooks.models.operator import Abort, AddBrokers, Approval, OperatorAction, Uncordon
from kafka_runbooks.page import audit, picture, protection, rendering
from kafka_runbooks.page.identity import KnownPerson, Person
from kafka_runbooks.page.protection import FormToken
from kafka_runbooks.page.state import Page, ThisPage
from kafka_runbooks.runs import deciding, finding, observing, validation
from kafka_runbooks.runs.finding import Filters
from kafka_runbooks.runs.observing import Observation
from kafka_runbooks.runs.validation import BadInput
from kafka_runbooks.runs.waits import waits
from kafka_runbooks.temporal import search_attributes_are_registered

router = APIRouter()

DECIDE_SECONDS = 20.0
Decision = Literal["approve", "reject", "pause", "resume", "abort", "add_brokers", "uncordon"]
MODELS: dict[str, type[OperatorInput]] = {"approve": Approval, "abort": Abort, "add_brokers": AddBrokers, "uncordon": Uncordon}
RunId = Annotated[str, Path(max_length=1000, description="the workflow ID")]


class NoSuchRun(Exception):
    """There is no run of this ID, or this page is not for it."""


@router.get("/", response_class=HTMLResponse)
async def runs(
    request: Request,
    person: KnownPerson,
    this: ThisPage,
    cluster: Annotated[str | None, Query(max_length=200, description="only runs on this cluster")] = None,
) -> Response:
    """List the latest runs by cluster."""
    async with this.temporal.client() as client:
        query = Filters(cluster or None).query(await search_attributes_are_registered(client))
        found = [run for run in await finding.find(client, query) if this.settings.queue(_cluster(run)) is not None]
    by_cluster: dict[str, list[dict[str, str | None]]] = {}
    for run in found:
        by_cluster.setdefault(_cluster(run), []).append(run)
    audit.view(person, "runs", cluster=cluster)
    return rendering.page(request, "runs.html", person=person, cluster=cluster, by_cluster=dict(sorted(by_cluster.items())))


def _cluster(run: dict[str, str | None]) -> str:
    return run["cluster"] or (run["workflow_id"] or "").partition("/")[0]


@router.get("/runs/{workflow_id:path}", response_class=HTMLResponse)
async def show(request: Request, workflow_id: RunId, person: KnownPerson, this: ThisPage) -> Response:
    """Show a run."""
    async with this.temporal.client() as client:
        observed = await _observe(client, this, workflow_id)
    audit.view(person, "run", run=workflow_id)
    return _shown(request, person, this, observed)


@router.get("/live/{workflow_id:path}", response_class=HTMLResponse)
async def live(
    request: Request,
    workflow_id: RunId,
    person: KnownPerson,
    this: ThisPage,
    shown: Annotated[str, Query(max_length=200, description="what may be decided, as the page has it")] = "",
) -> Response:
    """Show the part of a run's page that changes. Where something else may be decided now, the whole page is loaded again."""
    async with this.temporal.client() as client:
        observed = await _observe(client, this, workflow_id)
    response = rendering.page(request, "live.html", **_figures(observed))
    if shown != _stage(observed):
        response.headers["HX-Refresh"] = "true"
    return response


@router.post("/runs/{workflow_id:path}", response_class=RedirectResponse, status_code=303)
async def decide(
    request: Request,
    workflow_id: RunId,
    person: KnownPerson,
    this: ThisPage,
    form_token: FormToken,
    decision: Annotated[Decision, Form()],
    reason: Annotated[str, Form(max_length=200)] = "",
    plan_sha256: Annotated[str | None, Form(max_length=64, description="the plan that was shown")] = None,
    risk: Annotated[list[str] | None, Form(max_length=1000, description="risks that are acknowledged, by name")] = None,
    allow_other_rack: Annotated[bool, Form()] = False,
    rollback: Annotated[bool, Form()] = False,
    broker_ids: Annotated[str, Form(max_length=1000, description="of brokers that are lost too")] = "",
    node_is_gone: Annotated[bool, Form()] = False,
    node: Annotated[list[str] | None, Form(max_length=1000, description="nodes to hand back")] = None,
) -> Response:
    """Send a person's decision to a run."""
    protection.check_form(request, this.keys(), person, form_token, this.settings.page_url)
    data: dict[str, object] = {"by": person.name, "reason": reason}
    if decision == "approve":
        data |= {"plan_sha256": plan_sha256, "acknowledged_risks": risk or [], "allow_other_rack": allow_other_rack}
    elif decision == "abort":
        data["rollback"] = rollback
    elif decision == "add_brokers":
        ids = broker_ids.replace(",", " ").split()
        data |= {"broker_ids": ids, "node_is_gone": node_is_gone, "allow_other_rack": allow_other_rack}
    fault = None
    async with this.temporal.client(DECIDE_SECONDS) as client:
        observed = await _observe(client, this, workflow_id)
        try:
            if decision == "uncordon":
                if not node:  # A page that is a round behind would else hand back what nobody has seen on it.
                    raise BadInput("node: name at least one that is to be handed back")
                data["nodes"] = node
            message = validation.validate(MODELS.get(decision, OperatorAction), data)
            await deciding.send(client, observed, decision, message)
        except BadInput as error:
            fault = str(error)
    outcome = "recorded" if fault is None else f"refused: {fault}"
    audit.press(person, decision, outcome=outcome, run=workflow_id, reason=reason)
    if fault is None:
        return RedirectResponse(f"/runs/{quote(workflow_id, safe='/')}", 303)
    return _shown(request, person, this, observed, fault)


async def _observe(client: Client, this: Page, workflow_id: str) -> Observation:
    try:
        observed = await observing.observe(client, workflow_id)
    except RPCError as error:
        if error.status not in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
            raise
        raise NoSuchRun(f"there is no run {workflow_id!r}") from error
    cluster = observed.status.cluster if observed.status is not None else workflow_id.partition("/")[0]
    if observed.runbook not in RUNBOOKS or this.settings.queue(cluster) is None:
        raise NoSuchRun(f"there is no run {workflow_id!r}")
    return observed


def _stage(observed: Observation) -> str:
    """What may be decided now, as one word: where it changes, the forms do."""
    status = observed.status
    if observed.is_over:
        return "over"
    if status is None:
        return "silent"
    question = status.plan.reference.sha256 if status.needs_decision and status.plan is not None else ""
    held = hashlib.sha256("\n".join(status.nodes_held).encode()).hexdigest()[:16] if status.nodes_held else ""
    return f"{'paused' if status.is_paused else 'running'}-{status.needs_decision}-{question}-{status.takes_brokers}-{held}"


def _figures(observed: Observation) -> dict[str, Any]:
    status = observed.status
    took = {} if status is None else {time.step: time.seconds for time in status.times}
    return {"run": observed, "status": status, "progress": observed.progress, "waits": waits(observed), "took": took}


def _shown(request: Request, person: Person, this: Page, observed: Observation, fault: str | None = None) -> Response:
    plan = observed.status.plan if observed.status is not None else None
    return rendering.page(
        request,
        "run.html",
        200 if fault is None else 409,
        person=person,
        fault=fault,
        stage=_stage(observed),
        plan=plan,
        picture=None if plan is None else picture.of(plan),
        can_roll_back=(RUNBOOKS[observed.runbook].plan_model or "").startswith("moves."),
        form_token=protection.form_token(this.keys(), person, f"/runs/{observed.workflow_id}"),
        **_figures(observed),
    )
