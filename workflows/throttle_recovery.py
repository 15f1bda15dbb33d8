"""`ThrottleRecovery`: holds brokers that catch up on their own to a safe rate, until they are in sync.

For a broker that recovered on its own, or was restored by hand: Kafka copies to it as fast as it can, and no reassignment is in
flight whose throttle would limit that. To restore a broker, start `ReplaceBroker`, which does this too.
"""

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from activities.catch_up import CatchUpActivities
    from activities.errors import NoReplica, describe, is_type
    from kafka_runbooks.models.inputs import ThrottleRecoveryInput
    from kafka_runbooks.models.messages import RecoveryRequest, Token
    from kafka_runbooks.models.results import Outcome, Reason, RunbookResult
    from kafka_runbooks.models.steps import StepName
    from kafka_runbooks.models.wording import duration, size

from workflows import calls
from workflows.operator import Ended
from workflows.runbook import Runbook


@workflow.defn
class ThrottleRecovery(Runbook):
    """Hold brokers that are catching up to a safe rate, until they are in sync."""

    @workflow.init
    def __init__(self, request: ThrottleRecoveryInput) -> None:
        super().__init__(request)
        self._input = request

    @workflow.run
    async def run(self, request: ThrottleRecoveryInput) -> RunbookResult:
        """See `ThrottleRecoveryInput`."""
        return await self.conduct(self._follow)

    async def _follow(self, token: Token) -> RunbookResult:
        self.begin_steps()
        request = RecoveryRequest(token=token, brokers=self._input.brokers, throttle=self._input.throttle)
        names = ", ".join(map(str, request.brokers))
        with self.timed(StepName.FOLLOW_RECOVERY):
            what = f"brokers {names} catch up until they are in sync"
            try:
                followed = await calls.copy(CatchUpActivities.follow_recovery, request, what)
            except ActivityError as error:
                if not is_type(error, NoReplica):
                    raise
                remedy = "give brokers of the cluster that hold replicas"
                reason = Reason(name="no-such-brokers", message=describe(error), remedy=remedy, is_bad_input=True)
                summary = f"refused: {reason.message} ({remedy})"
                raise Ended(RunbookResult(outcome=Outcome.REFUSED, summary=summary, reasons=(reason,))) from error
        with self.timed(StepName.RELEASE):
            released = await self.release_all(token)
        seconds = sum(time.seconds for time in self._times)
        return RunbookResult(
            outcome=Outcome.FAILED if released.left_behind else Outcome.DONE,
            summary=f"brokers {names}: {followed.done_partitions} replicas are in sync after {duration(seconds)}, "
            f"at up to {size(followed.highest_throttle_bytes_per_s or 0)}/s from each source",
            highest_throttle_bytes_per_s=followed.highest_throttle_bytes_per_s,
        )
