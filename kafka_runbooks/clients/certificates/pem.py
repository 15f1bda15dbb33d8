"""PEM files: what is public of the certificates in them, and which authority has issued one.

A digest is made of a file's certificates alone, so it tells nothing of a key, and agent and worker make the same one.
"""

import base64
import binascii
import functools
import hashlib
import re
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from kafka_runbooks.clients.certificates.protocols import Leaf
from kafka_runbooks.models.certificates import Certificate

CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)
KEY = re.compile(rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----.*?-----END (?:[A-Z]+ )*PRIVATE KEY-----", re.DOTALL)


def ders(data: bytes) -> tuple[bytes, ...]:
    """The certificates in a PEM file, in its order; a block that isn't base64 as it is."""
    return tuple(_decoded(b"".join(found.split())) for found in CERTIFICATE.findall(data))


def _decoded(block: bytes) -> bytes:
    try:
        return base64.b64decode(block, validate=True)
    except binascii.Error:
        return block


def digest(data: bytes) -> str:
    """SHA-256 over the certificates in a PEM file, in its order; what is around them doesn't count."""
    return hashlib.sha256(b"".join(hashlib.sha256(der).digest() for der in ders(data))).hexdigest()


@functools.lru_cache(maxsize=4096)
def certificate(der: bytes) -> Certificate:
    """What is public of a certificate; remembered, since each look at a cluster asks for all of them.

    Raises:
        ValueError: it isn't one.
    """
    return _public(x509.load_der_x509_certificate(der))


def certificates(data: bytes) -> tuple[Certificate, ...]:
    """Those of a PEM file that are readable, in its order."""
    found = []
    for der in ders(data):
        try:
            found.append(certificate(der))
        except ValueError:
            continue
    return tuple(found)


def by_sha256(data: bytes) -> dict[str, str]:
    """The certificates of a PEM file, each as PEM of its own, by SHA-256."""
    return {hashlib.sha256(der).hexdigest(): _pem(der) for der in ders(data)}


def fingerprint(authority: str) -> str:
    """The SHA-256 of a certificate (PEM), by which an authority is called."""
    return hashlib.sha256(ders(authority.encode())[0]).hexdigest()


def leaf_of(data: bytes) -> Leaf | None:
    """The key and the chain of a PEM keystore; None where one is missing."""
    key, chain = KEY.search(data), CERTIFICATE.findall(data)
    if key is None or not chain:
        return None
    return Leaf(chain="".join(_pem(der) for der in ders(data)), key=key.group().decode() + "\n")


def is_usable(data: bytes) -> bool:
    """Whether a PEM keystore has a key, and a certificate that is of this key: a node starts with nothing else."""
    leaf = leaf_of(data)
    if leaf is None:
        return False
    try:
        # What an RSA key's numbers are good for is the broker's to check: it takes milliseconds.
        key = load_pem_private_key(leaf.key.encode(), None, unsafe_skip_rsa_key_validation=True)
        return key.public_key() == x509.load_der_x509_certificate(ders(data)[0]).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False


def keystore(leaf: Leaf) -> bytes:
    """A leaf as Kafka's PEM keystore."""
    return f"{leaf.key.strip()}\n{leaf.chain.strip()}\n".encode()


@functools.lru_cache(maxsize=4096)
def issued_by(der: bytes, intermediate: tuple[bytes, ...], authorities: tuple[str, ...]) -> str | None:
    """The authority (PEM), of these, that has issued a certificate, itself or through intermediate ones; its SHA-256.

    Raises:
        ValueError: one of them isn't a certificate.
    """
    known = {one.fingerprint: one for one in map(_authority, authorities)}
    between = [x509.load_der_x509_certificate(one) for one in intermediate]
    current = x509.load_der_x509_certificate(der)
    for _ in range(len(between) + 1):
        for found in known.values():
            if has_signed(found.certificate, current):
                return found.fingerprint
        above = next((one for one in between if one != current and has_signed(one, current)), None)
        if above is None:
            return None
        current = above
    return None


class _Authority(NamedTuple):
    certificate: x509.Certificate
    fingerprint: str


def _authority(pem: str) -> _Authority:
    (der,) = ders(pem.encode())[:1]
    return _Authority(x509.load_der_x509_certificate(der), hashlib.sha256(der).hexdigest())


def has_signed(above: x509.Certificate, below: x509.Certificate) -> bool:
    """Whether one certificate's key has signed the other one."""
    try:
        below.verify_directly_issued_by(above)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _public(found: x509.Certificate) -> Certificate:
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = None
    shown = [] if names is None else [str(one.value) for one in names if isinstance(one, (x509.DNSName, x509.IPAddress))]
    return Certificate(
        subject=found.subject.rfc4514_string(),
        issuer=found.issuer.rfc4514_string(),
        serial=f"{found.serial_number:X}",
        sha256=hashlib.sha256(found.public_bytes(Encoding.DER)).hexdigest(),
        names=tuple(shown),
        not_before=found.not_valid_before_utc,
        not_after=found.not_valid_after_utc,
    )


def _pem(der: bytes) -> str:
    lines = base64.encodebytes(der).decode().replace("\n", "")
    body = "\n".join(lines[start : start + 64] for start in range(0, len(lines), 64))
    return f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"
