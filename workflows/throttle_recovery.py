"""`ThrottleRecovery`: brokers that catch up by themselves do so no faster than is safe, until they are in sync.

For a broker that came back on its own, or was brought back by hand: Kafka copies to it as fast as it can, and nothing that
reassigns partitions is there to hold it. Whoever has a broker to bring back starts `ReplaceBroker`, which does this too.
"""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.recovery import RecoveringActivities
    from kafka_runbooks.models.inputs import ThrottleRecoveryInput
    from kafka_runbooks.models.messages import RecoveryStep
    from kafka_runbooks.models.results import Outcome, RunbookResult
    from kafka_runbooks.models.status import Progress
    from kafka_runbooks.models.wording import duration, size
    from workflows import calls
    from workflows.runbook import Runbook

FOLLOW = "follow the recovery"


@workflow.defn
class ThrottleRecovery(Runbook):
    """See the module."""

    @workflow.run
    async def run(self, request: ThrottleRecoveryInput) -> RunbookResult:
        """See `ThrottleRecoveryInput`."""
        return await self.conduct(request, lambda: self._follow(request))

    async def _follow(self, request: ThrottleRecoveryInput) -> RunbookResult:
        self.begin_steps()
        step = RecoveryStep(token=self.token, brokers=request.brokers, throttle=request.throttle)
        names = ", ".join(map(str, request.brokers))
        with self.timed(FOLLOW):
            followed: Progress = await workflow.execute_activity_method(
                RecoveringActivities.follow_recovery,
                step,
                **calls.wait(f"brokers {names} catch up until they are in sync"[:200]),
            )
        with self.timed("give back throttles"):
            released = await self.give_back_all()
        seconds = sum(time.seconds for time in self._times)
        return RunbookResult(
            outcome=Outcome.FAILED if released.left_behind else Outcome.DONE,
            summary=f"brokers {names}: {followed.done_partitions} replicas are in sync after {duration(seconds)}, "
            f"at up to {size(followed.highest_throttle_bytes_per_s or 0)}/s from each source",
            highest_throttle_bytes_per_s=followed.highest_throttle_bytes_per_s,
        )
