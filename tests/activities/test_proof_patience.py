"""The exit contract is proven again for as long as what was observed may lag, however long one look takes."""

import pytest
from temporalio.testing import ActivityEnvironment

from activities import exit_contract, plan_store, step
from activities.exit_contract import ExitContractActivities
from activities.step import Access
from kafka_runbooks.models.messages import ProofRequest, StepRequest, Token
from kafka_runbooks.models.plans import PlanReference
from kafka_runbooks.models.results import Check
from tests.fakes.world import World
from tests.temporal_env import WorldClusters

TOKEN = Token(cluster="main", workflow_id="w", run_id="r", permit_run_id="p")


class SlowLooks:
    """Each takes a minute; what lags behind is there at the second."""

    def __init__(self) -> None:
        self.now = 0.0
        self.looks = 0

    def monotonic(self) -> float:
        return self.now

    def checks(self, *_: object) -> tuple[Check, ...]:
        self.now += 60.0
        self.looks += 1
        return (Check(name="in sync", passed=self.looks > 1, detail="d"),)


def test_a_look_that_takes_longer_than_the_patience_is_not_the_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SlowLooks()
    monkeypatch.setattr(exit_contract, "time", slow)
    monkeypatch.setattr(exit_contract, "_checks", slow.checks)
    monkeypatch.setattr(plan_store, "load_for", lambda *_: None)
    monkeypatch.setattr(step, "SHORT_POLL_SECONDS", 0.0)
    steps = ExitContractActivities(Access(clusters=WorldClusters(World(), "main"), link=None))  # type: ignore[arg-type]
    reference = PlanReference(plan_id="p", sha256="s", kind="RunPlan")
    proof = ProofRequest(step=StepRequest(token=TOKEN, plan=reference))
    (check,) = ActivityEnvironment().run(steps.prove_exit_contract, proof)
    assert check.passed and slow.looks == 2
