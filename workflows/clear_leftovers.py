"""`ClearLeftovers`: takes back what runs that were terminated have left on a cluster, as their ledgers say.

Every other runbook does the same before it plans; this one is for when nothing else is to be run, and for a schedule.
"""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.release import EndingActivities
    from kafka_runbooks.models.inputs import ClearLeftoversInput
    from kafka_runbooks.models.messages import Released
    from kafka_runbooks.models.results import Outcome, RunbookResult
    from workflows import calls
    from workflows.runbook import Runbook


@workflow.defn
class ClearLeftovers(Runbook):
    """See the module."""

    @workflow.run
    async def run(self, request: ClearLeftoversInput) -> RunbookResult:
        """Clear what other runs left; see `ClearLeftoversInput`."""
        return await self.conduct(request, lambda: self._clear(request))

    async def _clear(self, request: ClearLeftoversInput) -> RunbookResult:
        self.enter("clear leftovers", phase="steps")
        with self.timed("clear leftovers"):
            clear = EndingActivities.sweep_expired if request.only_expired else EndingActivities.clear_leftovers
            cleared: Released = await workflow.execute_activity_method(
                clear, self.token, **calls.act("give back what other runs left")
            )
        self._released = cleared
        if cleared.left_behind:
            return RunbookResult(
                outcome=Outcome.FAILED, summary="left, because their brokers are down: " + "; ".join(cleared.left_behind[:10])
            )
        if not cleared.given_back:
            return RunbookResult(outcome=Outcome.NOTHING_TO_DO, summary="no run has left anything")
        return RunbookResult(outcome=Outcome.DONE, summary="given back: " + "; ".join(cleared.given_back[:20]))
