"""What the files of a connection hold now. A message names field and path, never what is in a file."""

import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from kafka_runbooks.clients.errors import Refused

if TYPE_CHECKING:  # It imports YAML, and `place --help` has no time for that.
    from kafka_runbooks.clients.security.settings import TlsSettings

Version = tuple[tuple[int, ...] | None, ...]


def version(paths: Iterable[Path]) -> Version:
    """A value that changes when one of the files does, also if it is replaced or the link to it (as a Secret's volume does)."""
    return tuple(_version(path) for path in paths)


def _version(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class BadFile(Refused):
    """A file can't be used."""


def read_secret(path: Path, field: str) -> str:
    """The first line of a file, since editors end it with a newline."""
    try:
        secret = path.read_text().split("\n", 1)[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"{field} {path}: can't be read: {reason(error)}") from None
    if not secret:
        raise BadFile(f"{field} {path}: is empty; write the secret into it")
    return secret


def reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__


def tls_context(ca_file: Path | None, field: str) -> ssl.SSLContext:
    """Verifies the other side and its name by the CAs of a file, by default the system's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is None:
        context.load_default_certs()
        return context
    try:
        context.load_verify_locations(ca_file)
    except ssl.SSLError:
        raise BadFile(f"{field} {ca_file}: holds no certificate in PEM") from None
    except OSError as error:
        raise BadFile(f"{field} {ca_file}: can't be read: {reason(error)}") from None
    return context


def client_context(settings: "TlsSettings") -> ssl.SSLContext:
    """A client's, as the files are now.

    Raises:
        Refused: one can't be used; the message names the field and the path.
    """
    found = tls_context(settings.ca_file, "ca_file")
    if settings.certificate_file and settings.key_file:
        path = settings.key_password_file
        password = None if path is None else read_secret(path, "key_password_file")
        load_client_certificate(found, settings.certificate_file, settings.key_file, password)
    return found


def load_client_certificate(context: ssl.SSLContext, certificate: Path, key: Path, password: str | None) -> None:
    """Load a client certificate, to be sent to whoever asks for one."""
    for field, path in (("certificate_file", certificate), ("key_file", key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise BadFile(f"{field} {path}: can't be read: {reason(error)}") from None
    try:
        # Without a password of its own, OpenSSL would ask the terminal for that of an encrypted key.
        context.load_cert_chain(certificate, key, password or (lambda: b""))
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise BadFile(f"key_file {key}: isn't the key of certificate_file {certificate}") from None
        if "ENCRYPTED" in key.read_text(errors="replace"):
            fix = "is wrong" if password else "is missing: the key is encrypted"
            raise BadFile(f"key_password_file: {fix} (key_file {key})") from None
        raise BadFile(f"certificate_file {certificate}, key_file {key}: no certificate and key in PEM") from None
