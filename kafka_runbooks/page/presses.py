"""What a link leads to: a look at what its runbook would do, and the one run that it starts.

A link's workflow ID is the same whoever presses, and Temporal has one open run of an ID. So a double click, or a second person,
lands on the run that is there; a link whose run has ended well starts nothing more; and one whose run has failed starts another
only for somebody who has seen how it ended.
"""

import asyncio
import hashlib
import re
from dataclasses import dataclass

from temporalio.client import Client
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from kafka_runbooks.catalogue import RUNBOOKS
from kafka_runbooks.links import Link
from kafka_runbooks.models.messages import Survey
from kafka_runbooks.models.results import Outcome
from kafka_runbooks.page.identity import Person
from kafka_runbooks.runs import observing, starting
from kafka_runbooks.runs.observing import Observation
from kafka_runbooks.runs.starting import NoPlan
from kafka_runbooks.runs.validation import BadInput

LOOK_SECONDS = 6.0
"""How long the page waits for a look before it says that it is still going on."""
ENDED_WELL = (Outcome.DONE, Outcome.NOTHING_TO_DO, Outcome.JOINED, Outcome.SKIPPED)
_TIME = re.compile(r"\d{8}T\d{6}Z")


@dataclass(frozen=True)
class Look:
    """What a look has found: a survey, or why there is none."""

    survey: Survey | None = None
    problem: str | None = None
    goes_on: bool = False
    has_no_plan: bool = False

    @property
    def can_start(self) -> bool:
        """Whether a run would get as far as its gate."""
        if self.survey is None:
            return self.has_no_plan
        return self.survey.nothing_to_do is None and all(reason.can_be_acknowledged for reason in self.survey.reasons)


async def look(client: Client, link: Link, person: Person, queue: str) -> Look:
    """Ask a worker what the runbook would do now. Who opens the link meanwhile takes part in the same look."""
    if RUNBOOKS[link.runbook].plan is None:
        return Look(has_no_plan=True)
    request = link.request(person.name)
    digest = hashlib.sha256(link.model_dump_json().encode()).hexdigest()[:16]
    asked = starting.preview_request(link.runbook, request)
    handle = await starting.start_preview(client, asked, f"{request.cluster}/plan/{digest}", queue, join=True)
    try:
        return Look(await asyncio.wait_for(starting.plan_of(handle), LOOK_SECONDS))
    except TimeoutError:
        return Look(goes_on=True)
    except (NoPlan, BadInput) as error:
        return Look(problem=str(error))


async def run_of(client: Client, link: Link) -> Observation | None:
    """The run that this link has started, or one in progress that is about the same; None if there is none."""
    try:
        return await observing.observe(client, link.workflow_id)
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
    twin = await _twin(client, link)
    return None if twin is None else await observing.observe(client, twin)


async def _twin(client: Client, link: Link) -> str | None:
    """A run in progress of the same runbook about the same, started otherwise; as far as the server's list has it by now."""
    prefix = _TIME.sub("", link.workflow_id)
    quoted = prefix.replace("'", "''")
    query = f"WorkflowType = '{link.runbook}' AND ExecutionStatus = 'Running' AND WorkflowId STARTS_WITH '{quoted}'"
    async for run in client.list_workflows(query, limit=20):
        if _TIME.fullmatch(run.id.removeprefix(prefix)):
            return run.id
    return None


def may_start_again(run: Observation) -> bool:
    """Whether a link whose run is over may start another."""
    return run.result is not None and run.result.outcome not in ENDED_WELL


async def start(client: Client, link: Link, person: Person, queue: str, after: str) -> tuple[str, bool]:
    """Start the link's run, or find the one that is there.

    Args:
        client: the connection to Temporal.
        link: the link.
        person: who asks for the run.
        queue: the task queue of the cluster's workers.
        after: the ended run that this person has seen, and starts another after; empty if there was none.

    Returns:
        The workflow ID, and whether it was started just now.
    """
    run = await run_of(client, link)
    if run is not None and not (run.is_over and run.run_id == after and may_start_again(run)):
        return run.workflow_id, False
    policy = WorkflowIDReusePolicy.REJECT_DUPLICATE if run is None else WorkflowIDReusePolicy.ALLOW_DUPLICATE
    try:
        handle = await starting.start(
            client, link.runbook, link.request(person.name), link.workflow_id, queue, id_reuse_policy=policy
        )
    except WorkflowAlreadyStartedError:
        return link.workflow_id, False
    return handle.id, True
