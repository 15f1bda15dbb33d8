"""The registry of runbooks names models that exist, and every workflow that is a runbook."""

import subprocess
import sys

import pytest

from activities import ACTIVITIES
from kafka_runbooks.catalogue import RUNBOOKS, command_name
from kafka_runbooks.models.inputs import RunbookInput
from kafka_runbooks.models.plans import Plan
from workflows.preview import plan_activity
from workflows.registry import WORKFLOWS


@pytest.mark.parametrize("name", RUNBOOKS)
def test_models_exist(name: str) -> None:
    runbook = RUNBOOKS[name]
    assert issubclass(runbook.input, RunbookInput)
    assert runbook.input.__name__ == f"{name}Input"
    assert runbook.plan is None or issubclass(runbook.plan, Plan)


def test_every_runbook_has_a_workflow_and_a_plan_activity_where_it_has_a_plan() -> None:
    assert {workflow.__name__ for workflow in WORKFLOWS} == {
        *RUNBOOKS,
        "CertificateWatch",
        "ClusterPermit",
        "Doctor",
        "HealthCheck",
        "Notify",
        "Preview",
    }
    steps = {name for steps in ACTIVITIES for name, member in vars(steps).items() if getattr(member, "is_step", False)}
    planned = {plan_activity(name) for name, runbook in RUNBOOKS.items() if runbook.plan_model is not None}
    assert planned == {name for name in steps if name.startswith("plan_")}


def test_names_of_commands() -> None:
    assert command_name("SetReplicationFactor") == "set-replication-factor"
    assert len({command_name(name) for name in RUNBOOKS}) == len(RUNBOOKS)


def test_a_workflow_s_module_imports_no_other_runbook() -> None:
    """The sandbox imports it for each run anew."""
    code = "import sys, workflows.doctor; print(*(name for name in sys.modules if name.startswith('workflows.')))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert set(found) <= {"workflows.doctor", "workflows.calls"}
