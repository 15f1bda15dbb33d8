"""Throttle overrides that operators set, kept beside the cluster, and read at every poll of an activity that copies data.

A running activity receives no updates of its workflow. So the update writes a record, which the next poll obeys, also after
a crash. Each run has a record of its own, which the release removes, or `ClearLeftovers` where the run couldn't: an override
never outlives the run that it was set in. Only the holder of the cluster's permit writes.
"""

from datetime import UTC, datetime

from activities.errors import InvalidOverride
from activities.ledgers import owner_of
from activities.permits import ensure_held
from activities.step import Steps, heartbeating, step
from kafka_runbooks.clients import store
from kafka_runbooks.clients.protocols import Kubernetes
from kafka_runbooks.models.base import Model
from kafka_runbooks.models.ledger import Owner
from kafka_runbooks.models.messages import ClearOverrideRequest, OverrideRequest, Token
from kafka_runbooks.models.operator import Override, Overrides
from kafka_runbooks.throttle import overrides


class Kept(Model):
    """A run's overrides."""

    owner: Owner
    cluster: str
    overrides: tuple[Override, ...] = ()


def name_of(run_id: str) -> str:
    return f"kafka-runbooks-overrides-{run_id}"


def load(kubernetes: Kubernetes, name: str) -> Kept | None:
    """A run's overrides by their record's name.

    Raises:
        Refused: the record exists but can't be read.
    """
    return store.load(kubernetes, name, Kept)


def in_force(kubernetes: Kubernetes, token: Token) -> Overrides:
    """The overrides of this run that hold now.

    Raises:
        Refused: the record exists but can't be read.
    """
    kept = load(kubernetes, name_of(token.run_id))
    return () if kept is None else overrides.still_in_force(kept.overrides, datetime.now(UTC))


def forget(kubernetes: Kubernetes, run_id: str) -> None:
    """The run has ended."""
    store.remove(kubernetes, name_of(run_id))


def _held(kubernetes: Kubernetes, token: Token) -> tuple[Overrides, str | None]:
    """What holds now, and the version of its record."""
    found = store.load_versioned(kubernetes, name_of(token.run_id), Kept)
    return ((), None) if found is None else (overrides.still_in_force(found[0].overrides, datetime.now(UTC)), found[1])


def _keep(kubernetes: Kubernetes, token: Token, wanted: Overrides, version: str | None) -> None:
    """Write the overrides that hold from now on."""
    name = name_of(token.run_id)
    if not wanted:
        store.remove(kubernetes, name, version=version)
        return
    kept = Kept(owner=owner_of(token), cluster=token.cluster, overrides=wanted)
    summary = "\n".join(f"{'all brokers' if one.broker_id is None else f'broker {one.broker_id}'}: {one}" for one in wanted)
    store.save(kubernetes, store.OVERRIDES, name, kept, f"run: {kept.owner}\n{summary}", version=version)


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
            held, version = _held(kubernetes, request.token)
            try:
                wanted = overrides.with_override(held, request.override, datetime.now(UTC))
            except ValueError as error:
                raise InvalidOverride(str(error)) from error
            ensure_held(self._link, request.token)
            _keep(kubernetes, request.token, wanted, version)

    @step
    def clear_throttle(self, request: ClearOverrideRequest) -> None:
        """Remove overrides; rates then continue from where they are, step by step."""
        kubernetes = self._open(request.token.cluster).kubernetes
        with heartbeating():
            held, version = _held(kubernetes, request.token)
            wanted = () if request.everything else overrides.without(held, request.broker_id)
            ensure_held(self._link, request.token)
            _keep(kubernetes, request.token, wanted, version)
