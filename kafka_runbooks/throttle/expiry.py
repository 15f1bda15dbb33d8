"""What may be swept up: leases that nobody renews any more, and only those.

Three things must all hold, and what isn't known counts against it: the ledger is of this cluster and names an owner of ours;
its lease is past its expiry, with a margin for clocks that differ; and the run that owns it is not open. A run that Temporal
has forgotten (retention) is closed; where Temporal doesn't answer, nothing is swept.

What is swept is still looked at piece by piece (`leases`): what somebody changed meanwhile is theirs and stays.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from kafka_runbooks.models.ledger import Ledger

CLOCK_MARGIN = timedelta(minutes=2)


class RunState(StrEnum):
    """What Temporal says of the run that owns a ledger."""

    OPEN = "open"
    CLOSED = "closed"
    UNKNOWN = "unknown"


class Verdict(NamedTuple):
    """Whether to give back what one ledger holds, and why or why not."""

    ledger: Ledger
    sweep: bool
    why: str


def judge(ledgers: Iterable[Ledger], cluster: str, now: datetime, states: Mapping[str, RunState]) -> tuple[Verdict, ...]:
    """One verdict for each ledger, in the order given.

    Args:
        ledgers: those found beside the cluster.
        cluster: the cluster's name.
        now: with a timezone.
        states: by `str(ledger.owner)`; one that isn't in it is unknown.
    """
    return tuple(Verdict(ledger, *_judge(ledger, cluster, now, states)) for ledger in ledgers)


def _judge(ledger: Ledger, cluster: str, now: datetime, states: Mapping[str, RunState]) -> tuple[bool, str]:
    owner = ledger.owner
    if ledger.cluster != cluster:
        return False, f"it is of cluster {ledger.cluster}, not of {cluster}"
    if not owner.workflow_id or not owner.run_id:
        return False, "it names no run of ours"
    if ledger.is_empty:
        return False, "it holds nothing"
    state = states.get(str(owner), RunState.UNKNOWN)
    if state is RunState.OPEN:
        return False, f"{owner} is open and gives back itself"
    if state is RunState.UNKNOWN:
        return False, f"whether {owner} is open is not known"
    left = owner.expires_at + CLOCK_MARGIN - now
    if left > timedelta():
        return False, f"{owner} is {state}; its lease runs for another {left.total_seconds():.0f} s"
    return True, f"{owner} is {state}, and its lease ended at {owner.expires_at:%Y-%m-%d %H:%M:%S} UTC"
