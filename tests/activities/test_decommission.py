"""Before the moves of a decommission."""

from temporalio.testing import ActivityEnvironment

from activities.decommission import DecommissionActivities
from activities.plan_store import save
from activities.step import Access
from kafka_runbooks.models.messages import StepRequest, Token
from kafka_runbooks.models.moves import MovePlan
from tests.fakes.kubernetes import FakeKubernetes
from tests.fakes.link import PERMIT_RUN_ID, FakeLink
from tests.fakes.world import World
from tests.temporal_env import WorldClusters

TOKEN = Token(cluster="main", workflow_id="w", run_id="r", permit_run_id=PERMIT_RUN_ID)


def test_a_leaving_broker_that_does_not_answer_keeps_no_other_from_being_cordoned() -> None:
    """It may never answer again: that is why it leaves."""
    world = World(advance_at_look=False)
    world.silent[1001] = 1_000
    acts = DecommissionActivities(Access(WorldClusters(world, "main"), FakeLink()))  # type: ignore[arg-type]
    plan = MovePlan(cluster="main", kind="Decommission", title="", moves=(), leaving=(1001, 1002), made_at="")
    request = StepRequest(token=TOKEN, plan=save(FakeKubernetes(world), plan, TOKEN))
    said = ActivityEnvironment().run(acts.cordon_log_directories, request)
    assert world.cordoned == {1002: "*"}
    assert any("broker 1001" in line and "doesn't answer" in line for line in said)
