"""A private CA whose certificate and key are in a Secret, in the form of cert-manager and of `kubectl create secret tls`.

`tls.crt` is the CA's certificate, followed by others that are sent along: those above it, or its own signed by an older CA.
`ca.crt`, if there is one, is the root's.
Who may read the Secret can make any certificate: the worker may, so that it can issue at night what nobody is there to issue.
The Secret is read for each certificate, for a CA is replaced under the same name too.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from kafka_runbooks.clients.certificates import leaves
from kafka_runbooks.clients.certificates.pem import has_signed
from kafka_runbooks.clients.certificates.protocols import Leaf, LeafRequest, Secrets
from kafka_runbooks.clients.certificates.settings import PrivateSettings
from kafka_runbooks.clients.errors import Refused

CLOCK_SKEW = timedelta(minutes=5)
"""How long before now a certificate begins, for those whose clock is behind."""
SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey


@dataclass(frozen=True)
class _Authority:
    chain: tuple[x509.Certificate, ...]
    """Its certificate, and those above it without the root."""
    root: x509.Certificate
    sent_along: tuple[x509.Certificate, ...]
    """Other ways up, for those who don't trust the root."""
    key: SigningKey = field(repr=False)

    @property
    def certificate(self) -> x509.Certificate:
        return self.chain[0] if self.chain else self.root

    @property
    def ends_at(self) -> datetime:
        return min(one.not_valid_after_utc for one in (*self.chain, self.root))


class PrivateIssuer:
    """`Issuer` with the key of a CA."""

    def __init__(self, secrets: Secrets, settings: PrivateSettings) -> None:
        self._secrets = secrets
        self._settings = settings

    def authorities(self) -> tuple[str, ...]:
        return (leaves.pem(self._authority().root),)

    def check(self, request: LeafRequest) -> None:
        leaves.subject(request)
        leaves.extensions(request)
        self._authority()

    def issue(self, request: LeafRequest) -> Leaf:
        authority, key, now = self._authority(), leaves.new_key(), datetime.now(UTC)
        ca = authority.certificate
        builder = (
            x509.CertificateBuilder()
            .subject_name(leaves.subject(request))
            .issuer_name(ca.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(min(now + (request.lifetime or self._settings.lifetime), authority.ends_at))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(_key_identifier(ca), critical=False)
        )
        for extension, is_critical in leaves.extensions(request):
            builder = builder.add_extension(extension, is_critical)
        has_own_hash = isinstance(authority.key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
        certificate = builder.sign(authority.key, None if has_own_hash else hashes.SHA256())
        return leaves.leaf(request, key, (certificate, *authority.chain, *authority.sent_along), (authority.root,))

    def _authority(self) -> _Authority:
        name = self._settings.secret
        secret = self._secrets.read(name)
        if secret is None:
            raise Refused(
                f"Secret {name}: there is none; make a CA as docs/security.md says, or correct `secret` in clusters.yaml"
            )
        for part in ("tls.crt", "tls.key"):
            if not secret.data.get(part):
                raise Refused(f"Secret {name}: it has no {part}; a CA's certificate is in tls.crt and its key in tls.key, as PEM")
        key = _key(secret.data["tls.key"], f"Secret {name}: tls.key")
        chain = leaves.certificates(secret.data["tls.crt"], f"Secret {name}: tls.crt")
        roots = leaves.certificates(secret.data["ca.crt"], f"Secret {name}: ca.crt") if secret.data.get("ca.crt") else []
        if chain[0].public_key() != key.public_key():
            raise Refused(f"Secret {name}: tls.key isn't the key of tls.crt; replace both by a certificate and its key")
        way, root = _to_root(chain, roots, name)
        authority = _Authority(way, root, tuple(one for one in chain if one not in way and not has_signed(one, one)), key)
        for one in (*authority.chain, authority.root):
            if fault := _fault(one):
                raise Refused(f"Secret {name}: {one.subject.rfc4514_string()} {fault}")
        return authority


def _to_root(
    chain: list[x509.Certificate], roots: list[x509.Certificate], secret: str
) -> tuple[tuple[x509.Certificate, ...], x509.Certificate]:
    """The certificates from the CA's upwards, and the root."""
    way: list[x509.Certificate] = []
    found: x509.Certificate | None = chain[0]
    while found is not None and found not in way:
        if has_signed(found, found):
            return tuple(way), found
        way.append(found)
        found = next((one for one in (*chain, *roots) if has_signed(one, way[-1])), None)
    raise Refused(
        f"Secret {secret}: nothing in it has issued {way[-1].subject.rfc4514_string()}, which didn't issue itself; "
        "add its issuers to tls.crt, and the root as ca.crt"
    )


def _key(text: bytes, where: str) -> SigningKey:
    try:
        key = load_pem_private_key(text, None)
    except TypeError:
        raise Refused(f"{where} is encrypted; write it without a password (openssl pkcs8 -topk8 -nocrypt)") from None
    except (ValueError, UnsupportedAlgorithm):
        raise Refused(f"{where} holds no private key in PEM") from None
    if not isinstance(key, SigningKey):
        raise Refused(f"{where} is of a kind that can't sign certificates; make it RSA, EC or Ed25519")
    return key


def _fault(certificate: x509.Certificate) -> str | None:
    """What makes a certificate unfit for a CA."""
    now, extensions = datetime.now(UTC), certificate.extensions
    try:
        if not extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return "is no CA's certificate (CA:FALSE); put a CA's into the Secret"
    except x509.ExtensionNotFound:
        return "is no CA's certificate (it has no basic constraints); put a CA's into the Secret"
    try:
        if not extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign:
            return "may not sign certificates (its key usage lacks keyCertSign); put a CA's into the Secret"
    except x509.ExtensionNotFound:
        pass
    if certificate.not_valid_after_utc <= now:
        return f"has expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC; make a new CA and change to it"
    if certificate.not_valid_before_utc > now:
        return f"isn't valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC; is this machine's clock right?"
    return None


def _key_identifier(ca: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    try:
        own = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.public_key())  # type: ignore[arg-type]  # it signs: see _key
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)
