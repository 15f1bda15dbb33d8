"""What a run owns is swept only if it belongs to this cluster, and its run is closed or has let its lease expire."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_runbooks.models.ledger import Owner
from kafka_runbooks.throttle.expiry import CLOCK_MARGIN, RunState, Verdict, judge
from tests.throttle.observations import START


def judged(
    state: RunState,
    expired_for: timedelta = timedelta(hours=1),
    *,
    cluster: str = "main",
    only_expired: bool = True,
    workflow_id: str = "replace-7",
) -> Verdict:
    owner = Owner(workflow_id=workflow_id, run_id="r1", expires_at=START - expired_for, namespace="old")
    return judge(owner, cluster, "main", START, state, only_expired=only_expired)


def test_an_expired_lease_of_a_closed_run_is_swept() -> None:
    assert judged(RunState.CLOSED) == (True, "replace-7/r1 is closed, and its lease expired at 2026-02-28 23:00:00 UTC")


def test_everything_else_stays_and_says_why() -> None:
    live = timedelta(minutes=-10)
    assert judged(RunState.OPEN) == (False, "replace-7/r1 is open and cleans up itself")
    assert judged(RunState.UNKNOWN) == (False, "whether replace-7/r1 is open is not known")
    assert judged(RunState.CLOSED, live) == (False, "replace-7/r1 is closed; its lease expires in 720 s")
    assert judged(RunState.CLOSED, CLOCK_MARGIN - timedelta(seconds=1)).sweep is False
    assert judged(RunState.CLOSED, cluster="other") == (False, "it belongs to cluster other, not to main")
    assert judged(RunState.CLOSED, workflow_id="") == (False, "it names no owner")


def test_a_run_that_has_closed_is_swept_at_once_by_the_next_run() -> None:
    assert judged(RunState.CLOSED, timedelta(minutes=-10), only_expired=False) == (True, "replace-7/r1 is closed")


@pytest.mark.parametrize("state", [RunState.NOT_FOUND, RunState.ELSEWHERE])
def test_one_that_this_server_does_not_know_is_swept_only_past_its_lease(state: RunState) -> None:
    """A second Temporal (a migration, a stand-in) took live work for forgotten, and cancelled it."""
    verdict = judged(state, timedelta(minutes=-29), only_expired=False)
    assert not verdict.sweep and "its lease expires in 1860 s" in verdict.why
    assert judged(state, only_expired=False).sweep
    assert ("(old)" in verdict.why) is (state is RunState.ELSEWHERE)


@given(st.sampled_from(["main", "other"]), st.integers(-10_000, 10_000), st.sampled_from(RunState), st.booleans())
def test_nothing_is_swept_that_may_be_at_work(cluster: str, seconds: int, state: RunState, only_expired: bool) -> None:
    verdict = judged(state, timedelta(seconds=seconds), cluster=cluster, only_expired=only_expired)
    has_expired = seconds >= CLOCK_MARGIN.total_seconds()
    is_over = state is RunState.CLOSED and not only_expired
    may = state in (RunState.CLOSED, RunState.NOT_FOUND, RunState.ELSEWHERE) and (has_expired or is_over)
    assert verdict.sweep is (cluster == "main" and may)
