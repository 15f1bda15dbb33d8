"""A ledger is swept only if it is expired, belongs to this cluster and its run is not open."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from kafka_runbooks.models.cluster import ThrottleRates
from kafka_runbooks.models.ledger import Ledger, Owner, RateLease
from kafka_runbooks.throttle.expiry import CLOCK_MARGIN, RunState, judge
from tests.throttle.observations import START

HELD = {1: RateLease(previous=ThrottleRates(), ours=ThrottleRates(leader_bytes_per_s=5))}


def ledger(expired_for: timedelta = timedelta(hours=1), **fields: object) -> Ledger:
    owner = Owner(workflow_id="replace-7", run_id="r1", expires_at=START - expired_for)
    return Ledger.model_validate({"owner": owner, "cluster": "main", "rates": HELD, **fields})


def swept(one: Ledger, state: RunState | None = RunState.CLOSED) -> tuple[bool, str]:
    (verdict,) = judge([one], "main", START, {} if state is None else {str(one.owner): state})
    assert verdict.ledger is one
    return verdict.sweep, verdict.why


def test_an_expired_lease_of_a_closed_run_is_swept() -> None:
    assert swept(ledger()) == (True, "replace-7/r1 is closed, and its lease expired at 2026-02-28 23:00:00 UTC")


def test_everything_else_stays_and_says_why() -> None:
    assert swept(ledger(), RunState.OPEN) == (False, "replace-7/r1 is open and cleans up itself")
    assert swept(ledger(), None) == (False, "whether replace-7/r1 is open is not known")
    assert swept(ledger(timedelta(minutes=-10))) == (False, "replace-7/r1 is closed; its lease expires in 720 s")
    assert swept(ledger(CLOCK_MARGIN - timedelta(seconds=1)))[0] is False
    assert swept(ledger(cluster="other")) == (False, "it belongs to cluster other, not to main")
    assert swept(ledger(rates={})) == (False, "it is empty")
    nobody = Owner(workflow_id="", run_id="", expires_at=START - timedelta(days=1))
    assert swept(ledger(owner=nobody)) == (False, "it names no owner")


@given(st.sampled_from(["main", "other"]), st.integers(-10_000, 10_000), st.none() | st.sampled_from(RunState), st.booleans())
def test_nothing_is_swept_unless_all_three_hold(cluster: str, seconds: int, state: RunState | None, holds: bool) -> None:
    one = ledger(timedelta(seconds=seconds), cluster=cluster, rates=HELD if holds else {})
    allowed = cluster == "main" and seconds >= CLOCK_MARGIN.total_seconds() and state is RunState.CLOSED
    assert swept(one, state)[0] is (allowed and holds)
