"""Hours and days of waiting, on the server whose clock jumps over timers."""

from datetime import timedelta

from temporalio.testing import WorkflowEnvironment

from kafka_runbooks.models.operator import Approval
from kafka_runbooks.models.results import Outcome
from tests.fakes.world import World
from tests.temporal_env import bench
from tests.workflows.test_replace_broker import lose, nothing_is_left, until
from workflows.replace_broker import NODE_CHECK_LONGEST, ReplaceBroker


async def test_a_node_that_comes_up_after_hours_spares_the_question(skipping_server: WorkflowEnvironment, world: World) -> None:
    """Looked for again and again meanwhile, ever less often, so that the history stays short."""
    async with bench(skipping_server, world) as runbooks:
        lose(world)
        world.add_node("elsewhere", "zone-b", "events")
        handle = await runbooks.start()
        await until(handle, lambda status: status.waiting is not None and "rack" in status.waiting.reason)
        began = await skipping_server.get_current_time()
        await skipping_server.sleep(timedelta(hours=5))
        assert await skipping_server.get_current_time() - began >= timedelta(hours=5)
        looked = [
            event async for event in handle.fetch_history_events() if event.HasField("activity_task_scheduled_event_attributes")
        ]
        most = timedelta(hours=5) / NODE_CHECK_LONGEST
        assert most / 2 < len(looked) < most + 20
        world.add_node("spare", "zone-a", "events")
        result = await handle.result()
        assert result.outcome is Outcome.DONE
        pod = world.pod_of(1001)
        assert pod is not None and pod.node == "spare"
        nothing_is_left(world)


async def test_a_plan_that_waits_a_week_for_its_approval(skipping_server: WorkflowEnvironment, world: World) -> None:
    async with bench(skipping_server, world) as runbooks:
        lose(world)
        world.add_node("spare", "zone-a", "events")
        handle = await runbooks.start(wait_for_approval=True)
        await until(handle, lambda status: status.phase == "gate")
        await skipping_server.sleep(timedelta(days=7))
        status = await handle.query(ReplaceBroker.status)
        assert status.waiting is not None and status.phase == "gate"
        await handle.execute_update(ReplaceBroker.approve, Approval(by="ana", reason="Monday"))
        result = await handle.result()
        assert result.outcome is Outcome.DONE
        nothing_is_left(world)
