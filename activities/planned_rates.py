"""The rates that a plan's time is based on: what the throttle allows, what operators have set by hand, what others have set.

Rates that others have set, on a broker or for the whole cluster, stay and are obeyed; so are the overrides of the run, where the
rest of its plan is planned again. Both are named in the plan. A broker that doesn't answer is named too, and stops no plan.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from activities import ledgers, overrides
from activities.in_parallel import for_each
from kafka_runbooks.clients.clusters import ClusterClients
from kafka_runbooks.clients.errors import ClientError
from kafka_runbooks.models.cluster import ThrottleRates
from kafka_runbooks.models.ledger import RateLease
from kafka_runbooks.models.messages import Token
from kafka_runbooks.models.operator import Overrides
from kafka_runbooks.models.throttles import AdaptiveThrottle, Throttle
from kafka_runbooks.throttle import controller, leases
from kafka_runbooks.throttle import overrides as by_hand


class PlannedRates(NamedTuple):
    """What each source may send.

    Attributes:
        by_source: bytes per second.
        notes: what bounds it besides the throttle, one line each.
    """

    by_source: Mapping[int, int]
    notes: tuple[str, ...]

    @property
    def highest_bytes_per_s(self) -> int:
        """The highest rate of a source."""
        return max(self.by_source.values(), default=controller.DEFAULT_CEILING_BYTES_PER_S)


def planned_rates(clients: ClusterClients, throttle: Throttle, sources: Iterable[int], token: Token | None) -> PlannedRates:
    """The rates for a plan that copies from these live sources.

    Args:
        token: the run's; None for a preview.
    """
    brokers = sorted(set(sources))
    found = clients.kafka.rates(brokers)
    silent = [broker for broker in brokers if broker not in found]
    held, set_by_hand, notes = _of_the_run(clients, token)
    own = leases.foreign_rates({broker: rates for broker, (rates, _) in found.items()}, held)
    asked = _rate_of(clients, throttle, brokers)
    rates: dict[int, int] = {}
    for broker in brokers:
        override = by_hand.for_broker(set_by_hand, broker)
        rates[broker] = asked if override is None else override.rate_bytes_per_s
        whole = found[broker][1].leader_bytes_per_s if broker in found else None
        if broker in own:
            rates[broker] = own[broker]
            notes.append(f"broker {broker}: {own[broker]} B/s set by someone else; it stays and is obeyed")
        elif whole is not None:
            rates[broker] = min(rates[broker], whole)
            notes.append(f"broker {broker}: {whole} B/s set for the whole cluster; it stays and is obeyed")
    notes += [
        f"override for {'all brokers' if one.broker_id is None else f'broker {one.broker_id}'}: {one}" for one in set_by_hand
    ]
    notes += [f"broker {broker} doesn't answer: what others have set on it is not known" for broker in silent]
    return PlannedRates(rates, tuple(notes))


def rates_of(clients: ClusterClients, brokers: Iterable[int]) -> dict[int, ThrottleRates]:
    """The rates set on each broker itself; one that doesn't answer is left out."""
    found, _ = for_each(brokers, lambda broker: clients.kafka.throttle_rates([broker])[broker])
    return found


def _of_the_run(clients: ClusterClients, token: Token | None) -> tuple[dict[int, RateLease], Overrides, list[str]]:
    """The leases and overrides that the run has already."""
    if token is None:
        return {}, (), []
    ledger = ledgers.read(clients.kubernetes, token)
    try:
        return ledger.rates, overrides.in_force(clients.kubernetes, token), []
    except ClientError as error:
        return ledger.rates, (), [f"without overrides: {error}"]


def _rate_of(clients: ClusterClients, throttle: Throttle, sources: Iterable[int]) -> int:
    """The fixed rate, or the ceiling of an adaptive one by the capacities of the sources' nodes."""
    if not isinstance(throttle, AdaptiveThrottle):
        return throttle.rate_bytes_per_s
    types = {node.name: node.instance_type for node in clients.kubernetes.nodes()}
    brokers = set(sources)
    pods = [pod for pod in clients.kubernetes.broker_pods() if pod.broker_id in brokers]
    known = clients.settings.capacity_bytes_per_s
    return controller.ceiling(
        throttle, [known[name] for pod in pods if (name := types.get(pod.node or "")) in known and name is not None]
    )
