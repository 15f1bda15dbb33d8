"""Certificates for tests: authorities, and leaves of every kind that goes wrong, as PEM files."""

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Leaf:
    """A certificate and its key, each as a PEM text; `both` is what Kafka's PEM stores take."""

    certificate: str
    key: str

    @property
    def both(self) -> str:
        return self.key + self.certificate


class Authority:
    """A private CA."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate = (
            self._builder(self._name, self._key, datetime.datetime.now(datetime.UTC) + DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = self._certificate.public_bytes(Encoding.PEM).decode()

    def _builder(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, ends: datetime.datetime) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(ends - 2 * DAY)
            .not_valid_after(ends)
        )

    def leaf(
        self, name: str, *addresses: str, hosts: tuple[str, ...] = (), expired: bool = False, password: str | None = None
    ) -> Leaf:
        """A certificate for IP addresses and host names; the key is encrypted if there is a password."""
        key = ec.generate_private_key(ec.SECP256R1())
        ends = datetime.datetime.now(datetime.UTC) + (-DAY if expired else DAY)
        builder = self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, ends)
        names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        names += [x509.DNSName(host) for host in hosts]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
        return Leaf(
            builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM).decode(),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode(),
        )


def written(path: Path, text: str) -> Path:
    """Write a file as it is replaced in production: beside it, then renamed."""
    beside = path.with_name(path.name + ".new")
    beside.write_text(text)
    beside.replace(path)
    return path
