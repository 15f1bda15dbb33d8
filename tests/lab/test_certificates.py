"""Certificates rotated on the lab, under checked traffic; what nodes present and take is read by handshakes of the tests' own."""

import base64
import contextlib
import json
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from kafka_runbooks_lab import connection
from kafka_runbooks_lab.authority import Authority
from kafka_runbooks_lab.lab import Lab

from tests.lab import runs
from tests.lab.runs import ask, checked_traffic, fill, fresh, holds, intact, leftovers, watched
from tests.lab.test_rolling_restart import BROKERS, CONTROLLERS, changed, uids, waits

pytestmark = pytest.mark.timeout(900)

PODS = dict.fromkeys(BROKERS, (9092, 9091)) | dict.fromkeys(CONTROLLERS, (9093,))
HANDSHAKES = """
import hashlib, json, ssl, sys
from socket import create_connection
found = {}
context = ssl.create_default_context(cafile=kafka_python()['ssl_cafile'])
context.load_cert_chain(kafka_python()['ssl_certfile'])
for pod, ports in json.loads(sys.argv[1]).items():
    host = f"{pod}.{pod.rpartition('-')[0]}.kafka.svc.cluster.local"
    for port in ports:
        with context.wrap_socket(create_connection((host, port), 20), server_hostname=host) as link:
            found[f'{pod}:{port}'] = hashlib.sha256(link.getpeercert(binary_form=True)).hexdigest()
print(json.dumps(found))
"""

REFUSED = HANDSHAKES.replace("getpeercert(binary_form=True)", "recv(1)")
"""With TLS 1.3 a refusal shows at the first read."""


def served(lab: Lab, pods: Mapping[str, Sequence[int]] = PODS) -> dict[str, str]:
    """The SHA-256 of the certificate that each listener presents."""
    found: dict[str, str] = json.loads(runs.kafka(lab, HANDSHAKES, json.dumps(pods)))
    return found


def rotate(run: str, **fields: Any) -> None:
    runs.start(run, ask(reason="test", **fields), "RotateCertificates")


def secret(lab: Lab, name: str) -> dict[str, bytes]:
    data = json.loads(lab.kubectl("-n", "kafka", "get", "secret", name, "-o", "json"))["data"]
    return {key: base64.b64decode(value) for key, value in data.items()}


def again(authority: dict[str, bytes], leaf: bytes, ends: datetime, subject: x509.Name | None = None) -> str:
    """A key and a certificate of the lab's authority with the same names, and another end."""
    issuer = x509.load_pem_x509_certificate(authority["tls.crt"])
    signing = load_pem_private_key(authority["tls.key"], None)
    assert isinstance(signing, ec.EllipticCurvePrivateKey)
    before, key, now = x509.load_pem_x509_certificate(leaf), ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    builder = x509.CertificateBuilder(issuer.subject, subject or before.subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(minutes=5)).not_valid_after(ends)
    for extension in before.extensions:
        if not isinstance(extension.value, x509.SubjectKeyIdentifier):
            builder = builder.add_extension(extension.value, extension.critical)
    made = builder.sign(signing, hashes.SHA256())
    return (key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + made.public_bytes(Encoding.PEM)).decode()


def spoil(lab: Lab, name: str, key: str, former: bytes, bad: Callable[[str], str]) -> None:
    """Write into a Secret the moment somebody else has written into it, before a kubelet reads it."""
    path = key.replace(".", r"\.")
    argv = lab.kubectl_argv("-n", "kafka", "get", "secret", name, "-w", "-o", f'jsonpath={{.data.{path}}}{{"\\n"}}')
    with subprocess.Popen(lab.exec_argv(argv), stdout=subprocess.PIPE, text=True) as watch:
        try:
            assert watch.stdout is not None
            for line in watch.stdout:
                if (found := base64.b64decode(line)) != former:
                    put(lab, name, key, bad(found.decode()))
                    return
        finally:
            watch.kill()
    raise AssertionError("kubectl's watch has ended")


def put(lab: Lab, name: str, key: str, value: str) -> None:
    lab.kubectl("-n", "kafka", "patch", "secret", name, "-p", json.dumps({"stringData": {key: value}}))


