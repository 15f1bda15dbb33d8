"""Certificates from a real step-ca, by a provisioner's one-time tokens."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from kafka_runbooks.clients.certificates.protocols import LeafRequest
from kafka_runbooks.clients.certificates.settings import StepSettings
from kafka_runbooks.clients.certificates.step import StepIssuer
from kafka_runbooks.clients.errors import Refused, Unreachable
from tests.clients.certificates.authorities import authority
from tests.clients.certificates.local_step import PASSWORD, LocalStep, local_step
from tests.clients.local_kafka import free_ports

REQUEST = LeafRequest(
    "CN=kafka-events-0,OU=brokers,O=example,L=Berlin",
    ("kafka-events-0.kafka.svc", "10.0.0.7"),
    timedelta(days=7),
)

pytestmark = pytest.mark.timeout(2_400)  # the first one may have to build what it starts


@pytest.fixture(scope="module")
def step_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStep]:
    with local_step(tmp_path_factory.mktemp("step")) as server:
        yield server


def issuer(server: LocalStep, **changes: object) -> StepIssuer:
    entry = {
        "kind": "step",
        "url": server.url,
        "ca_file": server.ca_file,
        "provisioner": "kafka",
        "password_file": server.password_file,
        **changes,
    }
    return StepIssuer(StepSettings.model_validate(entry))


def test_a_leaf_is_what_was_asked_for(step_server: LocalStep, caplog: pytest.LogCaptureFixture) -> None:
    one = issuer(step_server)
    with caplog.at_level(logging.DEBUG):
        one.check(REQUEST)
        leaf = one.issue(REQUEST)
    chain = x509.load_pem_x509_certificates(leaf.chain.encode())
    assert [found.subject.rfc4514_string() for found in chain] == [REQUEST.subject, "CN=step intermediate"]
    assert abs(chain[0].not_valid_after_utc - datetime.now(UTC) - timedelta(days=7)) < timedelta(minutes=5)
    assert one.authorities() == (step_server.root.pem.decode(),)
    assert PASSWORD not in caplog.text and leaf.key.splitlines()[1] not in caplog.text


def test_a_token_is_good_for_one_certificate(step_server: LocalStep, monkeypatch: pytest.MonkeyPatch) -> None:
    one = issuer(step_server)
    token = one._token(REQUEST)
    monkeypatch.setattr(one, "_token", lambda _: token)
    one.issue(REQUEST)
    with pytest.raises(Refused, match="refuses with status 401"):
        one.issue(REQUEST)


def test_what_the_default_template_drops_is_told(step_server: LocalStep) -> None:
    one = issuer(step_server, provisioner="plain")
    short = LeafRequest(REQUEST.subject, REQUEST.names)
    with pytest.raises(Refused, match="can't be used: its subject is CN=kafka-events-0"):
        one.issue(short)
    assert one.issue(LeafRequest("CN=kafka-events-0", REQUEST.names)).chain
    assert one.issue(LeafRequest("CN=client", (), timedelta(hours=24), frozenset({"client"}))).chain, "its longest"
    with pytest.raises(Refused, match=r"refuses with status 403: .*more than the authorized maximum certificate duration"):
        one.issue(LeafRequest("CN=kafka-events-0", REQUEST.names, timedelta(days=7)))


def test_a_subject_that_comes_back_in_another_order_is_told(step_server: LocalStep) -> None:
    """Brokers compare distinguished names part by part."""
    with pytest.raises(Refused, match="can't be used: its subject is DC=com,CN=kafka-0,O=example"):
        issuer(step_server).issue(LeafRequest("CN=kafka-0,O=example,DC=com", REQUEST.names))


def test_what_is_wrong_is_told_beforehand(step_server: LocalStep, tmp_path: Path) -> None:
    wrong, other_ca = tmp_path / "password", tmp_path / "ca.pem"
    wrong.write_text("guessed")
    other_ca.write_bytes(authority().pem)
    for changes, kind, why in (
        ({"password_file": wrong}, Refused, "password_file .*: isn't the password of provisioner kafka of https://"),
        ({"password_file": tmp_path / "none"}, Refused, "password_file .*: can't be read: No such file"),
        (
            {"provisioner": "kafak"},
            Refused,
            r"no provisioner kafak of the type JWK, but kafka \(JWK\), plain \(JWK\).*acme \(ACME\)",
        ),
        ({"provisioner": "acme"}, Refused, "no provisioner acme of the type JWK"),
        ({"provisioner": "hidden"}, Refused, "provisioner hidden of .*doesn't hand out its encrypted key"),
        ({"ca_file": other_ca}, Refused, "its certificate can't be verified by ca_file"),
        ({"ca_file": tmp_path / "none"}, Refused, "ca_file .*none: can't be read"),
        ({"url": f"https://127.0.0.1:{free_ports(1)[0]}"}, Unreachable, "doesn't answer: .*refused"),
    ):
        one = issuer(step_server, **changes)
        for call in (one.check, one.issue):
            with pytest.raises(kind, match=why) as caught:
                call(REQUEST)
            assert caught.value.__cause__ is None and "guessed" not in str(caught.value)
    with pytest.raises(Refused, match="has no common name"):
        issuer(step_server).check(LeafRequest("O=example", ("a",)))
