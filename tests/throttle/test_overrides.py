"""Overrides: a broker's own takes precedence over the one for all, until they end."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kafka_runbooks.models.operator import Override, Overrides
from kafka_runbooks.models.throttles import Rate, Rates
from kafka_runbooks.throttle import overrides
from tests.throttle.observations import MEGABYTE, START


def override(megabytes: int, broker_id: int | None = None, **fields: object) -> Override:
    return Override.model_validate(
        {"rate_bytes_per_s": megabytes * MEGABYTE, "broker_id": broker_id, "by": "ana", "reason": "INC-7", **fields}
    )


def rates() -> Rates:
    return Rates(leader={1: Rate(bytes_per_s=10), 2: Rate(bytes_per_s=20)}, follower={3: Rate(bytes_per_s=30)})


def test_a_broker_s_own_comes_before_the_one_for_all_and_both_name_their_author() -> None:
    given_by_hand = overrides.with_override((override(50),), override(7, 2), START)
    after = overrides.apply(rates(), given_by_hand)
    assert [after.leader[1].bytes_per_s, after.leader[2].bytes_per_s, after.follower[3].bytes_per_s] == [
        50 * MEGABYTE,
        7 * MEGABYTE,
        50 * MEGABYTE,
    ]
    assert after.leader[1].why == "override for all brokers: 50 MB/s set by ana: INC-7"
    assert after.leader[2].why == "override for broker 2: 7 MB/s set by ana: INC-7"
    assert overrides.apply(rates(), overrides.without(given_by_hand, None)).leader[1].bytes_per_s == 10
    assert overrides.apply(rates(), overrides.without(given_by_hand, 2)).leader[2].bytes_per_s == 50 * MEGABYTE


def test_a_broker_that_takes_no_part_gets_no_rate() -> None:
    by_hand = (override(50), override(7, 9), override(8, 1))
    assert set(overrides.apply(rates(), by_hand).wanted()) == {1, 2, 3}


def test_it_ends_by_itself() -> None:
    hour = override(5, expires_at=START + timedelta(hours=1))
    stays = override(7, 2)
    assert overrides.still_in_force((hour, stays), START) == (hour, stays)
    assert overrides.still_in_force((hour, stays), START + timedelta(hours=1)) == (stays,)
    assert "until 2026-03-01 01:00 UTC" in str(hour)


@given(st.lists(st.tuples(st.none() | st.integers(0, 3), st.integers(1, 9)), max_size=12))
def test_each_scope_has_at_most_one_and_the_last_one_holds(given: list[tuple[int | None, int]]) -> None:
    found: Overrides = ()
    for broker_id, megabytes in given:
        found = overrides.with_override(found, override(megabytes, broker_id), START)
    last = {broker_id: megabytes * MEGABYTE for broker_id, megabytes in given}
    assert {one.broker_id: one.rate_bytes_per_s for one in found} == last
    for broker_id in range(4):
        holds = overrides.for_broker(found, broker_id)
        assert (None if holds is None else holds.rate_bytes_per_s) == last.get(broker_id, last.get(None))


def test_one_that_is_over_or_says_no_timezone_is_refused() -> None:
    with pytest.raises(ValueError, match="which is over"):
        overrides.with_override((), override(5, expires_at=START), START)
    with pytest.raises(ValueError, match="expires_at has no timezone"):
        overrides.with_override((), override(5, expires_at="2026-01-01T00:00:00"), START)


@pytest.mark.parametrize(
    "wrong", [{"rate_bytes_per_s": -5}, {"rate_bytes_per_s": 0}, {"broker_id": "all"}, {"broker_id": -1}, {"by": ""}]
)
def test_bad_input_names_the_field(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Override.model_validate({"rate_bytes_per_s": MEGABYTE, "by": "ana", "reason": "x", **wrong})
