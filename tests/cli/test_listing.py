"""`setup` and `list` on a server of their own, whose search attributes are not registered at first."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, RemoveSearchAttributesRequest
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.testing import WorkflowEnvironment
from typer.testing import CliRunner, Result

from kafka_runbooks import search_attributes
from kafka_runbooks.cli.app import app
from kafka_runbooks.runs.finding import Filters, State
from kafka_runbooks.temporal import search_attributes_are_registered
from tests.temporal_env import start_server, start_time_skipping_server

pytestmark = pytest.mark.server

RUNS = {
    "lab/replace-broker/1001-a": ("ReplaceBroker", "lab", "steps", "alice", "INC-1"),
    "lab/rebalance/b": ("Rebalance", "lab", "gate", "bob", "CHG-2"),
    "by-hand": ("Rebalance", "lab", "steps", "it's bob", "CHG-3"),
    "other/rebalance/c": ("Rebalance", "other", "gate", "bob", "CHG-2"),
    "lab/elsewhere": ("Rebalance", "other", "gate", "eve", "CHG-4"),
}


@pytest_asyncio.fixture
async def client() -> AsyncIterator[Client]:
    async with await start_server() as environment:
        yield environment.client


async def run(client: Client, *argv: str) -> Result:
    environment = {"TEMPORAL_ADDRESS": client.service_client.config.target_host, "TEMPORAL_NAMESPACE": client.namespace}
    done: Result = await asyncio.to_thread(CliRunner().invoke, app, list(argv), env=environment)
    return done


async def listed(client: Client, *argv: str) -> set[str]:
    done = await run(client, "list", *argv, "-o", "json")
    assert done.exit_code == 0, done.output
    return {found["workflow_id"] for found in json.loads(done.stdout)}


async def start(client: Client, workflow_id: str, *, with_attributes: bool) -> None:
    """A run as a workflow would mark it; no worker is needed to list it."""
    kind, cluster, phase, requester, ticket = RUNS[workflow_id]
    values = (cluster, kind, phase, requester, ticket)
    pairs = [SearchAttributePair(key, value) for key, value in zip(search_attributes.ALL, values, strict=True)]
    attributes = TypedSearchAttributes(pairs if with_attributes else [])
    await client.start_workflow(kind, {}, id=workflow_id, task_queue="nobody", search_attributes=attributes)


async def listed_in_time(client: Client, expected: set[str], *argv: str) -> None:
    """Visibility follows a start after a moment."""
    found: set[str] = set()
    for _ in range(50):
        found = await listed(client, *argv)
        if found == expected:
            return
        await asyncio.sleep(0.1)
    assert found == expected


async def test_without_search_attributes_the_id_and_the_type_filter_and_it_says_so(client: Client) -> None:
    for workflow_id in RUNS:
        await start(client, workflow_id, with_attributes=False)
    assert not await search_attributes_are_registered(client)
    await listed_in_time(client, set(RUNS))
    await listed_in_time(client, {"lab/replace-broker/1001-a", "lab/rebalance/b", "lab/elsewhere"}, "--cluster", "lab")
    assert await listed(client, "--runbook", "replace-broker") == {"lab/replace-broker/1001-a"}
    assert await listed(client, "--state", "completed") == set()
    done = await run(client, "list", "--cluster", "lab", "--requester", "alice")
    assert done.exit_code == 0 and "lab/rebalance/b" in done.stdout
    assert len([line for line in done.stderr.splitlines() if line]) == 1
    assert "kafka-runbooks setup" in done.stderr and "--requester" in done.stderr


async def test_setup_registers_what_is_missing_and_list_filters_by_it(client: Client) -> None:
    await start(client, "lab/rebalance/b", with_attributes=False)
    first = await run(client, "setup")
    assert first.exit_code == 0, first.output
    assert "registered: KafkaCluster, Runbook, Phase, Requester, Ticket" in first.stdout
    again = await run(client, "setup")
    assert again.exit_code == 0 and "registered already" in again.stdout
    assert await search_attributes_are_registered(client)
    for workflow_id in RUNS:
        if workflow_id != "lab/rebalance/b":
            await start(client, workflow_id, with_attributes=True)
    await listed_in_time(client, set(RUNS), "--state", "running")
    in_lab = {"lab/replace-broker/1001-a", "lab/rebalance/b", "by-hand"}
    assert await listed(client, "--cluster", "lab") == in_lab, "one has no attributes, but an ID; one has another's ID"
    assert await listed(client, "--cluster", "lab", "--runbook", "Rebalance") == {"lab/rebalance/b", "by-hand"}
    assert await listed(client, "--requester", "bob") == {"other/rebalance/c"}
    assert await listed(client, "--requester", "it's bob") == {"by-hand"}
    assert await listed(client, "--ticket", "INC-1") == {"lab/replace-broker/1001-a"}
    assert await listed(client, "--phase", "gate") == {"other/rebalance/c", "lab/elsewhere"}
    done = await run(client, "list", "--ticket", "INC-1", "-o", "json")
    assert "note:" not in done.stderr
    row = json.loads(done.stdout)[0]
    assert [row[name] for name in ("cluster", "phase", "requester", "ticket")] == ["lab", "steps", "alice", "INC-1"]


async def test_setup_completes_a_partial_registration_and_names_a_wrong_type(client: Client) -> None:
    kinds = {"Phase": IndexedValueType.INDEXED_VALUE_TYPE_INT, "Ticket": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD}
    adding = AddSearchAttributesRequest(namespace=client.namespace, search_attributes=kinds)
    await client.operator_service.add_search_attributes(adding)
    assert not await search_attributes_are_registered(client)
    wrong = await run(client, "setup")
    assert wrong.exit_code == 1 and "Phase is registered as Int" in wrong.stderr
    removing = RemoveSearchAttributesRequest(namespace=client.namespace, search_attributes=["Phase"])
    await client.operator_service.remove_search_attributes(removing)
    done = await run(client, "setup")
    assert done.exit_code == 0 and "registered: KafkaCluster, Runbook, Phase, Requester\n" in done.stdout


async def test_a_server_that_refuses_the_registration_is_named_with_what_to_ask_for() -> None:
    environment: WorkflowEnvironment
    async with await start_time_skipping_server() as environment:
        assert not await search_attributes_are_registered(environment.client)
        done = await run(environment.client, "setup")
    assert done.exit_code == 1
    assert "not allowed" in done.stderr and "temporal operator search-attribute create --name KafkaCluster" in done.stderr


async def test_an_unknown_runbook_is_bad_input(client: Client) -> None:
    done = await run(client, "list", "--runbook", "nope")
    assert done.exit_code == 2 and "replace-broker" in done.stderr


def test_the_query() -> None:
    filters = Filters(cluster="lab", runbook="Rebalance", state=State.TIMED_OUT, ticket="a'b")
    assert filters.query(are_registered=True) == (
        "WorkflowType IN ('Rebalance') AND ExecutionStatus = 'TimedOut' "
        "AND (KafkaCluster = 'lab' OR (KafkaCluster IS NULL AND WorkflowId STARTS_WITH 'lab/')) AND Ticket = 'a''b'"
    )
    assert filters.query(are_registered=False) == (
        "WorkflowType IN ('Rebalance') AND ExecutionStatus = 'TimedOut' AND WorkflowId STARTS_WITH 'lab/'"
    )
