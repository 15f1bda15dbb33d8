"""The runbooks that restart nodes in rounds: choose a round, take it to its end, and the next.

A round in hand is always ended: its brokers are up and in sync again before a pause or an abort takes effect, for a broker left
down is worse than a roll that ends a minute later. A second abort ends it at once.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.restarts import RestartActivities
    from kafka_runbooks.models.inputs import PlannedInput, RestartInput
    from kafka_runbooks.models.messages import Round, StepRequest
    from kafka_runbooks.models.plans import PlanSummary
    from kafka_runbooks.models.status import Progress
    from kafka_runbooks.models.steps import StepName
    from kafka_runbooks.models.wording import duration

from workflows import calls
from workflows.planned import PlannedRunbook


class RestartRunbook(PlannedRunbook):
    """Base of the runbooks that restart nodes in rounds."""

    nodes = "nodes"
    """What restarts, for people."""

    def __init__(self, request: PlannedInput) -> None:
        super().__init__(request)
        self._elects = isinstance(request, RestartInput) and request.wait_for == "preferred leaders"
        self._round = Round(node_ids=(), done=0, total=0)
        self._rounds_seconds: list[float] = []

    def question(self, plan: PlanSummary) -> str:
        how_long = f": {plan.batches} rounds, about {duration(plan.eta_seconds)}" if plan.batches else ""
        return f"the plan waits: {plan.title}{how_long}"

    def undone(self) -> str:
        """What is to be said of a run that ends now."""
        done, total = self._round.done, self._round.total
        return f"{done} of {total} {self.nodes} have been restarted" if done < total else ""

    async def roll(self, request: StepRequest) -> None:
        """Restart the nodes of the plan, or only those that the request names, round by round."""
        while True:
            await self.pause_point()
            with self.timed(StepName.CHOOSE_ROUND):
                what = f"the next {self.nodes} that may go down"
                self._round = await self.choose(request, what)
                self._undone = self.undone()
            if not self._round.node_ids:
                return
            await self.pause_point()
            await self._to_the_end(request.model_copy(update={"broker_ids": self._round.node_ids}))

    async def _to_the_end(self, request: StepRequest) -> None:
        """Take a round to its end, also when the run is aborted meanwhile; not when it is aborted again."""
        named = ", ".join(map(str, request.broker_ids))
        await self.to_the_end(
            self._restart(request), f"once {named} are back in sync", f"{named} may still be down or not in sync"
        )

    async def to_the_end(self, work: Coroutine[Any, Any, None], ends: str, otherwise: str) -> None:
        """Take something in hand to its end, also when the run is aborted meanwhile; not when it is aborted again.

        Args:
            ends: when that is.
            otherwise: what is left behind by an end at once.
        """
        task = asyncio.create_task(work)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                self._notes = (*self._notes, f"ends {ends}; abort again to end at once, as it is then")
                self.show()
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError:
                task.cancel()
                await workflow.wait([task])
                self._undone += f"; {otherwise}"
                raise
            raise

    async def _restart(self, request: StepRequest) -> None:
        began, named = workflow.now(), ", ".join(map(str, request.broker_ids))
        with self.timed(StepName.RESTART):
            restarting = await self.take_down(request, named)
        if not restarting:
            return  # the cluster has changed since the round was chosen: another one is
        request = request.model_copy(update={"broker_ids": restarting})
        await self.follow(request, named)
        if self._elects:
            with self.timed(StepName.ELECT):
                await self.elect(request)
        self._rounds_seconds.append((workflow.now() - began).total_seconds())
        self._round = self._round.model_copy(update={"done": self._round.done + len(restarting)})
        self._undone = self.undone()

    async def choose(self, request: StepRequest, what: str) -> Round:
        """The next round."""
        return await calls.wait(RestartActivities.choose_round, request, what)

    async def take_down(self, request: StepRequest, named: str) -> tuple[int, ...]:
        """Tell a round's nodes to go down; returns those that were told."""
        return await calls.act(RestartActivities.restart_nodes, request, f"restart {named}")

    async def follow(self, request: StepRequest, named: str) -> None:
        """Wait until a round is over."""
        with self.timed(StepName.FOLLOW_RESTART):
            await calls.wait(RestartActivities.follow_restart, request, f"until {named} are up and in sync")

    def note_progress(self, progress: Progress) -> None:
        """With the nodes that are done, and the time that the rest takes if it goes on like this."""
        done, total = self._round.done, self._round.total
        eta = sum(self._rounds_seconds) / done * (total - done) if done else None
        note = f"{done} of {total} {self.nodes}" + (
            f"; now {', '.join(map(str, self._round.node_ids))}" if self._round.node_ids else ""
        )
        super().note_progress(progress.model_copy(update={"eta_seconds": eta, "note": note}))
