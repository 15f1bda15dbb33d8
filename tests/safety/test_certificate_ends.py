"""When a certificate's renewal has to begin, and that it only gets more urgent."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_runbooks.models.certificate_ends import CertificateEnd, Urgency
from kafka_runbooks.safety.certificate_ends import MARGIN, predicted, renewal, report, since

END = datetime(2027, 1, 1, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def certificate(life: timedelta = 365 * DAY, holder: str = "broker 1001", *, needs_restart: bool = False) -> CertificateEnd:
    return CertificateEnd(
        holder=holder, where="listener CLIENTS", not_before=END - life, not_after=END, needs_restart=needs_restart
    )


@pytest.mark.parametrize(
    ("left", "urgency"),
    [
        (14 * DAY + 6 * HOUR + HOUR, Urgency.NOT_DUE),
        (14 * DAY + 6 * HOUR, Urgency.DUE),
        (7 * DAY + 6 * HOUR + HOUR, Urgency.DUE),
        (7 * DAY + 6 * HOUR, Urgency.URGENT),
        (7 * HOUR, Urgency.URGENT),
        (6 * HOUR, Urgency.LATE),
        (timedelta(seconds=1), Urgency.LATE),
        (timedelta(), Urgency.EXPIRED),
        (-300 * DAY, Urgency.EXPIRED),
    ],
)
def test_a_rotation_of_six_hours(left: timedelta, urgency: Urgency) -> None:
    found = renewal(certificate(), END - left, 6 * HOUR)
    assert found.urgency is urgency and found.begins_at == END - 6 * HOUR - MARGIN
    assert found.days_left == pytest.approx(left / DAY)


def test_a_certificate_of_a_day_is_not_due_when_it_is_issued() -> None:
    issued = END - DAY
    assert renewal(certificate(DAY), issued, HOUR).urgency is Urgency.NOT_DUE
    assert renewal(certificate(DAY), issued, HOUR).begins_at == END - HOUR - 8 * HOUR


@given(st.integers(1, 5000), st.integers(-100, 5000), st.integers(0, 200), st.integers(0, 500), st.integers(0, 2000))
def test_it_only_gets_more_urgent(life: int, left: int, later: int, rotation: int, margin: int) -> None:
    """As time goes by, and the longer the rotation takes, or the larger the margin is."""
    at, one = END - left * HOUR, certificate(life * HOUR)
    before = renewal(one, at, rotation * HOUR, margin * HOUR).urgency.rank
    assert renewal(one, at + later * HOUR, rotation * HOUR, margin * HOUR).urgency.rank >= before
    assert renewal(one, at, (rotation + later) * HOUR, margin * HOUR).urgency.rank >= before
    assert renewal(one, at, rotation * HOUR, (margin + later) * HOUR).urgency.rank >= before


@pytest.mark.parametrize(
    ("ends", "within"),
    [
        ({"broker 1001": 3, "controller 1": 5, "broker 1002": 300}, 6.0),
        ({"broker 1001": 3, "client agent": 5}, None),
        ({"authority": 3, "broker 1002": 300}, "nothing"),
        ({"broker 1001": -1, "broker 1002": 5}, "nothing"),
        ({"broker 1001": 3, "authority": -1}, 4.0),
    ],
)
def test_what_a_run_can_renew_of_what_is_due(ends: dict[str, int], within: float | str | None) -> None:
    """An authority's certificate isn't renewed by it: such a run would be started for ever. What has expired is for a person."""
    kinds: dict[str, Any] = {"client": "client", "authority": None}
    found = [
        CertificateEnd(
            holder=holder,
            where="",
            not_before=END - 365 * DAY,
            not_after=END + days * DAY,
            rotated_as=kinds.get(holder.partition(" ")[0], "node"),
        )
        for holder, days in ends.items()
    ]
    rotation = report(found, [], END, HOUR).rotation
    assert ("nothing" if rotation is None else rotation.ending_within_days) == within


def test_the_prediction_grows_with_nodes_and_restarts() -> None:
    assert predicted(1, 0) == timedelta(minutes=2, seconds=30)
    assert predicted(6, 0) == 2 * predicted(1, 0) and predicted(7, 0) == 3 * predicted(1, 0)
    assert predicted(300, 303) > timedelta(days=2), "all of a large cluster, one by one"


def test_the_report_names_the_most_urgent_first_and_what_helps() -> None:
    calm = CertificateEnd(holder="worker", where="Secret a", not_before=END, not_after=END + 300 * DAY)
    restart = certificate(holder="broker 1002", needs_restart=True)
    found = report([calm, restart, certificate()], ["broker 1003: doesn't answer"], END - 3 * DAY, HOUR)
    assert [one.certificate.holder for one in found.renewals] == ["broker 1001", "broker 1002", "worker"]
    assert (found.certificates, found.due, found.urgency) == (3, 2, Urgency.URGENT)
    assert found.summary == (
        "2 of 3 certificates: broker 1001 (listener CLIENTS) ends in 3.0 days, renewal urgent, "
        "broker 1002 (listener CLIENTS) ends in 3.0 days, restart urgent; 1 can't be seen"
    )


def test_nothing_due_says_what_ends_first() -> None:
    found = report([certificate()], [], END - 100 * DAY, HOUR)
    assert found.summary == "none of 1 certificates is due; broker 1001 (listener CLIENTS) ends first, in 100 days"
    assert report([], [], END, HOUR).summary == "no certificate seen"


def test_expired_says_since_when() -> None:
    assert "ended 2.0 days ago, renewal needed now" in report([certificate()], [], END + 2 * DAY, HOUR).summary


def test_people_are_told_each_time_that_it_has_become_more_urgent() -> None:
    before, news = None, []
    for left in (100 * DAY, 10 * DAY, 9 * DAY, 3 * DAY, 2 * DAY, timedelta(), -DAY, 100 * DAY, 10 * DAY):
        before = since(before, report([certificate()], [], END - left, HOUR))
        news.append(before.urgency if before.news else None)
    assert news == [None, Urgency.DUE, None, Urgency.URGENT, None, Urgency.EXPIRED, None, None, Urgency.DUE]
    assert since(None, report([certificate()], [], END - DAY, HOUR)).news, "the first look too"
