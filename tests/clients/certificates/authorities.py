"""Certificate authorities for tests, sound ones and others, in the form in which a Secret holds them."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Authority:
    """A certificate with its key, and the one that has issued it (None: itself)."""

    certificate: x509.Certificate
    key: Any
    above: "Authority | None" = None

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def key_pem(self, password: bytes | None = None) -> bytes:
        encryption = BestAvailableEncryption(password) if password else NoEncryption()
        return bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))

    @property
    def secret(self) -> dict[str, bytes]:
        """As cert-manager writes it."""
        root = self
        while root.above is not None:
            root = root.above
        return {"tls.crt": self.pem, "tls.key": self.key_pem(), "ca.crt": root.pem}


def key(kind: str = "EC") -> Any:
    match kind:
        case "RSA":
            return rsa.generate_private_key(65537, 2048)
        case "Ed25519":
            return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1())


def authority(
    name: str = "Kafka CA",
    *,
    above: Authority | None = None,
    kind: str = "EC",
    own: Any = None,
    begins: timedelta = -DAY,
    ends: timedelta = 30 * DAY,
    is_ca: bool | None = True,
    signs: bool = True,
) -> Authority:
    """Make one. `is_ca` is None where it doesn't say, `signs` whether its key usage allows it to sign certificates.

    Args:
        own: its key, if it has one already.
    """
    own, now = own or key(kind), datetime.now(UTC)
    subject = x509.Name.from_rfc4514_string(f"CN={name}")
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if above is None else above.certificate.subject)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False)
        .add_extension(x509.KeyUsage(True, False, False, False, False, signs, signs, False, False), critical=True)
    )
    if is_ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    if above is not None:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(above.key.public_key())
        builder = builder.add_extension(identifier, critical=False)
    signer = own if above is None else above.key
    has_own_hash = isinstance(signer, ed25519.Ed25519PrivateKey)
    return Authority(builder.sign(signer, None if has_own_hash else hashes.SHA256()), own, above)
