"""Nodes' TLS files: where they are, what a node would say of them, and having it read them again (`docs/security.md`).

Any change of a node's own dynamic configurations makes it read its files, also one that changes nothing. So what isn't set is
deleted, and what somebody has set is set to the value it has. A path in another spelling is a change that a broker validates by
reading the files: so it tells what it would refuse, where a reload only logs it.

What a controller's configurations are it is asked itself, by hand: brokers don't pass that on, and the libraries connect to none.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from kafka.errors import InvalidConfigurationError, InvalidRequestError, NoError, NotControllerError, for_code
from kafka.protocol.admin import DescribeConfigsRequest, IncrementalAlterConfigsRequest

from kafka_runbooks.clients.errors import ClientError, Refused, Unreachable
from kafka_runbooks.clients.kafka.configs import alter_broker_request, broker_configs, described_broker, error_of
from kafka_runbooks.clients.kafka.kafka_python import BROKER_SECONDS, KafkaPythonAdmin
from kafka_runbooks.clients.security.acls import ALTER_CONFIGS
from kafka_runbooks.clients.security.connection import Connection
from kafka_runbooks.clients.security.probe import ask, link_to
from kafka_runbooks.models.certificates import Listener, Stores
from kafka_runbooks.models.cluster import BrokerConfig

LISTENERS, ADVERTISED, PROTOCOLS = "listeners", "advertised.listeners", "listener.security.protocol.map"
KEYSTORE, TRUSTSTORE = "ssl.keystore.location", "ssl.truststore.location"
KEYSTORE_TYPE, TRUSTSTORE_TYPE = "ssl.keystore.type", "ssl.truststore.type"
CLIENT_AUTHENTICATION, THREADS = "ssl.client.auth", "num.network.threads"
OF_A_LISTENER = (KEYSTORE, TRUSTSTORE, KEYSTORE_TYPE, TRUSTSTORE_TYPE, CLIENT_AUTHENTICATION, THREADS)
ADDRESS = re.compile(r"^\s*(?P<name>[^:]+)://\[?(?P<host>[^\]]*?)\]?:(?P<port>\d+)\s*$")
WORDS = re.compile(
    r"SSLFactory failed: (?:[\w.]+(?:Exception|Error): )?(?P<why>.*?)(?: for configuration Invalid dynamic .*)?$", re.DOTALL
)
INVALID = (InvalidRequestError, InvalidConfigurationError)
"""Answers to files that a broker doesn't take."""
VERSIONS = {DescribeConfigsRequest: 4, IncrementalAlterConfigsRequest: 1}
"""Of messages to controllers, which all that there are (Kafka >= 3.3) know."""


class _Address(NamedTuple):
    name: str
    host: str
    port: int


