"""Reasons not to begin a rotation, one by one, each with what to do about it; and who would be refused at its end."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kafka_runbooks.models.certificates import Certificate, ClientHandshake, ClientSecret, Listener, Stores
from kafka_runbooks.models.kubernetes import SecretMount
from kafka_runbooks.models.restarts import KafkaNode, RestartLimits
from kafka_runbooks.models.results import Reason
from kafka_runbooks.models.rotation_plan import RotatedClient, RotatedNode, RotationPlan
from kafka_runbooks.models.rotations import Mode
from kafka_runbooks.safety import rotation_start
from kafka_runbooks.safety.rotation_start import FoundStores

NOW = datetime(2026, 6, 1, tzinfo=UTC)
LISTENER = Listener(node_id=1, name="INTERNAL", host="kafka-0", port=9094)
STORES = Stores(listener=LISTENER, keystore="/etc/kafka-tls/kafka-0.pem", truststore="/etc/kafka-tls/kafka-0.ca.pem")
WHOLE = SecretMount(secret="kafka-tls", path="/etc/kafka-tls")


def certificate(subject: str = "CN=kafka-0,O=kafka", *, days: float = 30) -> Certificate:
    return Certificate(
        subject=subject,
        issuer="CN=ca",
        serial="1",
        sha256="a",
        not_before=NOW - timedelta(days=1),
        not_after=NOW + timedelta(days=days),
    )


def found(**fields: Any) -> FoundStores:
    return FoundStores("broker 1", "kafka-0", (STORES,), (WHOLE,), True, certificate())._replace(**fields)


def names(reasons: list[Reason]) -> list[str]:
    assert all(reason.remedy and reason.message for reason in reasons)
    return [reason.name for reason in reasons]


def test_a_node_with_whole_secrets_and_a_record_is_fine() -> None:
    for mode in ("renew", "change-authority", "change-names"):
        assert rotation_start.against_node(found(), mode) == []
    assert rotation_start.down(found()) == rotation_start.expired(found(), NOW) == []


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"stores": ()}, "no-tls"),
        ({"stores": (STORES, STORES.model_copy(update={"keystore": "/etc/kafka-tls/other.pem"}))}, "several-stores"),
        ({"stores": (STORES.model_copy(update={"is_pem": False}),)}, "not-pem"),
        ({"mounts": ()}, "no-secret"),
        ({"mounts": (SecretMount(secret="other", path="/etc/other"),)}, "no-secret"),
        ({"stores": (STORES.model_copy(update={"truststore": None}),)}, "no-secret"),
        ({"has_record": False}, "no-record"),
    ],
)
def test_what_cannot_be_rotated_is_said(fields: dict[str, object], reason: str) -> None:
    assert f"{reason}:kafka-0" in names(rotation_start.against_node(found(**fields), "renew"))


def test_a_file_mounted_by_sub_path_never_changes() -> None:
    single = [SecretMount(secret="kafka-tls", path=path, is_sub_path=True) for path in (STORES.keystore, str(STORES.truststore))]
    assert names(rotation_start.against_node(found(mounts=single), "renew")) == ["sub-path:kafka-0"] * 2


@pytest.mark.parametrize(("mode", "expected"), [("change-authority", ["trust-unseen:kafka-0"]), ("renew", [])])
def test_a_change_of_authority_needs_a_listener_that_shows_what_is_trusted(mode: Mode, expected: list[str]) -> None:
    silent = STORES.model_copy(update={"client_authentication": "none"})
    assert names(rotation_start.against_node(found(stores=(silent,)), mode)) == expected
    assert rotation_start.against_node(found(stores=(silent, STORES)), mode) == [], "one is enough"


def test_a_node_that_is_down_is_a_risk_and_an_expired_certificate_needs_the_glass_broken() -> None:
    (risk,) = rotation_start.down(found(served=None, problem="kafka-0:9094 doesn't answer"))
    assert risk.can_be_acknowledged and "doesn't answer" in risk.message
    (reason,) = rotation_start.expired(found(served=certificate(days=-1)), NOW)
    assert not reason.can_be_acknowledged and "break_glass" in reason.remedy


def test_what_ends_before_the_rotation_or_begins_later_is_no_use() -> None:
    eta = timedelta(hours=1)
    assert rotation_start.unfit_life(certificate(), NOW, eta) is None
    assert "before the rotation does" in str(rotation_start.unfit_life(certificate(days=0.01), NOW, eta))
    assert "clock" in str(rotation_start.unfit_life(certificate(), NOW - timedelta(days=2), eta))


def test_renewing_by_another_authority_is_no_renewal() -> None:
    served = {"broker 1": "old", "broker 2": None}
    assert names(rotation_start.other_authority("renew", served, "old")) == ["other-authority"], "nobody knows broker 2's"
    assert rotation_start.other_authority("renew", {"broker 1": "old"}, "old") == []
    assert rotation_start.other_authority("change-authority", served, "new") == []


def test_clients_with_old_certificates_are_told_from_ours_however_java_writes_names() -> None:
    node = RotatedNode(
        node=KafkaNode(id=1),
        pod="kafka-0",
        stores=(STORES,),
        secret="kafka-tls",
        keystore="kafka-0.pem",
        truststore="kafka-0.ca.pem",
        before=certificate(),
        subject="CN=kafka-0,O=kafka",
        names=(),
        reloads=True,
    )
    plan = RotationPlan(
        cluster="c",
        kind="RotateCertificates",
        title="t",
        steps=(),
        made_at="",
        reason="r",
        mode="change-authority",
        issuer="new",
        authority="b",
        old=("a",),
        old_subjects=("CN=ca,O=example",),
        nodes=(node,),
        clients=(RotatedClient(client=ClientSecret(name="worker", secret="w"), before=certificate("CN=worker")),),
        at_once=5,
        limits=RestartLimits(),
    )
    seen = [
        ClientHandshake(host=str(number), subject=subject, issuer=issuer)
        for number, (subject, issuer) in enumerate(
            [
                ("CN=billing, O=x", "CN=ca, O=example"),
                ("CN=kafka-0, O=kafka", "CN=ca, O=example"),
                ("CN=worker", "CN=ca, O=example"),
                ("CN=search", "CN=new"),
            ]
        )
    ]
    assert rotation_start.old_clients(seen, plan) == [seen[0]]
