"""The rate goes up only on good news from every source, halves on bad news, and is never cleared."""

from hypothesis import given
from hypothesis import strategies as st

from kafka_runbooks.models.runbooks import AdaptiveThrottle, FixedThrottle
from kafka_runbooks.throttle.adapting import Adaptation, adapt, ceiling, first_rate

THROTTLE = AdaptiveThrottle(floor_bytes_per_s=10_000_000, ceiling_bytes_per_s=100_000_000, produce_p99_limit_ms=200)
SOURCES = (1001, 1002)
p99 = st.dictionaries(st.sampled_from([1001, 1002, 1003]), st.floats(0, 1000) | st.just(float("nan")))


@given(st.lists(p99, max_size=40))
def test_it_stays_between_floor_and_ceiling_and_never_rises_on_bad_or_no_news(measured: list[dict[int, float]]) -> None:
    now = Adaptation(first_rate(THROTTLE), "")
    for look in measured:
        after = adapt(THROTTLE, now, 100_000_000, look, SOURCES)
        assert 10_000_000 <= after.rate_bytes_per_s <= 100_000_000
        is_good = set(SOURCES) <= set(look) and all(value <= 200 for value in look.values())
        if not is_good:
            assert after.rate_bytes_per_s <= now.rate_bytes_per_s
        assert after.why
        now = after


def test_good_news_leads_to_the_ceiling_in_small_steps() -> None:
    now, good, rates = Adaptation(10_000_000, ""), {1001: 5.0, 1002: 7.0}, []
    for _ in range(13):
        now = adapt(THROTTLE, now, 100_000_000, good, SOURCES)
        rates.append(now.rate_bytes_per_s)
    assert rates[-1] == 100_000_000
    assert max(b - a for a, b in zip([10_000_000, *rates], rates, strict=False)) <= 7_500_000


def test_a_slow_broker_halves_the_rate_and_is_named() -> None:
    after = adapt(THROTTLE, Adaptation(80_000_000, ""), 100_000_000, {1001: 5.0, 1002: 900.0}, SOURCES)
    assert after.rate_bytes_per_s == 40_000_000
    assert "broker 1002" in after.why


def test_without_metrics_it_goes_to_the_floor_after_three_looks() -> None:
    now = Adaptation(80_000_000, "")
    seen = []
    for _ in range(3):
        now = adapt(THROTTLE, now, 100_000_000, {1001: 5.0}, SOURCES)
        seen.append(now.rate_bytes_per_s)
    assert seen == [80_000_000, 80_000_000, 10_000_000]


def test_a_fixed_rate_stays() -> None:
    fixed = FixedThrottle(rate_bytes_per_s=4_000_000)
    assert adapt(fixed, Adaptation(1, ""), 9, {1001: 10_000.0}, SOURCES).rate_bytes_per_s == 4_000_000


def test_the_ceiling_is_the_weakest_source_s_headroom() -> None:
    assert ceiling(AdaptiveThrottle(), [200_000_000, 100_000_000]) == 80_000_000
    assert ceiling(AdaptiveThrottle(floor_bytes_per_s=95_000_000), [100_000_000]) == 95_000_000
    assert ceiling(THROTTLE, [1_000]) == 100_000_000
