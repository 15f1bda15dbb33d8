"""Java's security log, with lines as OpenJDK 17 has written them."""

from kafka_runbooks.clients.kubernetes.handshake_log import handshakes
from kafka_runbooks.models.certificates import ClientHandshake

LOG = """\
[2026-11-27 07:06:30,112] INFO [SocketServer listenerType=BROKER, nodeId=1] Started (kafka.network.SocketServer)
2026-11-27T07:06:30.729Z jdk.event.security X509Certificate: Alg:SHA256withECDSA, Serial:3f:26:cf, Subject:CN=s, \
Issuer:CN=old ca, Key type:EC, Length:256, Cert Id:1231633049, Valid from:11/27/26, 7:06 AM, Valid until:11/28/26, 7:06 AM
2026-11-27T07:06:37.667Z jdk.event.security X509Certificate: Alg:SHA256withECDSA, Serial:3f:26:d0, Subject:CN=c, O=billing, \
Issuer:CN=old ca, O=us, Key type:EC, Length:256, Cert Id:-1624996988, Valid from:11/27/26, 7:06 AM, Valid until:11/28/26, 7:06 AM
2026-11-27T07:06:38.008Z jdk.event.security ValidationChain: -1191776680, -1624996988
2026-11-27T07:06:38.187Z jdk.event.security  TLSHandshake: 10.0.0.7:40270, TLSv1.3, TLS_AES_256_GCM_SHA384, -1624996988
2026-11-27T07:06:40.728Z jdk.event.security  TLSHandshake: 10.0.0.7:40274, TLSv1.3, TLS_AES_256_GCM_SHA384, -1624996988
2026-11-27T07:06:41.728Z jdk.event.security  TLSHandshake: 10.0.0.8:40274, TLSv1.3, TLS_AES_256_GCM_SHA384, 77
"""


def test_each_client_once_with_its_certificates_issuer() -> None:
    """One whose certificate was logged too long ago is left out, and so is a certificate that no client has presented."""
    assert handshakes(LOG) == (ClientHandshake(host="10.0.0.7", subject="CN=c, O=billing", issuer="CN=old ca, O=us"),)


def test_a_log_that_says_nothing_of_handshakes_is_not_a_log_without_clients() -> None:
    assert handshakes(LOG.splitlines()[0]) is None
    assert handshakes(LOG.splitlines()[1]) == ()
