"""Which ledgers' contents may be removed on a schedule: those whose lease has expired, and only those.

Three conditions must hold, and unknown counts as false: the ledger belongs to this cluster and names an owner; its lease has
expired, with a margin for clock skew; and the owning run is not open. A run that Temporal no longer knows (retention) counts as
closed; where Temporal doesn't answer, nothing is removed.

Each setting is still checked before it is removed (`leases`): values changed by others since are left alone.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from kafka_runbooks.models.ledger import Ledger

CLOCK_MARGIN = timedelta(minutes=2)


class RunState(StrEnum):
    """The state, in Temporal, of the run that owns a ledger."""

    OPEN = "open"
    CLOSED = "closed"
    UNKNOWN = "unknown"


class Verdict(NamedTuple):
    """Whether to remove what one ledger lists, and why or why not."""

    ledger: Ledger
    sweep: bool
    why: str


def judge(ledgers: Iterable[Ledger], cluster: str, now: datetime, states: Mapping[str, RunState]) -> tuple[Verdict, ...]:
    """One verdict for each ledger, in the order given.

    Args:
        ledgers: those found beside the cluster.
        cluster: the cluster's name.
        now: with a time zone.
        states: by `str(ledger.owner)`; one that isn't in it is unknown.
    """
    return tuple(Verdict(ledger, *_judge(ledger, cluster, now, states)) for ledger in ledgers)


def _judge(ledger: Ledger, cluster: str, now: datetime, states: Mapping[str, RunState]) -> tuple[bool, str]:
    owner = ledger.owner
    if ledger.cluster != cluster:
        return False, f"it belongs to cluster {ledger.cluster}, not to {cluster}"
    if not owner.workflow_id or not owner.run_id:
        return False, "it names no owner"
    if ledger.is_empty:
        return False, "it is empty"
    state = states.get(str(owner), RunState.UNKNOWN)
    if state is RunState.OPEN:
        return False, f"{owner} is open and cleans up itself"
    if state is RunState.UNKNOWN:
        return False, f"whether {owner} is open is not known"
    left = owner.expires_at + CLOCK_MARGIN - now
    if left > timedelta():
        return False, f"{owner} is {state}; its lease expires in {left.total_seconds():.0f} s"
    return True, f"{owner} is {state}, and its lease expired at {owner.expires_at:%Y-%m-%d %H:%M:%S} UTC"
