"""Finding runs by cluster, runbook, state and more.

Filters are search attributes that runs set on themselves. Runs from before these were registered have none, but their workflow ID
begins with the cluster (unless `--id` said otherwise), and their workflow type is the runbook.
"""

from dataclasses import dataclass
from enum import StrEnum

from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus

from kafka_runbooks import search_attributes
from kafka_runbooks.catalogue import RUNBOOKS

MOST_RUNS = 50


class State(StrEnum):
    """What the server calls the state of a run."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    TERMINATED = "terminated"
    TIMED_OUT = "timed-out"

    @property
    def in_query(self) -> str:
        return self.value.title().replace("-", "")


@dataclass(frozen=True)
class Filters:
    """What `list` was asked for; None: any."""

    cluster: str | None = None
    runbook: str | None = None
    state: State | None = None
    requester: str | None = None
    ticket: str | None = None
    phase: str | None = None

    @property
    def by_attribute(self) -> dict[str, str]:
        """Those that only search attributes can answer: attribute -> value."""
        values = {
            search_attributes.REQUESTER.name: self.requester,
            search_attributes.TICKET.name: self.ticket,
            search_attributes.PHASE.name: self.phase,
        }
        return {name: value for name, value in values.items() if value is not None}

    def query(self, are_registered: bool) -> str:
        """The query; without search attributes it does what the workflow's ID and type allow."""
        runbooks = (self.runbook,) if self.runbook is not None else tuple(RUNBOOKS)
        terms = [f"WorkflowType IN ({', '.join(map(_quoted, runbooks))})"]
        if self.state is not None:
            terms.append(f"ExecutionStatus = {_quoted(self.state.in_query)}")
        if self.cluster is not None:
            terms.append(self._cluster(self.cluster, are_registered))
        if are_registered:
            terms += [f"{name} = {_quoted(value)}" for name, value in self.by_attribute.items()]
        return " AND ".join(terms)

    def _cluster(self, cluster: str, are_registered: bool) -> str:
        by_id = f"WorkflowId STARTS_WITH {_quoted(f'{cluster}/')}"
        if not are_registered:
            return by_id
        name = search_attributes.CLUSTER.name
        return f"({name} = {_quoted(cluster)} OR ({name} IS NULL AND {by_id}))"


def _quoted(value: str) -> str:
    escaped = value.replace("'", "''")
    return f"'{escaped}'"


async def find(client: Client, query: str) -> list[dict[str, str | None]]:
    """The latest runs that match, at most `MOST_RUNS`, those in progress first."""
    runs = [_row(run) async for run in client.list_workflows(query, limit=MOST_RUNS)]
    return sorted(runs, key=lambda run: run["state"] != WorkflowExecutionStatus.RUNNING.name)


def _row(run: WorkflowExecution) -> dict[str, str | None]:
    attributes = run.typed_search_attributes
    return {
        "workflow_id": run.id,
        "runbook": run.workflow_type,
        "state": run.status.name if run.status else "UNKNOWN",
        "started": run.start_time.isoformat(timespec="seconds"),
        "ended": run.close_time.isoformat(timespec="seconds") if run.close_time else None,
        "cluster": attributes.get(search_attributes.CLUSTER),
        "phase": attributes.get(search_attributes.PHASE),
        "requester": attributes.get(search_attributes.REQUESTER),
        "ticket": attributes.get(search_attributes.TICKET),
    }
