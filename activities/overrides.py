"""What people set by hand, kept beside the cluster, where every look of whatever moves data reads it anew.

A running activity hears no updates of its workflow. So the update writes a record, and the next look obeys it, also that of
an attempt after a crash. Who holds the cluster's permit writes; an override that ends with the moves is bound to the run that
it was set in.
"""

from datetime import UTC, datetime

from pydantic import Field
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.permits import ensure_held
from activities.step import Link, alive
from kafka_runbooks.clients import store
from kafka_runbooks.clients.clusters import Clusters
from kafka_runbooks.clients.protocols import Kubernetes
from kafka_runbooks.models.base import Model
from kafka_runbooks.models.messages import Token
from kafka_runbooks.models.operator import Override, Overrides
from kafka_runbooks.throttle import overrides

KIND = "overrides"
NAME = "kafka-runbooks-overrides"


class Kept(Model):
    """The cluster's overrides. `run_ids`: the run in which each was set, in the same order."""

    overrides: tuple[Override, ...] = ()
    run_ids: tuple[str, ...] = ()

    def in_force(self, run_id: str, now: datetime) -> Overrides:
        """Those that hold for a run."""
        found: list[Override] = []
        for override, set_in in zip(self.overrides, self.run_ids, strict=True):
            found += overrides.still_in_force((override,), now, is_moving=set_in == run_id)
        return tuple(found)


class OverrideRequest(Model):
    """`throttle set`."""

    token: Token
    override: Override


class ClearRequest(Model):
    """`throttle clear`: one broker's override, the one for all brokers (no `broker_id`), or every one."""

    token: Token
    broker_id: int | None = None
    everything: bool = Field(default=False)


def in_force(kubernetes: Kubernetes, token: Token) -> Overrides:
    """What holds now for this run."""
    kept = store.load(kubernetes, NAME, Kept)
    return () if kept is None else kept.in_force(token.run_id, datetime.now(UTC))


def _keep(kubernetes: Kubernetes, token: Token, wanted: Overrides) -> None:
    """Write what is wanted from now on; each keeps the run that it was set in."""
    if not wanted:
        store.remove(kubernetes, NAME)
        return
    before = store.load(kubernetes, NAME, Kept) or Kept()
    set_in = dict(zip(before.overrides, before.run_ids, strict=True))
    kept = Kept(overrides=wanted, run_ids=tuple(set_in.get(override, token.run_id) for override in wanted))
    summary = "\n".join(f"{'all brokers' if one.broker_id is None else f'broker {one.broker_id}'}: {one}" for one in wanted)
    store.save(kubernetes, KIND, NAME, kept, summary)


class OverridingActivities:
    """For a runbook's updates."""

    def __init__(self, clusters: Clusters, link: Link) -> None:
        self._clusters = clusters
        self._link = link

    @activity.defn
    def set_throttle(self, request: OverrideRequest) -> None:
        """Hold a broker, or all that take part, at a rate from the next look on.

        Raises:
            ApplicationError: `BadOverride`, not retryable; it has ended already, or its end has no timezone.
        """
        kubernetes = self._clusters.open(request.token.cluster).kubernetes
        with alive():
            ensure_held(self._link, request.token)
            held = in_force(kubernetes, request.token)
            try:
                wanted = overrides.with_override(held, request.override, datetime.now(UTC))
            except ValueError as error:
                raise ApplicationError(str(error), type="BadOverride", non_retryable=True) from error
            _keep(kubernetes, request.token, wanted)

    @activity.defn
    def clear_throttle(self, request: ClearRequest) -> None:
        """Take overrides back; rates then go on from where they are, by steps."""
        kubernetes = self._clusters.open(request.token.cluster).kubernetes
        with alive():
            ensure_held(self._link, request.token)
            held = in_force(kubernetes, request.token)
            wanted = () if request.everything else overrides.without(held, request.broker_id)
            _keep(kubernetes, request.token, wanted)
