"""Every run can be found by cluster, runbook, phase, requester and ticket; where that isn't set up, it runs and says so."""

import pytest

from kafka_runbooks import search_attributes
from kafka_runbooks.models.results import Outcome
from tests.temporal_env import Bench, bench, make_world, start_server
from workflows.clear_leftovers import ClearLeftovers


async def test_a_run_is_found_by_what_on_call_engineers_ask_for(runbooks: Bench) -> None:
    handle = await runbooks.start_runbook("ClearLeftovers", ticket="INC-7")
    assert (await handle.result()).outcome is Outcome.NOTHING_TO_DO
    found = (await handle.describe()).typed_search_attributes
    assert found.get(search_attributes.CLUSTER) == runbooks.cluster
    assert found.get(search_attributes.RUNBOOK) == "ClearLeftovers"
    assert found.get(search_attributes.REQUESTER) == "test"
    assert found.get(search_attributes.TICKET) == "INC-7"
    assert found.get(search_attributes.PHASE) == "nothing to do"


@pytest.mark.server
async def test_a_namespace_without_them_is_no_obstacle() -> None:
    async with await start_server() as environment, bench(environment, make_world()) as ready:
        handle = await ready.start_runbook("ClearLeftovers")
        assert (await handle.result()).outcome is Outcome.NOTHING_TO_DO
        status = await handle.query(ClearLeftovers.status)
        assert any("kafka-runbooks setup" in note for note in status.notes)
