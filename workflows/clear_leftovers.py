"""`ClearLeftovers`: removes what terminated runs have left on a cluster, according to their ledgers.

Every other runbook does the same before it plans; this one is for schedules, and for when no other runbook is due.
"""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.release import ReleaseActivities
    from kafka_runbooks.models.inputs import ClearLeftoversInput
    from kafka_runbooks.models.messages import Token
    from kafka_runbooks.models.results import Outcome, RunbookResult

from workflows import calls
from workflows.runbook import Runbook


@workflow.defn
class ClearLeftovers(Runbook):
    """Remove what terminated runs have left on a cluster: throttles, reassignments, cordons."""

    @workflow.init
    def __init__(self, request: ClearLeftoversInput) -> None:
        super().__init__(request)
        self._input = request

    @workflow.run
    async def run(self, request: ClearLeftoversInput) -> RunbookResult:
        """See `ClearLeftoversInput`."""
        return await self.conduct(self._clear)

    async def _clear(self, token: Token) -> RunbookResult:
        with self.timed("clear leftovers", phase="steps"):
            clear = ReleaseActivities.clear_expired if self._input.only_expired else ReleaseActivities.clear_leftovers
            self._released = await calls.act(clear, token, "remove what other runs left")
        removed, left = self._released.given_back, self._released.left_behind
        if left:
            summary = "left: " + "; ".join(left[:10])
            return RunbookResult(outcome=Outcome.FAILED, summary=summary)
        if not removed:
            return RunbookResult(outcome=Outcome.NOTHING_TO_DO, summary="no run has left anything")
        return RunbookResult(outcome=Outcome.DONE, summary="removed: " + "; ".join(removed[:20]))