class NodeStores:
    """Of one cluster's nodes; may be used by several threads."""

    def __init__(self, admin: KafkaPythonAdmin, connection: Connection) -> None:
        self._admin = admin
        self._connection = connection

    def stores(self, node_ids: Iterable[int]) -> dict[int, tuple[Stores, ...]]:
        """`protocols.Kafka.tls_stores`."""
        controllers = self._controllers(node_ids := frozenset(node_ids))
        first = self._configs(dict.fromkeys(node_ids, (LISTENERS, ADVERTISED, PROTOCOLS, THREADS)), controllers)
        with_tls = {node_id: list(_with_tls(node_id, found, controllers)) for node_id, found in first.items()}
        wanted = {
            node_id: (*OF_A_LISTENER, *(_key(one.name, key) for one in found for key in OF_A_LISTENER))
            for node_id, found in with_tls.items()
            if found
        }
        second = self._configs(wanted, controllers)
        answered = {node_id for node_id in first if node_id in second or not with_tls[node_id]}
        return {
            node_id: tuple(_stores(node_id, one, second[node_id], controllers, first[node_id]) for one in with_tls[node_id])
            for node_id in sorted(answered)
        }

    def of_controllers(self, node_ids: Iterable[int], names: Collection[str]) -> dict[int, dict[str, BrokerConfig]]:
        """`protocols.Kafka.controller_configs`."""
        controllers = self._controllers(frozenset(node_ids))
        return self._configs(dict.fromkeys(controllers, names), controllers)

    def refused(self, node_id: int, listeners: Collection[str]) -> str | None:
        """`protocols.Kafka.refused_stores`."""
        found = self._keystores(node_id, listeners)
        spelled = {key: _otherwise(one.in_force) for key, one in found.items() if one.in_force}
        if not spelled:
            return None
        result = self._alter(node_id, spelled, validate_only=True)
        kind = for_code(result.error_code)
        if kind in INVALID:
            words = WORDS.search(result.error_message or "")
            return words["why"] if words else result.error_message or kind.__name__
        _raise(node_id, result)
        return None

    def reload(self, node_id: int, listeners: Collection[str]) -> None:
        """`protocols.Kafka.reload_stores`."""
        own = {_key(name, KEYSTORE): None for name in listeners}
        found = self._keystores(node_id, listeners)
        changes = {key: found[key].own if key in found else None for key in own}
        result = self._alter(node_id, changes, validate_only=False)
        if for_code(result.error_code) not in INVALID:  # What a broker in ZooKeeper mode says of the files; others only log it.
            _raise(node_id, result)

    def _keystores(self, node_id: int, listeners: Collection[str]) -> dict[str, BrokerConfig]:
        """The keystore of each listener, by its own key, also where the value is inherited."""
        keys = [KEYSTORE, *(_key(name, KEYSTORE) for name in listeners)]
        found = self._configs({node_id: keys}, self._controllers([node_id])).get(node_id)
        if found is None:
            raise Unreachable(f"node {node_id} doesn't say where its TLS files are")
        inherited = found.get(KEYSTORE)
        where = None if inherited is None else inherited.in_force
        for_listener = BrokerConfig(where, None, None, None, is_read_only=False, is_sensitive=False)
        named = {key: found.get(key) or for_listener for key in keys[1:]}
        return {key: one for key, one in named.items() if one is not None}

    def _alter(self, node_id: int, changes: Mapping[str, str | None], *, validate_only: bool) -> Any:
        request = alter_broker_request(node_id, changes, validate_only=validate_only)
        if self._controllers([node_id]):
            answer = self._ask_active_controller(request)
        else:
            answer = self._admin.ask(f"configs of node {node_id}", request, node_id, BROKER_SECONDS)
        if not answer.responses:
            raise Unreachable(f"configs of node {node_id}: the answer doesn't mention it")
        return answer.responses[0]

    def _controllers(self, node_ids: Collection[int]) -> dict[int, _Address]:
        """Those of the nodes that are no brokers, and where they are."""
        others = set(node_ids) - self._admin.known_broker_ids()
        if not others:
            return {}
        return {node_id: _Address(*where) for node_id, where in self._admin.controller_addresses().items() if node_id in others}

    def _configs(
        self, keys: Mapping[int, Collection[str]], controllers: Mapping[int, _Address]
    ) -> dict[int, dict[str, BrokerConfig]]:
        """Of each node that answers.

        Raises:
            Refused: the account may not ask, or a controller doesn't take the connection.
        """
        requests = {node_id: described_broker(node_id, some) for node_id, some in keys.items()}
        of_brokers = {node_id: one for node_id, one in requests.items() if node_id not in controllers}
        answers: dict[int, Any] = self._admin.ask_each("configs", of_brokers, BROKER_SECONDS)
        for node_id, request in requests.items():
            if node_id in controllers:
                try:
                    answers[node_id] = self._ask_controller(controllers[node_id], request)
                except Unreachable as error:
                    answers[node_id] = error
        found = {}
        for node_id, answer in answers.items():
            configs = answer if isinstance(answer, ClientError) else broker_configs(node_id, answer)
            if isinstance(configs, ClientError):
                if not isinstance(configs, Unreachable):
                    raise configs
                continue
            found[node_id] = configs
        return found

    def _ask_active_controller(self, request: Any) -> Any:
        """What controllers are to do comes to all of them by the metadata log, into which the active one alone writes."""
        failed = Unreachable("no controller answers")
        for where in self._admin.controller_addresses().values():
            try:
                answer = self._ask_controller(_Address(*where), request)
            except Unreachable as error:
                failed = error
                continue
            if not any(for_code(one.error_code) is NotControllerError for one in answer.responses):
                return answer
            failed = Unreachable("no controller is the active one")
        raise failed

    def _ask_controller(self, where: _Address, request: Any) -> Any:
        request.API_VERSION = VERSIONS[type(request)]
        server = f"[{where.host}]:{where.port}" if ":" in where.host else f"{where.host}:{where.port}"
        try:
            with link_to(self._connection, server) as link:
                return ask(link, request)
        except ValueError as error:
            raise Unreachable(f"{server} doesn't answer as Kafka does: {error}") from error


