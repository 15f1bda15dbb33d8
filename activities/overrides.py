"""Throttle overrides that operators set, kept beside the cluster, and read at every poll of an activity that copies data.

A running activity receives no updates of its workflow. So the update writes a record, which the next poll obeys, also after
a crash. Only the holder of the cluster's permit writes; an override that ends with the moves is bound to the run it was set in.
"""

from datetime import UTC, datetime

from activities.errors import InvalidOverride
from activities.permits import ensure_held
from activities.step import Steps, heartbeating, step
from kafka_runbooks.clients import store
from kafka_runbooks.clients.protocols import Kubernetes
from kafka_runbooks.models.base import Model
from kafka_runbooks.models.messages import ClearOverrideRequest, OverrideRequest, Token
from kafka_runbooks.models.operator import Override, Overrides
from kafka_runbooks.throttle import overrides

KIND = "overrides"
NAME = "kafka-runbooks-overrides"


class Kept(Model):
    """The cluster's overrides. `run_ids`: the run in which each was set, in the same order."""

    overrides: tuple[Override, ...] = ()
    run_ids: tuple[str, ...] = ()

    def in_force(self, run_id: str, now: datetime) -> Overrides:
        """The overrides that apply to a run."""
        found: list[Override] = []
        for override, set_in in zip(self.overrides, self.run_ids, strict=True):
            found += overrides.still_in_force((override,), now, is_moving=set_in == run_id)
        return tuple(found)


def in_force(kubernetes: Kubernetes, token: Token) -> Overrides:
    """The overrides that apply to this run now."""
    kept = store.load(kubernetes, NAME, Kept)
    return () if kept is None else kept.in_force(token.run_id, datetime.now(UTC))


def _keep(kubernetes: Kubernetes, token: Token, wanted: Overrides) -> None:
    """Write the overrides that apply from now on; each keeps the run that it was set in."""
    if not wanted:
        store.remove(kubernetes, NAME)
        return
    before = store.load(kubernetes, NAME, Kept) or Kept()
    set_in = dict(zip(before.overrides, before.run_ids, strict=True))
    kept = Kept(overrides=wanted, run_ids=tuple(set_in.get(override, token.run_id) for override in wanted))
    summary = "\n".join(f"{'all brokers' if one.broker_id is None else f'broker {one.broker_id}'}: {one}" for one in wanted)
    store.save(kubernetes, KIND, NAME, kept, summary)


class OverrideActivities(Steps):
    """Throttle overrides, for a runbook's updates."""

    @step
    def set_throttle(self, request: OverrideRequest) -> None:
        """Hold a broker, or all participants, at a rate from the next poll on.

        Raises:
            InvalidOverride: it has expired already, or its expiry has no time zone.
        """
        kubernetes = self._open(request.token.cluster).kubernetes
        with heartbeating():
            ensure_held(self._link, request.token)
            held = in_force(kubernetes, request.token)
            try:
                wanted = overrides.with_override(held, request.override, datetime.now(UTC))
            except ValueError as error:
                raise InvalidOverride(str(error)) from error
            _keep(kubernetes, request.token, wanted)

    @step
    def clear_throttle(self, request: ClearOverrideRequest) -> None:
        """Remove overrides; rates then continue from where they are, step by step."""
        kubernetes = self._open(request.token.cluster).kubernetes
        with heartbeating():
            ensure_held(self._link, request.token)
            held = in_force(kubernetes, request.token)
            wanted = () if request.everything else overrides.without(held, request.broker_id)
            _keep(kubernetes, request.token, wanted)
