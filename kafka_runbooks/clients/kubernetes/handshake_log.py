"""Who connects to a broker with whose certificate, as Java itself logs it.

Kafka tells of no connection which authority its certificate is of. Java's security log does (the logger
`jdk.event.security`, at FINE): a line for each certificate that it has read, with its issuer, and one for each handshake,
with the client's address and the certificate's id.
"""

import re

from kafka_runbooks.models.certificates import ClientHandshake

CERTIFICATE = re.compile(
    r"X509Certificate: .*?Subject:(?P<subject>.*), Issuer:(?P<issuer>.*), Key type:.*?Cert Id:(?P<id>-?\d+),"
)
HANDSHAKE = re.compile(r"TLSHandshake: (?P<host>\S+):\d+, [^,]+, [^,]+, (?P<id>-?\d+)")
LOGGER = "jdk.event.security"


def handshakes(log: str) -> tuple[ClientHandshake, ...] | None:
    """Each client that a log has a handshake of, once; None: Java doesn't log any."""
    if LOGGER not in log and HANDSHAKE.search(log) is None:
        return None
    certificates = {found["id"]: (found["subject"], found["issuer"]) for found in CERTIFICATE.finditer(log)}
    seen = dict.fromkeys(
        (found["host"], *certificates[found["id"]]) for found in HANDSHAKE.finditer(log) if found["id"] in certificates
    )
    return tuple(ClientHandshake(host=host, subject=subject, issuer=issuer) for host, subject, issuer in seen)
