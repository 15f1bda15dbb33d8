"""Which ledgers' contents may be removed by another run, and why not.

A ledger belongs to this cluster and names an owner, whose run is not open. Whether it is open only the Temporal server knows that
runs it: one that doesn't know the run has forgotten it (retention), or never had it, because the cluster is worked on from
another server or namespace (a migration, a stand-in after a disaster). An open run renews its lease, so such a ledger is removed
only once the lease has expired, with a margin for clock skew. Where Temporal doesn't answer, nothing is removed.

Each setting is still checked before it is removed (`leases`): values changed by others since are left alone.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from kafka_runbooks.models.ledger import Owner

CLOCK_MARGIN = timedelta(minutes=2)


class RunState(StrEnum):
    """The state, in Temporal, of a run that owns something."""

    OPEN = "open"
    CLOSED = "closed"
    NOT_FOUND = "not known to this Temporal server"
    ELSEWHERE = "a run of another Temporal namespace"
    UNKNOWN = "unknown"


class Verdict(NamedTuple):
    """Whether to remove what a run owns, and why or why not."""

    sweep: bool
    why: str


def has_expired(owner: Owner, now: datetime) -> bool:
    """Whether nobody has renewed the lease for longer than it lasts, whatever the clocks' difference."""
    return owner.expires_at + CLOCK_MARGIN <= now


def judge(owner: Owner, owned_cluster: str, cluster: str, now: datetime, state: RunState, *, only_expired: bool) -> Verdict:
    """Whether to remove what a run owns.

    Args:
        owned_cluster: the cluster that the owner names.
        cluster: the cluster's name.
        now: with a time zone.
        only_expired: a run that has closed a moment ago may still be cleaning up: leave it until its lease has expired.
    """
    if owned_cluster != cluster:
        return Verdict(False, f"it belongs to cluster {owned_cluster}, not to {cluster}")
    if not owner.workflow_id or not owner.run_id:
        return Verdict(False, "it names no owner")
    if state is RunState.OPEN:
        return Verdict(False, f"{owner} is open and cleans up itself")
    if state is RunState.UNKNOWN:
        return Verdict(False, f"whether {owner} is open is not known")
    where = f"{owner} is {state}" + (f" ({owner.namespace})" if state is RunState.ELSEWHERE else "")
    if has_expired(owner, now):
        return Verdict(True, f"{where}, and its lease expired at {owner.expires_at:%Y-%m-%d %H:%M:%S} UTC")
    if state is RunState.CLOSED and not only_expired:
        return Verdict(True, where)
    left = owner.expires_at + CLOCK_MARGIN - now
    return Verdict(False, f"{where}; its lease expires in {left.total_seconds():.0f} s")
