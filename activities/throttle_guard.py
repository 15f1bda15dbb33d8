"""The guard over a run's rates while no step copies: in a pause, at a gate, in a wait.

What is in flight then continues, and a broker may restart and catch up.
"""

from activities import ledgers, plan_store
from activities.step import Steps, poll, step
from activities.throttle import Throttling
from kafka_runbooks.clients.errors import Unreachable
from kafka_runbooks.models.ledger import Ledger
from kafka_runbooks.models.messages import StepRequest
from kafka_runbooks.models.moves import Copy
from kafka_runbooks.models.replacement import ReplacementPlan
from kafka_runbooks.safety.urgency import urgent_among
from kafka_runbooks.throttle import leases


class ThrottleActivities(Steps):
    """The guard while no step copies."""

    @step
    def keep_throttles(self, request: StepRequest) -> None:
        """Look after the run's rates until it is cancelled, or the ledger holds none any more.

        For pauses, gates and waits, in which what is in flight continues, and a broker may restart and catch up.
        """
        clients = self._open(request.token.cluster)
        plan = plan_store.load_for(clients.kubernetes, request)
        destinations = plan.destinations if isinstance(plan, ReplacementPlan) else ()
        throttling = Throttling(clients, self._link, request.token, plan.throttle)
        known: list[Ledger] = []

        def observe() -> bool | None:
            try:
                known[:] = [ledgers.read(clients.kubernetes, request.token)]
                known[:] = [ledgers.renewed(clients.kubernetes, known[0])]
            except Unreachable:
                if not known:
                    raise
            (ledger,) = known
            if not ledger.rates:
                return True
            moving = {move.name: move for move in clients.kafka.reassignments()}
            snapshot = clients.kafka.snapshot()
            live, partitions = snapshot.live_broker_ids, {partition.name: partition for partition in snapshot.partitions}
            copies = [
                Copy(partitions[owned.name], moving[owned.name].adding)
                for owned in ledger.reassignments
                if owned.name in moving and owned.name in partitions
            ]
            names = {copy.partition.name for copy in copies}
            catching_up = leases.catching_up(snapshot.partitions, destinations)
            copies += [copy for copy in catching_up if copy.partition.name not in names]
            # Until data flows, the rates wait for it as they are; their entries too.
            if leases.flowing(leases.with_other_fetchers(copies, live), live) or not copies:
                adding = {name: move.adding for name, move in moving.items()}
                urgency = urgent_among((copy.partition for copy in copies), snapshot, adding)
                throttling.adapt(copies, live, followers=snapshot.followers, urgency=urgency)
            return None

        poll(observe)
