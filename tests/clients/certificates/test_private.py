"""What a private CA issues, as OpenSSL sees it, and every CA that can't issue."""

import ipaddress
import logging
import re
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from kafka_runbooks.clients.certificates.private import PrivateIssuer
from kafka_runbooks.clients.certificates.protocols import Leaf, LeafRequest, Usage
from kafka_runbooks.clients.certificates.settings import PrivateSettings
from kafka_runbooks.clients.errors import Refused
from tests.clients.certificates.authorities import DAY, Authority, authority
from tests.fakes.secrets import FakeSecrets

ROOT = Path(__file__).parents[3]
REQUEST = LeafRequest(
    "CN=kafka-events-0,OU=brokers,O=example,L=Berlin,DC=example,DC=com", ("kafka-events-0.kafka.svc", "10.0.0.7", "FD00:0::7")
)


def issuer(secret: dict[str, bytes] | None, **settings: object) -> PrivateIssuer:
    secrets = FakeSecrets({} if secret is None else {"kafka-ca": secret})
    return PrivateIssuer(secrets, PrivateSettings.model_validate({"kind": "private", "secret": "kafka-ca", **settings}))


def certificate(leaf: Leaf) -> x509.Certificate:
    return x509.load_pem_x509_certificates(leaf.chain.encode())[0]


def verified(leaf: Leaf, root: str, purpose: str, folder: Path) -> None:
    """By OpenSSL, strictly after RFC 5280."""
    (folder / "root.pem").write_text(root)
    (folder / "leaf.pem").write_text(leaf.chain)
    files = ["-CAfile", str(folder / "root.pem"), "-untrusted", str(folder / "leaf.pem"), str(folder / "leaf.pem")]
    subprocess.run(["openssl", "verify", "-x509_strict", "-purpose", purpose, *files], check=True, capture_output=True)


@pytest.mark.parametrize("kind", ["EC", "RSA", "Ed25519"])
def test_a_leaf_is_what_was_asked_for_and_verifies(kind: str, tmp_path: Path) -> None:
    made = authority(kind=kind)
    one = issuer(made.secret)
    leaf, again = one.issue(REQUEST), one.issue(REQUEST)
    found = certificate(leaf)
    assert found.subject.rfc4514_string() == REQUEST.subject and found.serial_number != certificate(again).serial_number
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["kafka-events-0.kafka.svc"]
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("10.0.0.7"), ipaddress.ip_address("fd00::7")]
    usages = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usages) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert found.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    assert found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    (root,) = one.authorities()
    assert root.encode() == made.pem and leaf.chain.count("BEGIN CERTIFICATE") == 1, "who verifies it has the root"
    for purpose in ("sslserver", "sslclient"):
        verified(leaf, root, purpose, tmp_path)
    key = load_pem_private_key(leaf.key.encode(), None)
    assert leaf.key.startswith("-----BEGIN PRIVATE KEY-----") and key.public_key() == found.public_key()
    assert leaf.key != again.key, "each has a key of its own"