@pytest.fixture
def topic(lab: Lab) -> Iterator[str]:
    lab.wait_ready()
    name = f"events.{uuid.uuid4().hex[:8]}"
    runs.make_topic(lab, name, records=0)
    yield name
    runs.delete_topics(lab, name)


def test_every_certificate_is_renewed_and_nothing_restarts(lab: Lab, topic: str) -> None:
    run, pods, before = fresh(), uids(lab), served(lab)
    with checked_traffic(lab, topic) as traffic, watched(lab) as seen:
        rotate(run, mode="renew")
        holds(runs.outcome(run, seconds=400))
    intact(traffic)
    assert traffic["produce_errors"] == 0 and seen["below"] == []
    after = served(lab)
    assert after.keys() == before.keys() and not set(after.values()) & set(before.values())
    assert changed(lab, pods) == set()
    assert leftovers(lab) == {}
    assert not [key for name in ("kafka-events-tls", "kafka-controller-tls") for key in secret(lab, name) if "previous" in key]


@contextlib.contextmanager
def next_authority(lab: Lab) -> Iterator[Authority]:
    """Another authority in the Secret that `clusters.yaml` names; afterwards a new lab, whose clients know one authority only."""
    made = Authority("the lab's next certificate authority")
    data = {"tls.crt": made.certificate, "tls.key": made.key}
    metadata = {"name": "kafka-ca-next", "namespace": "kafka"}
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}
    lab.kubectl("apply", "-f", "-", input=json.dumps(manifest))
    # As a team does before a change: its clients trust both.
    connection.CA_FILE.write_text(connection.CA_FILE.read_text() + made.certificate)
    try:
        yield made
    finally:
        lab.down()
        lab.up()


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_another_authority_takes_over_and_the_old_one_is_refused(lab: Lab) -> None:
    """A client with a certificate of the old authority is named before that is dropped, and refused afterwards."""
    lab.wait_ready()
    run, topic = fresh(), "events.authority"
    runs.make_topic(lab, topic, records=0)
    own, admin = (connection.certificate_file(who) for who in (connection.TRAFFIC, connection.ADMIN))
    with next_authority(lab) as after:
        with contextlib.ExitStack() as before_drop:
            seen = before_drop.enter_context(watched(lab))
            old = before_drop.enter_context(checked_traffic(lab, topic))
            rotate(run, mode="change-authority", issuer="next")
            asked = waits(run, "drop the old authority?", 1200)
            assert f"CN={connection.TRAFFIC}" in asked["waiting"]["reason"]
            former = admin.read_text()
            own.write_text(after.leaf(connection.TRAFFIC).both)
            admin.write_text(after.leaf(connection.ADMIN).both)
            with checked_traffic(lab, topic) as new:
                before_drop.close()
                runs.update(run, "approve")
                holds(runs.outcome(run, seconds=400))
        intact(old)
        intact(new)
        assert old["produce_errors"] == new["produce_errors"] == 0 and seen["below"] == []
        connection.CA_FILE.write_text(after.certificate)
        served(lab)  # Each listener's certificate is of the new authority.
        admin.write_text(former)
        with pytest.raises(AssertionError, match=r"SSL|alert|certificate"):
            runs.kafka(lab, REFUSED, json.dumps(PODS))


