"""Carrying out a frozen plan of moves: one long activity around the mover, which observes, decides and acts on every poll."""

from activities import evacuations, plan_store
from activities.errors import PlanDrift
from activities.mover import SETTLED_POLLS, Mover
from activities.permits import ensure_held
from activities.step import Steps, heartbeating, poll, step
from kafka_runbooks.models.messages import EvacuationRequest, StepRequest
from kafka_runbooks.models.status import Progress


class MoveActivities(Steps):
    """Moving partitions."""

    @step
    def move_partitions(self, request: StepRequest) -> Progress:
        """Return when every partition of the plan is where it should be. Cancelled (a pause): in-flight moves continue.

        Raises:
            PlanDrift: the rest must be planned again (partitions of the plan were moved or added by others, a destination is
                dead); none of the run's reassignments is in flight then.
        """
        clients = self._open(request.token.cluster)
        mover = Mover(clients, self._link, request, plan_store.load_moves(clients.kubernetes, request))
        done_polls = 0

        def observe() -> Progress | None:
            nonlocal done_polls
            decision, progress = mover.advance()
            done_polls = done_polls + 1 if decision.is_done else 0
            # At the start of a rollback, lagging metadata may still show the state before the moves.
            if done_polls >= (SETTLED_POLLS if request.is_rollback else 1):
                return progress
            if decision.must_replan and not decision.is_done:
                why = [f"broker {broker} is dead" for broker in decision.lost] + list(decision.drift) + list(decision.added)
                raise PlanDrift("; ".join(why[:5]))
            return None

        return poll(observe)

    @step
    def forget_evacuation(self, request: EvacuationRequest) -> None:
        """The leaders are back: delete the stored previous order."""
        with heartbeating():
            ensure_held(self._link, request.token)
            evacuations.forget(self._open(request.token.cluster), request.brokers)