@pytest.mark.parametrize(
    ("usage", "oid"), [("server", ExtendedKeyUsageOID.SERVER_AUTH), ("client", ExtendedKeyUsageOID.CLIENT_AUTH)]
)
def test_what_is_for_one_use_only_says_so(usage: Usage, oid: x509.ObjectIdentifier) -> None:
    found = certificate(issuer(authority().secret).issue(LeafRequest("CN=a", (), usages=frozenset({usage}))))
    assert list(found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [oid]


def test_an_intermediate_ca_sends_its_chain_without_the_root(tmp_path: Path) -> None:
    root = authority("Root", ends=5 * DAY)
    middle = authority("Middle", above=root)
    below = authority("Below", above=middle)
    one = issuer({**below.secret, "tls.crt": below.pem + middle.pem})
    leaf = one.issue(REQUEST)
    assert [found.subject.rfc4514_string() for found in x509.load_pem_x509_certificates(leaf.chain.encode())] == [
        REQUEST.subject,
        "CN=Below",
        "CN=Middle",
    ]
    assert one.authorities() == (root.pem.decode(),)
    verified(leaf, root.pem.decode(), "sslserver", tmp_path)
    assert certificate(leaf).not_valid_after_utc == root.certificate.not_valid_after_utc, "no longer than any above it"


def test_the_leaves_of_a_ca_that_an_older_one_has_signed_too_verify_by_either(tmp_path: Path) -> None:
    old, new = authority("Old"), authority("New")
    signed_by_old = authority("New", above=old, own=new.key)
    one = issuer({**new.secret, "tls.crt": new.pem + signed_by_old.pem})
    leaf = one.issue(REQUEST)
    assert leaf.chain.count("BEGIN CERTIFICATE") == 2 and one.authorities() == (new.pem.decode(),)
    for root in (old, new):
        verified(leaf, root.pem.decode(), "sslserver", tmp_path)


@pytest.mark.parametrize(
    ("asked", "setting", "lasts"),
    [(None, {}, 30 * DAY), (None, {"lifetime_days": 7}, 7 * DAY), (2 * DAY, {}, 2 * DAY), (300 * DAY, {}, 30 * DAY)],
    ids=["the CA's end is before ninety days", "as the settings say", "as the request says", "never past the CA's end"],
)
def test_lifetimes(asked: timedelta | None, setting: dict[str, object], lasts: timedelta) -> None:
    now = datetime.now(UTC)
    found = certificate(issuer(authority().secret, **setting).issue(LeafRequest("CN=a", ("a",), asked)))
    assert abs(found.not_valid_after_utc - now - lasts) < timedelta(minutes=1)
    assert timedelta(minutes=4) < now - found.not_valid_before_utc < timedelta(minutes=6), "for clocks that are behind"


def secret_with(**changes: bytes | None) -> Callable[[], dict[str, bytes]]:
    def made() -> dict[str, bytes]:
        names = {name.replace("_", "."): value for name, value in changes.items()}
        return {key: value for key, value in {**authority().secret, **names}.items() if value is not None}

    return made


def of(**how: object) -> Callable[[], dict[str, bytes]]:
    return lambda: authority(**how).secret  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (lambda: None, "Secret kafka-ca: there is none; make a CA as docs/security.md says"),
        (
            secret_with(tls_key=None),
            "Secret kafka-ca: it has no tls.key; a CA's certificate is in tls.crt and its key in tls.key",
        ),
        (secret_with(tls_crt=b""), "Secret kafka-ca: it has no tls.crt"),
        (secret_with(tls_crt=b"certificate"), "Secret kafka-ca: tls.crt: holds no certificate in PEM"),
        (secret_with(tls_key=b"KEY"), "Secret kafka-ca: tls.key holds no private key in PEM"),
        (
            lambda: {**authority().secret, "tls.key": authority().key_pem(b"p")},
            "tls.key is encrypted; write it without a password",
        ),
        (lambda: {**authority().secret, "tls.key": authority().key_pem()}, "tls.key isn't the key of tls.crt; replace both"),
        (of(begins=-2 * DAY, ends=-DAY), r"CN=Kafka CA has expired at 20\d\d-.* UTC; make a new CA and change to it"),
        (of(begins=DAY), r"CN=Kafka CA isn't valid before 20\d\d-.* UTC; is this machine's clock right"),
        (of(is_ca=False), r"CN=Kafka CA is no CA's certificate \(CA:FALSE\)"),
        (of(is_ca=None), r"CN=Kafka CA is no CA's certificate \(it has no basic constraints\)"),
        (of(signs=False), "CN=Kafka CA may not sign certificates"),
        (
            lambda: {**authority(above=authority("Root")).secret, "ca.crt": b""},
            "nothing in it has issued CN=Kafka CA.*root as ca.crt",
        ),
        (of(above=authority("Root", begins=-2 * DAY, ends=-DAY)), "CN=Root has expired"),
    ],
)
def test_what_can_t_issue_says_why(made: Callable[[], dict[str, bytes] | None], why: str) -> None:
    one = issuer(made())
    for call in (one.authorities, lambda: one.check(REQUEST), lambda: one.issue(REQUEST)):
        with pytest.raises(Refused, match=why) as refused:
            call()
        assert type(refused.value) is Refused and refused.value.__cause__ is None, "a cause would reach the history"


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (LeafRequest("kafka-0", ("a",)), "subject 'kafka-0': no distinguished name as RFC 4514"),
        (LeafRequest("CN=a", ("bücher",)), "name 'bücher': neither an IP address nor a DNS name in ASCII"),
    ],
)
def test_what_can_t_be_asked_for_says_why(request_: LeafRequest, why: str) -> None:
    one = issuer(authority().secret)
    for call in (one.check, one.issue):
        with pytest.raises(Refused, match=why):
            call(request_)


def test_a_ca_that_is_replaced_under_its_name_issues_at_once() -> None:
    first, second = authority("First"), authority("Second")
    secrets = FakeSecrets({"kafka-ca": first.secret})
    one = PrivateIssuer(secrets, PrivateSettings(kind="private", secret="kafka-ca"))
    assert certificate(one.issue(REQUEST)).issuer.rfc4514_string() == "CN=First"
    secrets.put("kafka-ca", second.secret)
    assert certificate(one.issue(REQUEST)).issuer.rfc4514_string() == "CN=Second"


def secrets_of(made: Authority, leaf: Leaf) -> list[str]:
    """What nothing may show: a line of each key."""
    return [text.splitlines()[1] for text in (made.key_pem().decode(), leaf.key)]


def test_no_key_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    made = authority()
    one = issuer(made.secret)
    with caplog.at_level(logging.DEBUG):
        leaf = one.issue(REQUEST)
    shown = [repr(leaf), str(leaf), repr(one._authority()), repr(one._secrets.read("kafka-ca")), caplog.text]
    assert not [key for key in secrets_of(made, leaf) for text in shown if key in text]


def test_the_documented_lines_make_a_ca(tmp_path: Path) -> None:
    """The lines in docs/security.md, without kubectl's."""
    text = (ROOT / "docs" / "security.md").read_text()
    match = re.search(r"```bash\n(openssl req -x509 .+?)\nkubectl", text, re.DOTALL)
    assert match is not None
    subprocess.run(["bash", "-ec", match[1]], cwd=tmp_path, check=True, capture_output=True)
    one = issuer({name: (tmp_path / name).read_bytes() for name in ("tls.crt", "tls.key")})
    verified(one.issue(REQUEST), one.authorities()[0], "sslserver", tmp_path)
