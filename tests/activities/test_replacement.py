"""What preflight reports about a broker that is to be replaced, on a cluster in memory."""

from temporalio.testing import ActivityEnvironment

from activities.replacement import ReplacementActivities
from activities.step import Access
from kafka_runbooks.models.inputs import NodeState, ReplaceBrokerInput
from kafka_runbooks.models.messages import PlanRequest, Survey, Token
from tests.fakes.world import World
from tests.temporal_env import WorldClusters, make_world


def survey(world: World, **fields: object) -> Survey:
    """A preview, which keeps nothing."""
    acts = ReplacementActivities(Access(WorldClusters(world, "main"), None))  # type: ignore[arg-type]
    request = ReplaceBrokerInput.model_validate({"cluster": "main", "requester": "test", "broker_id": 1001, **fields})
    asked: PlanRequest[ReplaceBrokerInput] = PlanRequest(request=request)
    found: Survey = ActivityEnvironment().run(acts.plan_replace_broker, asked)
    return found


def test_a_drained_broker_that_is_still_up_is_reported_with_what_its_stop_would_cost() -> None:
    world = make_world()
    world.nodes["node-events-a"].is_cordoned = True
    assert survey(world, node_state=NodeState.RETURNS).notes == (), "every partition has a replica to spare"
    world.kill_broker(1002)
    notes = survey(world, node_state=NodeState.RETURNS).notes
    assert [note for note in notes if note.startswith("if broker 1001 goes down now: topic events.a, partition ")]
    assert all("too few in-sync replicas without broker 1001" in note for note in notes), notes


def test_a_preview_keeps_nothing() -> None:
    world = make_world()
    world.lose_node("node-events-a")
    found = survey(world)
    assert (
        found.plan is not None
        and [one.broker_id for one in found.plan.returning] == [1001]
        and world.records == {}
        and world.acts == []
    )


def test_a_substitution_that_is_planned_again_names_no_broker_twice() -> None:
    world = make_world()
    acts = ReplacementActivities(Access(WorldClusters(world, "main"), None))  # type: ignore[arg-type]
    asks: dict[str, object] = {"cluster": "main", "requester": "test", "broker_id": 1001, "replacement_broker_id": 1004}
    request, token = (
        ReplaceBrokerInput.model_validate(asks),
        Token(cluster="main", workflow_id="w", run_id="r", permit_run_id="p"),
    )
    asked: PlanRequest[ReplaceBrokerInput] = PlanRequest(request=request, token=token)
    approved: Survey = ActivityEnvironment().run(acts.plan_replace_broker, asked)
    assert approved.reasons == () and approved.plan is not None
    world.grow_topic("events.a", (1001, 1004, 1002))
    again = asked.model_copy(update={"approved": approved.plan.reference})
    found: Survey = ActivityEnvironment().run(acts.plan_replace_broker, again)
    assert [reason.name for reason in found.reasons] == ["two-replicas:events.a"]
    assert found.plan is None, "a plan that can't be carried out is none"
