"""Which steps between plain text and TLS members of an ensemble may be on at once; `test_zookeeper_tls.py` has real members."""

from itertools import product

import pytest

from kafka_runbooks.models.ensemble import QuorumTls
from kafka_runbooks.safety.quorum_tls import STEPS, can_talk, plain_clients, would_split

SPLITS = {("plain", "spoken"), ("plain", "required"), ("accepted", "required")}


@pytest.mark.parametrize(("one", "other"), list(product(STEPS, STEPS)))
def test_members_of_one_step_and_of_the_next_can_talk_and_no_others(one: QuorumTls, other: QuorumTls) -> None:
    assert can_talk(one, other) is ((one, other) not in SPLITS and (other, one) not in SPLITS)


@pytest.mark.parametrize(
    ("wanted", "others", "names", "remedy"),
    [
        ("accepted", {2: None, 3: None}, [], ""),
        ("spoken", {2: "accepted", 3: "spoken"}, [], ""),
        ("required", {2: "spoken", 3: "required"}, [], ""),
        (None, {2: "accepted", 3: None}, [], ""),
        ("required", {2: "accepted", 3: "spoken"}, ["quorum-tls:2"], "set QUORUM_TLS to spoken"),
        ("required", {2: None, 3: None}, ["quorum-tls:2", "quorum-tls:3"], "set QUORUM_TLS to accepted"),
        (None, {2: "required", 3: "required"}, ["quorum-tls:2", "quorum-tls:3"], "set QUORUM_TLS to spoken"),
        ("tls", {2: None, 3: None}, ["unknown-quorum-tls"], "give one of accepted, spoken, required"),
        ("plain", {2: None, 3: None}, ["unknown-quorum-tls"], "give one of accepted, spoken, required"),
        ("accepted", {2: "tls", 3: None}, [], ""),
    ],
)
def test_a_step_that_is_left_out_is_refused_by_name_and_the_remedy_is_the_step(
    wanted: str | None, others: dict[int, str | None], names: list[str], remedy: str
) -> None:
    reasons = would_split(1, wanted, others)
    assert [one.name for one in reasons] == names
    assert all(remedy in one.remedy and not one.can_be_acknowledged for one in reasons)


def test_who_still_uses_the_plain_port_is_named_before_it_is_closed() -> None:
    assert [one.name for one in plain_clients([1002, 1001], is_worker=True)] == [
        *("plain-client:1001", "plain-client:1002"),
        "plain-client:worker",
    ]
    assert plain_clients([], is_worker=False) == []