def _raise(node_id: int, result: Any) -> None:
    if for_code(result.error_code) is not NoError:
        raise error_of(f"configs of node {node_id}", result, ALTER_CONFIGS) or Refused(result.error_message)


def _key(listener: str, key: str) -> str:
    return f"listener.name.{listener.lower()}.{key}"


def _otherwise(path: str) -> str:
    """The same path, spelled differently."""
    if "/./" in path:
        return path.replace("/./", "/")
    folder, _, name = path.rpartition("/")
    return f"{folder}/./{name}"


def _addresses(text: str | None) -> Iterator[_Address]:
    for one in (text or "").split(","):
        if found := ADDRESS.match(one):
            yield _Address(found["name"].upper(), found["host"], int(found["port"]))


def _value(configs: Mapping[str, BrokerConfig], key: str) -> str | None:
    return configs[key].in_force if key in configs else None


def _with_tls(node_id: int, configs: Mapping[str, BrokerConfig], controllers: Mapping[int, _Address]) -> Iterator[_Address]:
    """The listeners with TLS, as they are connected to."""
    protocols = dict(pair.strip().split(":", 1) for pair in (_value(configs, PROTOCOLS) or "").split(",") if ":" in pair)
    has_tls = {name.upper() for name, protocol in protocols.items() if protocol.strip().upper() in ("SSL", "SASL_SSL")}
    advertised = {one.name: one for one in _addresses(_value(configs, ADVERTISED))}
    for one in _addresses(_value(configs, LISTENERS)):
        if one.name in has_tls:
            where = controllers.get(node_id) or advertised.get(one.name, one)
            yield _Address(one.name, where.host, where.port)


def _stores(
    node_id: int,
    at: _Address,
    configs: Mapping[str, BrokerConfig],
    controllers: Mapping[int, _Address],
    base: Mapping[str, BrokerConfig],
) -> Stores:
    protocols = (_value(base, PROTOCOLS) or "").upper().replace(" ", "")
    has_sasl = f"{at.name}:SASL_SSL" in protocols.split(",")

    def value(key: str) -> str | None:
        return _value(configs, _key(at.name, key)) or _value(configs, key)

    # With SASL only the listener's own setting counts.
    asks = _value(configs, _key(at.name, CLIENT_AUTHENTICATION)) if has_sasl else value(CLIENT_AUTHENTICATION)
    truststore = value(TRUSTSTORE)
    is_pem = value(KEYSTORE_TYPE) == "PEM" and (truststore is None or value(TRUSTSTORE_TYPE) == "PEM")
    return Stores(
        listener=Listener(
            node_id=node_id,
            name=at.name,
            host=at.host,
            port=at.port,
            is_controller=node_id in controllers,
            network_threads=int(value(THREADS) or 3),
        ),
        keystore=value(KEYSTORE) or "",
        truststore=truststore,
        is_pem=is_pem and bool(value(KEYSTORE)),
        client_authentication=(asks or "none").lower(),
    )