@pytest.mark.soak
@pytest.mark.parametrize("wrong", ["another name", "an unknown authority", "no PEM", "another key"])
def test_a_canary_s_bad_file_is_noticed_and_taken_back_and_nothing_else_is_touched(lab: Lab, topic: str, wrong: str) -> None:
    """Somebody else writes into the Secret between the runbook's writing and the node's reading."""
    run, before, name, key = fresh(), served(lab), "kafka-events-tls", "kafka-events-1.pem"
    former = secret(lab, name)
    stranger = Authority("a stranger")
    dns = "kafka-events-1.kafka-events.kafka.svc.cluster.local"

    renamed = again(
        secret(lab, "kafka-ca"), former[key], datetime.now(UTC) + timedelta(days=1), x509.Name.from_rfc4514_string("CN=somebody")
    )

    def bad(ours: str) -> str:
        end_of_key = ours.index("-----BEGIN CERTIFICATE")
        return {
            "another name": renamed,
            "an unknown authority": stranger.leaf("kafka-broker", dns).both,
            "no PEM": ours[: len(ours) // 2],
            "another key": stranger.leaf("kafka-broker", dns).key + ours[end_of_key:],
        }[wrong]

    with checked_traffic(lab, topic) as traffic:
        rotate(run, mode="renew", canary_node_id=1002)
        spoil(lab, name, key, former[key], bad)
        began = time.monotonic()
        result = runs.outcome(run, seconds=400)
        assert time.monotonic() - began < 300
    assert result["outcome"] == "failed", result
    intact(traffic)
    assert traffic["produce_errors"] == 0
    assert served(lab) == before
    assert {one: value for one, value in secret(lab, name).items() if one != key} == {
        one: value for one, value in former.items() if one != key
    }
    assert secret(lab, name)[key] == former[key]
    assert leftovers(lab) == {}


@pytest.mark.soak
def test_a_worker_is_killed_at_each_boundary_of_a_renewal(lab: Lab, topic: str) -> None:
    run, pods, before = fresh(), uids(lab), served(lab)
    with checked_traffic(lab, topic) as traffic:
        rotate(run, mode="renew")
        boundaries = runs.kill_after_every_step(lab, run, seconds=850)
        holds(runs.outcome(run))
    intact(traffic)
    assert traffic["produce_errors"] == 0
    assert not set(served(lab).values()) & set(before.values())
    assert changed(lab, pods) & {*BROKERS, *CONTROLLERS} == set()
    assert len(boundaries) >= 10, boundaries


@pytest.mark.soak
def test_a_broker_is_down_while_new_certificates_are_rolled_out(lab: Lab, topic: str) -> None:
    """It is waited for: when it is back, its certificate is renewed like the others'."""
    run, before = fresh(), served(lab)
    _, node, _ = runs.place_of(lab, 1003)
    rotate(run, mode="renew", canary_node_id=1002, at_once=1)
    runs.until_status(run, lambda status: status["step"] == "prove by handshakes")
    lab.kill_node(node)
    try:
        waits(run, "1003", 400)
    finally:
        lab.start_node(node)
    holds(runs.outcome(run, seconds=600))
    lab.wait_ready()
    assert not set(served(lab).values()) & set(before.values())


@pytest.mark.soak
@pytest.mark.timeout(2400)
def test_certificates_that_have_expired_are_renewed(lab: Lab, topic: str) -> None:
    """Those of all brokers and controllers: whoever verifies them connects to nobody any more, the worker neither."""
    rejected, refused, run = fresh(), fresh(), fresh()
    rotate(rejected, mode="renew", wait_for_approval=True)  # Where the listeners are is known from then on.
    waits(rejected, "the plan waits", 120)
    runs.update(rejected, "reject")
    runs.outcome(rejected)
    authority, ends = secret(lab, "kafka-ca"), datetime.now(UTC) + timedelta(minutes=5)
    for name in ("kafka-events-tls", "kafka-checks-tls", "kafka-controller-tls"):
        for key, leaf in secret(lab, name).items():
            if key.removesuffix(".pem") in PODS:
                put(lab, name, key, again(authority, leaf, ends))
    lab.kubectl("-n", "kafka", "delete", "pod", "--wait=false", *PODS)
    lab.wait_ready()
    before = served(lab)
    assert datetime.now(UTC) < ends, "the lab took longer to come up than the certificates live"
    while datetime.now(UTC) < ends + timedelta(seconds=5):
        time.sleep(1)
    with pytest.raises(AssertionError, match="expired"):
        served(lab)
    rotate(refused, mode="renew")
    result = runs.outcome(refused, seconds=300)
    assert result["outcome"] == "refused by preflight" and len(result["reasons"]) == len(PODS)
    assert all("break_glass" in json.dumps(reason) for reason in result["reasons"])
    rotate(run, mode="renew", break_glass=True, wait_for_approval=True)
    waits(run, "the plan waits", 300)
    runs.update(run, "approve")
    holds(runs.outcome(run, seconds=1200))
    lab.wait_ready()
    assert not set(served(lab).values()) & set(before.values())
    fill(lab, topic, 100)
    assert leftovers(lab) == {}
