"""Leaf certificates: what is asked for, and whether what came back is that.

Keys are made here, for every request a new one: P-256, which Kafka's PEM stores and every client of TLS 1.2 and 1.3 can use.
What an issuer answers is looked at before anything uses it. A certificate for other names, or of another CA than everybody is
told to trust, would be found out by brokers.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from kafka_runbooks.clients.certificates.pem import has_signed
from kafka_runbooks.clients.certificates.protocols import Leaf, LeafRequest, Usage
from kafka_runbooks.clients.errors import Refused

USAGES: dict[Usage, x509.ObjectIdentifier] = {
    "server": ExtendedKeyUsageOID.SERVER_AUTH,
    "client": ExtendedKeyUsageOID.CLIENT_AUTH,
}
KEY_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
"""Of an elliptic curve's key, which only signs."""


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def subject(request: LeafRequest) -> x509.Name:
    """The distinguished name.

    Raises:
        Refused: it is none.
    """
    try:
        return x509.Name.from_rfc4514_string(request.subject)
    except ValueError:
        raise Refused(
            f"subject {request.subject!r}: no distinguished name as RFC 4514 writes it, such as CN=kafka-0,O=example"
        ) from None


def extensions(request: LeafRequest) -> list[tuple[x509.ExtensionType, bool]]:
    """What a certificate or a request for one says besides subject and key, each with whether it is critical."""
    usages = x509.ExtendedKeyUsage([oid for usage, oid in USAGES.items() if usage in request.usages])
    found: list[tuple[x509.ExtensionType, bool]] = [(KEY_USAGE, True), (usages, False)]
    if request.names:
        found.append((x509.SubjectAlternativeName(_general_names(request.names)), not request.subject))
    return found


def usages(request: LeafRequest) -> list[str]:
    """The same usages as Kubernetes calls them, in the same order: cert-manager compares both."""
    return ["digital signature", *(f"{usage} auth" for usage in USAGES if usage in request.usages)]


def signing_request(request: LeafRequest, key: ec.EllipticCurvePrivateKey) -> str:
    """A certificate signing request (PKCS #10), as PEM.

    Raises:
        Refused: there can be no such certificate.
    """
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject(request))
    for extension, is_critical in extensions(request):
        builder = builder.add_extension(extension, is_critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def leaf(
    request: LeafRequest,
    key: ec.EllipticCurvePrivateKey,
    chain: Sequence[x509.Certificate],
    authorities: Sequence[x509.Certificate],
) -> Leaf:
    """What was issued, if it is what was asked for. Authorities are left out of the chain: who verifies it has them.

    Raises:
        Refused: it is something else; the message says in what.
    """
    if fault := _fault(request, key, chain, authorities):
        raise Refused(f"the certificate that was issued for {request.subject or ', '.join(request.names)} can't be used: {fault}")
    sent = "".join(pem(one) for one in chain if one not in authorities)
    return Leaf(sent, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def _fault(
    request: LeafRequest,
    key: ec.EllipticCurvePrivateKey,
    chain: Sequence[x509.Certificate],
    authorities: Sequence[x509.Certificate],
) -> str | None:
    if not chain:
        return "there is none"
    first = chain[0]
    if first.public_key() != key.public_key():
        return "it is for another key"
    if first.subject != subject(request):
        return f"its subject is {first.subject.rfc4514_string() or 'empty'}"
    if missing := sorted(map(_text, set(_general_names(request.names)) - set(_names(first)))):
        return f"it lacks the names {', '.join(missing)}"
    if lacking := sorted(request.usages - _usages(first)):
        return f"it isn't for use as a {' nor as a '.join(lacking)}"
    if first.not_valid_after_utc <= datetime.now(UTC):
        return "it has expired already"
    if not any(one in authorities or any(has_signed(above, one) for above in authorities) for one in _path(chain)):
        return "it isn't of the CA in ca_file (or in the CA's Secret)"
    return None


def _path(chain: Sequence[x509.Certificate]) -> Iterable[x509.Certificate]:
    """The leaf, its issuer in the chain, and so on."""
    found, rest = chain[0], list(chain[1:])
    yield found
    while above := next((one for one in rest if has_signed(one, found)), None):
        yield above
        found = above
        rest.remove(above)


def _names(certificate: x509.Certificate) -> tuple[x509.GeneralName, ...]:
    try:
        return tuple(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return ()


def _text(name: x509.GeneralName) -> str:
    return str(name.value)


def _usages(certificate: x509.Certificate) -> frozenset[Usage]:
    """What it may be used for: for both, where it doesn't say."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return frozenset(USAGES)
    return frozenset(usage for usage, oid in USAGES.items() if oid in found)


def certificates(text: bytes, where: str) -> list[x509.Certificate]:
    """The certificates in a PEM text.

    Raises:
        Refused: it holds none.
    """
    try:
        return x509.load_pem_x509_certificates(text)
    except ValueError:
        raise Refused(f"{where}: holds no certificate in PEM") from None


def authorities(ca_file: Path) -> list[x509.Certificate]:
    """The certificates in an issuer's `ca_file`.

    Raises:
        Refused: it can't be read, or holds none.
    """
    try:
        return certificates(ca_file.read_bytes(), f"ca_file {ca_file}")
    except OSError as error:
        raise Refused(f"ca_file {ca_file}: can't be read: {error.strerror}") from None


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _general_names(names: Iterable[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            try:
                found.append(x509.DNSName(name))
            except ValueError:
                raise Refused(f"name {name!r}: neither an IP address nor a DNS name in ASCII") from None
    return found
