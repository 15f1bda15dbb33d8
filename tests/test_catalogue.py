"""The registry of runbooks names models that exist, and every workflow that is a runbook."""

import pytest

from kafka_runbooks.catalogue import RUNBOOKS, command_name
from kafka_runbooks.models.inputs import RunbookInput
from kafka_runbooks.models.moves import MovePlan
from kafka_runbooks.models.plans import ReplacementPlan


@pytest.mark.parametrize("name", RUNBOOKS)
def test_models_exist(name: str) -> None:
    runbook = RUNBOOKS[name]
    assert issubclass(runbook.input, RunbookInput)
    assert runbook.input.__name__ == f"{name}Input"
    assert runbook.plan in (None, ReplacementPlan, MovePlan)


def test_names_of_commands() -> None:
    assert command_name("SetReplicationFactor") == "set-replication-factor"
    assert len({command_name(name) for name in RUNBOOKS}) == len(RUNBOOKS)
