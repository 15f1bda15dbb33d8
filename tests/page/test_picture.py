"""Brokers before and after: what is drawn, and that nothing in it is markup."""

from kafka_runbooks.models.plans import BrokerWhatIf, PlanReference, PlanSummary, ReturningBroker
from kafka_runbooks.page import picture, rendering


def plan(**fields: object) -> PlanSummary:
    reference = PlanReference(plan_id="p", sha256="0" * 64, kind="Rebalance")
    figures = {"partitions": 1, "bytes_to_copy": 1, "lower_bound_bytes": 1, "throttle_bytes_per_s": 1, "eta_seconds": 1.0}
    return PlanSummary.model_validate(
        {"reference": reference, "kind": "Rebalance", "title": "t", "steps": (), **figures, **fields}
    )


def broker(broker_id: int, before: int, after: int, arriving: int = 0) -> BrokerWhatIf:
    return BrokerWhatIf(
        broker_id=broker_id,
        used_bytes_before=before,
        used_bytes_after=after,
        replicas_before=4,
        replicas_after=5,
        leaders_before=1,
        leaders_after=2,
        arriving_bytes=arriving,
    )


def test_bars_are_as_long_as_disks_are_full() -> None:
    drawn = picture.of(plan(brokers=(broker(1, 4_000, 2_000), broker(2, 0, 2_000, 2_000))))
    assert drawn is not None and drawn.left_out == 0
    assert [(bar.label, bar.before, bar.after, bar.arriving) for bar in drawn.bars] == [
        ("1", picture.WIDTH, picture.WIDTH // 2, 0),
        ("2", 0, picture.WIDTH // 2, picture.WIDTH // 2),
    ]
    assert "1: 4.0 kB, 4 replicas, leads 1, then 2.0 kB, 5 replicas, leads 2" in drawn.sentence


def test_what_moves_nothing_has_no_picture_and_many_brokers_a_few_bars() -> None:
    assert picture.of(plan()) is None
    many = picture.of(plan(brokers=tuple(broker(number, 0, 0) for number in range(30))))
    assert many is not None and (len(many.bars), many.left_out) == (picture.MOST_BARS, 30 - picture.MOST_BARS)


def test_a_rack_s_name_is_text() -> None:
    returning = ReturningBroker(broker_id=1, pod="p", rack="</title><script>alert(1)</script>", bytes_to_copy=5)
    drawn = picture.of(one := plan(returning=(returning,)))
    macros = rendering.templates.env.get_template("plan.html").module
    text = str(macros.plan_section(one, drawn))  # type: ignore[attr-defined]
    assert "<script>" not in text and "&lt;script&gt;" in text and 'class="lost"' in text
