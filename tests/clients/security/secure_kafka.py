"""A real Kafka of one broker with a listener for each way to connect, and an authorizer.

The plain listener's principal is a superuser, for what an administrator does. Everybody else may do what ACLs allow.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from tests.clients.local_kafka import LocalKafka
from tests.clients.security.certificates import Authority, Leaf, written
from tests.clients.security.token_endpoint import AUDIENCE, TokenEndpoint, token_endpoint

BROKER_ID = 1001
LOGIN = "org.apache.kafka.common.security"
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
PLAIN_USER, PLAIN_PASSWORD = "plain-user", "plain-secret"
LISTENERS = {
    "TLS": "SSL",
    "EXPIRED": "SSL",
    "OTHERNAME": "SSL",
    "SASLTLS": "SASL_SSL",
    "SASLPLAIN": "SASL_PLAINTEXT",
}


class SecureKafka(LocalKafka):
    """Listeners: `TLS` (a client certificate is required), `SASLTLS` and `SASLPLAIN` (every mechanism), `EXPIRED`, `OTHERNAME`.

    Attributes:
        authority: whose certificates brokers serve and trust.
        ca_file: its certificate.
        endpoint: the token endpoint whose tokens are accepted.
        acl_command: the class behind `kafka-acls.sh`.
    """

    acl_command = "org.apache.kafka.tools.AclCommand"

    def __init__(self, folder: Path, endpoint: TokenEndpoint) -> None:
        self.authority = Authority("test CA")
        self.ca_file = written(folder / "ca.pem", self.authority.pem)
        self.endpoint = endpoint
        keys = folder / "keys.json"
        endpoint.write_keys(keys)
        serving = {
            "TLS": self.authority.leaf("broker", "127.0.0.1"),
            "SASLTLS": self.authority.leaf("broker", "127.0.0.1"),
            "EXPIRED": self.authority.leaf("broker", "127.0.0.1", expired=True),
            "OTHERNAME": self.authority.leaf("broker", "127.0.0.2", hosts=("broker.test",)),
        }
        properties = "".join(self._tls(folder, name, leaf) for name, leaf in serving.items())
        properties += "listener.name.tls.ssl.client.auth=required\n"
        # As Kafka's default is: then the question whether a topic may be described can be taken for one to create it.
        properties += "auto.create.topics.enable=true\n"
        properties += "".join(_sasl(name, keys) for name in ("sasltls", "saslplain"))
        super().__init__(
            folder,
            {BROKER_ID: "zone-a"},
            properties=properties,
            listeners=LISTENERS,
            java_options=[f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={keys.as_uri()}"],
            authorizer=True,
        )

    def _tls(self, folder: Path, listener: str, leaf: Leaf) -> str:
        store = written(folder / f"{listener}.pem", leaf.both)
        prefix = f"listener.name.{listener.lower()}.ssl"
        return (
            f"{prefix}.keystore.type=PEM\n{prefix}.keystore.location={store}\n"
            f"{prefix}.truststore.type=PEM\n{prefix}.truststore.location={self.ca_file}\n"
        )

    @cached_property
    def administrator(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})

    def allow_everything(self, *principals: str) -> None:
        self.allow(
            AclBinding(kind, name, ResourcePatternType.LITERAL, principal, "*", AclOperation.ALL, AclPermissionType.ALLOW)
            for kind, name in ((ResourceType.TOPIC, "*"), (ResourceType.BROKER, "kafka-cluster"))
            for principal in principals
        )

    def allow(self, acls: Iterable[AclBinding]) -> None:
        for future in self.administrator.create_acls(list(acls)).values():
            future.result(20)

    def set_password(self, user: str, password: str) -> None:
        """Of a SCRAM user."""
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
            change = UserScramCredentialUpsertion(user, ScramCredentialInfo(mechanism, 4096), password.encode())
            for future in self.administrator.alter_user_scram_credentials([change]).values():
                future.result(20)


def _sasl(listener: str, keys: Path) -> str:
    prefix = f"listener.name.{listener}"
    modules = {
        "plain": f'{LOGIN}.plain.PlainLoginModule required user_{PLAIN_USER}="{PLAIN_PASSWORD}"',
        "scram-sha-256": f"{LOGIN}.scram.ScramLoginModule required",
        "scram-sha-512": f"{LOGIN}.scram.ScramLoginModule required",
        "oauthbearer": f"{LOGIN}.oauthbearer.OAuthBearerLoginModule required",
    }
    return (
        f"{prefix}.sasl.enabled.mechanisms={','.join(MECHANISMS)}\n"
        # A connection ends with its token unless the client sends another one (KIP-368).
        f"{prefix}.connections.max.reauth.ms=3600000\n"
        + "".join(f"{prefix}.{mechanism}.sasl.jaas.config={module};\n" for mechanism, module in modules.items())
        + f"{prefix}.oauthbearer.sasl.server.callback.handler.class={LOGIN}.oauthbearer.OAuthBearerValidatorCallbackHandler\n"
        + f"{prefix}.oauthbearer.sasl.oauthbearer.jwks.endpoint.url={keys.as_uri()}\n"
        + f"{prefix}.oauthbearer.sasl.oauthbearer.expected.audience={AUDIENCE}\n"
    )


@contextmanager
def secure_kafka(folder: Path, kind: type[SecureKafka] = SecureKafka) -> Iterator[SecureKafka]:
    """A running one, with a topic `events` of one partition."""
    with token_endpoint() as endpoint:
        cluster = kind(folder, endpoint)
        try:
            cluster.start()
            for future in cluster.administrator.create_topics([NewTopic("events", 1, 1)]).values():
                future.result(20)
            yield cluster
        finally:
            cluster.stop()
