"""Whatever ends a run: it gives back what it has set, or says what it couldn't, and its result is kept."""

import asyncio
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus

from activities import catch_up
from kafka_runbooks.models import history
from kafka_runbooks.models.operator import Abort, Approval, Override
from kafka_runbooks.models.results import Outcome
from kafka_runbooks.models.status import Status
from tests.fakes.world import MEGABYTE
from tests.temporal_env import Bench
from tests.workflows.test_replace_broker import ME, SLOW, Handle, failure, lose, nothing_is_left, until, waits
from workflows.replace_broker import ReplaceBroker


async def in_catch_up(runbooks: Bench, **fields: Any) -> Handle:
    lose(runbooks.world)
    runbooks.world.add_node("spare", "zone-a", "events")
    handle = await runbooks.start(**SLOW, **fields)
    await until(handle, lambda status: status.step == "follow the catch-up" and status.progress is not None)
    assert runbooks.world.rates[1002].leader_bytes_per_s is not None
    return handle


async def test_a_result_that_does_not_decode_is_no_reason_to_keep_a_throttle(
    runbooks: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a worker of another version may write it. Decoded by the SDK it ended the run past every `finally`."""
    monkeypatch.setattr(catch_up, "poll", lambda observe: {"done_bytes": "plenty"})
    lose(runbooks.world)
    runbooks.world.add_node("spare", "zone-a", "events")
    result = await failure(await runbooks.start(**SLOW))
    assert result.outcome is Outcome.FAILED and "done_bytes" in result.summary
    nothing_is_left(runbooks.world)


@pytest.mark.parametrize("way", ["cancel", "terminate"])
async def test_a_permit_ended_by_hand_costs_neither_the_result_nor_the_give_back(runbooks: Bench, way: str) -> None:
    handle = await in_catch_up(runbooks)
    permit = runbooks.client.get_workflow_handle(f"kafka-permit/{runbooks.cluster}")
    await (permit.cancel() if way == "cancel" else permit.terminate("by hand"))
    result = await asyncio.wait_for(failure(handle), 20)
    assert result.outcome is Outcome.FAILED and "permit" in result.summary
    assert result.left_behind == ()
    nothing_is_left(runbooks.world)
    assert (await permit.describe()).status != WorkflowExecutionStatus.RUNNING


async def test_where_another_run_holds_the_cluster_by_then_it_says_what_stays(runbooks: Bench) -> None:
    handle = await in_catch_up(runbooks)
    waiting = await runbooks.start_runbook("ThrottleRecovery", brokers=[1003], when_busy="wait")
    await until(waiting, waits)
    await runbooks.client.get_workflow_handle(f"kafka-permit/{runbooks.cluster}").terminate("by hand")
    result = await asyncio.wait_for(failure(handle), 20)
    assert result.outcome is Outcome.FAILED
    await waiting.cancel()
    assert result.left_behind == () or "ClearLeftovers" in result.left_behind[0]


async def test_a_cancel_while_it_gives_back_disturbs_nothing(runbooks: Bench) -> None:
    handle = await in_catch_up(runbooks)
    world, cancelled = runbooks.world, asyncio.Event()
    loop = asyncio.get_running_loop()

    def slowly(name: str) -> None:
        if name == "set_throttled_replicas" and not cancelled.is_set():
            asyncio.run_coroutine_threadsafe(handle.cancel(), loop).result(5)
            loop.call_soon_threadsafe(cancelled.set)

    await handle.execute_update(ReplaceBroker.abort, Abort(by="ana", reason="enough"))
    world.before_act = slowly
    result = await asyncio.wait_for(failure(handle), 20)
    assert result.outcome is Outcome.ABORTED
    nothing_is_left(world)


async def test_a_run_ends_in_order_before_its_history_is_full(runbooks: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit the server terminates: no `finally`, rates stay, nobody is told."""
    seen: list[Status] = []
    handle = await in_catch_up(runbooks)
    length = (await handle.describe()).raw_description.workflow_execution_info.history_length
    monkeypatch.setattr(history, "LIMIT_EVENTS", int((length + 20) / history.END_SHARE))
    runbooks.world.frozen.add(1001)

    async def pause_and_resume() -> None:
        while True:
            seen.append(await handle.execute_update(ReplaceBroker.pause, ME))
            await handle.execute_update(ReplaceBroker.resume, ME)

    operator = asyncio.create_task(pause_and_resume())
    result = await asyncio.wait_for(failure(handle), 20)
    operator.cancel()
    assert result.outcome is Outcome.FAILED
    assert "history is nearly full" in result.summary and "start it again" in result.summary
    assert any("more than 50% full" in note for note in seen[-1].notes)
    nothing_is_left(runbooks.world)
    runbooks.started.clear()  # With the real limit it would not replay: its history is not one to record.


async def test_an_override_set_at_the_gate_ends_with_its_run(runbooks: Bench) -> None:
    lose(runbooks.world)
    handle = await runbooks.start(wait_for_approval=True)
    await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    rate = Override(rate_bytes_per_s=MEGABYTE, by="ana", reason="checks lag")
    await handle.execute_update(ReplaceBroker.set_throttle, rate)
    await handle.execute_update(ReplaceBroker.abort, Abort(by="ana", reason="not tonight"))
    assert (await failure(handle)).outcome is Outcome.ABORTED
    assert not [name for name, (kind, _) in runbooks.world.records.items() if kind == "overrides"]


async def test_a_step_that_no_worker_has_taken_yet_says_so(runbooks: Bench) -> None:
    world = runbooks.world
    lose(world)
    world.is_kafka_away = True
    handle = await runbooks.start()
    first = await until(handle, lambda status: status.step.startswith("clear leftovers") and status.waiting is not None)
    assert first.waiting is not None and "no report from a worker yet" in first.waiting.reason
    told = await until(handle, lambda status: status.waiting is not None and "Kafka doesn't answer" in status.waiting.reason)
    assert told.step == "plan", "a step that fails again and again"
    await handle.terminate("for the test")


async def test_a_look_that_fails_keeps_the_attempt_and_is_told(runbooks: Bench) -> None:
    """The pace, the rates and since when a broker is down are in its memory."""
    handle = await in_catch_up(runbooks)
    runbooks.world.is_kafka_away = True
    await until(handle, lambda status: status.waiting is not None and "Kafka doesn't answer" in status.waiting.reason)
    pending = (await handle.describe()).raw_description.pending_activities
    assert [(one.activity_type.name, one.attempt) for one in pending] == [("follow_catch_up", 1)]
    runbooks.world.is_kafka_away = False
    assert (await handle.result()).outcome is Outcome.DONE
    nothing_is_left(runbooks.world)


async def test_on_a_cluster_of_two_persons_nobody_approves_his_own_run(
    runbooks: Bench,
) -> None:
    lose(runbooks.world)
    runbooks.world.add_node("spare", "zone-a", "events")
    runbooks.clusters.want_second_person()
    refused = await failure(await runbooks.start(wait_for_approval=False))
    assert refused.outcome is Outcome.REFUSED and "wait_for_approval" in refused.summary
    assert runbooks.world.acts == [act for act in runbooks.world.acts if act == "write_record"]
    handle = await runbooks.start(wait_for_approval=True)
    await until(handle, lambda status: status.phase == "gate" and status.waiting is not None)
    with pytest.raises(Exception) as raised:
        await handle.execute_update(ReplaceBroker.approve, Approval(by=" TEST ", reason="mine"))
    assert "second person" in str(raised.value.__cause__)
    await handle.execute_update(ReplaceBroker.approve, Approval(by="bo", reason="looked at it"))
    assert (await handle.result()).outcome is Outcome.DONE
