"""Nothing that a history keeps grows with the cluster: Temporal takes 2 MB at once, and a run that sends more never gets on."""

from datetime import UTC, datetime

import pytest
from temporalio.testing import ActivityEnvironment

from activities import step
from activities.replacement import ReplacementActivities
from activities.step import Access
from kafka_runbooks.models.inputs import ReplaceBrokerInput
from kafka_runbooks.models.messages import PlanRequest, Released, Survey
from kafka_runbooks.models.results import Check, Decision, Outcome, PhaseTime, Reason, RunbookResult
from kafka_runbooks.models.status import Progress, Status, Waiting
from tests.fakes.world import World
from tests.temporal_env import WorldClusters

LARGE = 300_000
LONG = "x" * 100_000
NOW = datetime(2026, 1, 1, tzinfo=UTC)
REASONS = tuple(Reason(name=f"reason:{number}", message=LONG, remedy=LONG) for number in range(5000))
LINES = (LONG,) * 5000


@pytest.mark.parametrize(
    "model",
    [
        Survey(reasons=REASONS, notes=LINES, nothing_to_do=LONG),
        Released(given_back=LINES, left_behind=LINES),
        Progress(waiting=Waiting(reason=LONG, since=NOW, unblocks=LONG, blocking=LINES), note=LONG),
        RunbookResult(
            outcome=Outcome.FAILED,
            summary=LONG,
            reasons=REASONS,
            checks=tuple(Check(name="c", passed=False, detail=LONG) for _ in range(5000)),
            steps=(PhaseTime(step="s", seconds=1.0),) * 5000,
            left_behind=LINES,
        ),
        Status(
            runbook="r",
            cluster="c",
            phase="p",
            reasons=REASONS,
            notes=LINES,
            owned_throttles=LINES,
            times=(PhaseTime(step="s", seconds=1.0),) * 5000,
            decisions=(Decision(action="pause", by="b" * 200, reason="r" * 200, at=NOW),) * 2000,
        ),
    ],
    ids=lambda model: type(model).__name__,
)
def test_what_runs_exchange_is_bounded_by_its_type(model: Survey) -> None:
    text = model.model_dump_json()
    assert len(text) < 2 * LARGE
    assert type(model).model_validate_json(text) == model, "and reading it again changes nothing"


def test_what_is_left_out_is_said() -> None:
    survey = Survey(reasons=REASONS, notes=("a", *LINES))
    assert survey.reasons[-1].message == "4900 more reasons like these"
    assert survey.notes[-1] == "… and 4901 more"


def test_preflight_of_a_broker_with_five_thousand_topics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each partition has lost its last in-sync replica: 2.1 MB of reasons, once."""
    world = World(advance_at_look=False)
    monkeypatch.setattr(world, "settle", lambda: None)
    for number in range(5000):
        world.add_topic(f"a-topic-with-a-name-of-usual-length.{number}", 1, (1001,), replication_factor=1)
    monkeypatch.undo()
    pod = world.pod_of(1001)
    assert pod is not None and pod.node is not None
    world.lose_node(pod.node)
    monkeypatch.setattr(step.Reporter, "_signal", lambda reporter, progress: None)
    request = ReplaceBrokerInput(cluster="main", requester="test", broker_ids=(1001,))
    asked: PlanRequest[ReplaceBrokerInput] = PlanRequest(request=request)
    steps = ReplacementActivities(Access(clusters=WorldClusters(world, "main"), link=None))  # type: ignore[arg-type]
    survey = ActivityEnvironment().run(steps.plan_replace_broker, asked)
    assert len(survey.reasons) == 101
    assert len(survey.model_dump_json()) < LARGE
