"""What stands in the way of a cluster's migration from ZooKeeper to KRaft (KIP-866), in the order of its steps.

Kafka 4 has no ZooKeeper, so the way there leads over 3.9. Most of these rules are Kafka's own (`KafkaConfig.validateValues` of
3.9), by which a broker refuses to start; here they are asked before. The migration itself: `kraft_migration_legs`.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

from kafka_runbooks.models.cluster import BrokerConfig
from kafka_runbooks.models.diagnosis import Check
from kafka_runbooks.safety.availability import listed

ABOUT = "KRaft"
PROTOCOL, MESSAGE_FORMAT = "inter.broker.protocol.version", "log.message.format.version"
BROKER_ID, NODE_ID, HIGHEST_GIVEN_ID = "broker.id", "node.id", "reserved.broker.max.id"
AUTHORIZER, LOG_DIRECTORIES, MECHANISMS = "authorizer.class.name", "log.dirs", "sasl.enabled.mechanisms"
CONTROL_PLANE, MIGRATES = "control.plane.listener.name", "zookeeper.metadata.migration.enable"
CONFIGS = (
    *(PROTOCOL, MESSAGE_FORMAT, BROKER_ID, NODE_ID, HIGHEST_GIVEN_ID),
    *(AUTHORIZER, LOG_DIRECTORIES, MECHANISMS, CONTROL_PLANE, MIGRATES),
)
"""What each broker is asked for."""

ACL_AUTHORIZER = "kafka.security.authorizer.AclAuthorizer"
STANDARD_AUTHORIZER = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
BRIDGE = "3.9"
"""The last release that knows both modes; the documentation of Kafka migrates from no other."""
LAST, FIRST, WITH_SCRAM, WITH_DIRECTORIES = (3, 9), (3, 4), (3, 5), (3, 7)
"""Releases: that one; the first that can migrate; those whose KRaft mode has SCRAM (KIP-900), and brokers with several log
directories (KIP-858)."""
FILE = "in server.properties of each broker, then kafka-runbooks start rolling-restart"


class Setup(NamedTuple):
    """What was seen of a cluster in ZooKeeper mode."""

    broker_ids: Collection[int]
    """Of every broker that is up, or was ever given an id."""
    live_broker_ids: Collection[int]
    configs: Mapping[int, Mapping[str, BrokerConfig]]
    """Of each broker that answers, `CONFIGS`."""
    controller_ids: Collection[int] = ()
    """Of the KRaft controllers that are deployed already."""


Faults = Iterator[tuple[str, str]]
_NUMBERS = re.compile(r"(\d+)\.(\d+)")


def check(found: Setup) -> tuple[Check, ...]:
    """Each step's conditions: one entry for each that isn't so, with what makes it so, or one that all is well."""
    checks: list[Check] = []
    for what, faults in _conditions(found):
        against = [Check(about=ABOUT, what=what, fault=fault, remedy=remedy, hinders="migration") for fault, remedy in faults]
        checks += against or [Check(about=ABOUT, what=what, hinders="migration")]
    return tuple(checks)


def hindrances(found: Setup) -> list[tuple[str, str]]:
    """Each fault that the migration doesn't mend itself, with its remedy: its own settings and `StandardAuthorizer` it brings."""
    steps = (_releases, _protocol, _message_format, _missing_in_kraft, _ids, _controllers, _unknown_authorizer)
    return [fault for faults in steps for fault in faults(found)]


def _conditions(found: Setup) -> tuple[tuple[str, Faults], ...]:
    return (
        (f"step 1: every broker runs Kafka {BRIDGE}, the last with ZooKeeper", _releases(found)),
        (f"step 1: {PROTOCOL} is {BRIDGE}", _protocol(found)),
        (f"step 1: no {MESSAGE_FORMAT} is set", _message_format(found)),
        ("step 1: brokers use nothing that KRaft mode lacks", _missing_in_kraft(found)),
        (f"step 1: each broker's {BROKER_ID} is written in its file", _ids(found)),
        (f"step 2: the controllers' node ids are no broker's; free are {_free(found)}", _controllers(found)),
        (f"step 2: the authorizer works without ZooKeeper: {STANDARD_AUTHORIZER}, or none", _authorizer(found)),
        (f"step 3: every broker has {MIGRATES}=true, or none yet", _migrating(found)),
    )


def _releases(found: Setup) -> Faults:
    """KIP-866: from 3.4 on; fixed and documented with 3.9."""
    releases = {broker: _release(configs) for broker, configs in found.configs.items()}
    if silent := sorted(set(found.live_broker_ids) - {broker for broker, release in releases.items() if release}):
        yield f"brokers {listed(silent)} don't tell their release", "let them answer again"
    if impossible := sorted(broker for broker, release in releases.items() if release and release < FIRST):
        yield f"brokers {listed(impossible)} run a release before 3.4, which can't migrate", f"upgrade to Kafka {BRIDGE}"
    if old := sorted(broker for broker, release in releases.items() if release and FIRST <= release < LAST):
        yield (
            f"brokers {listed(old)} run a release before {BRIDGE}: its migration lacks later releases' repairs",
            f"upgrade to Kafka {BRIDGE}",
        )


def _release(configs: Mapping[str, BrokerConfig]) -> tuple[int, int] | None:
    """By the default of `inter.broker.protocol.version`, which is the release's own: brokers in this mode tell no feature."""
    numbers = _NUMBERS.match(configs[PROTOCOL].default or "") if PROTOCOL in configs else None
    return None if numbers is None else (int(numbers[1]), int(numbers[2]))


def _protocol(found: Setup) -> Faults:
    """Kafka refuses to start a migration below 3.4; its documentation wants the release's own, and no change while it lasts."""
    others = _by_value(found, PROTOCOL, lambda value: value.partition("-")[0] != BRIDGE)
    for value, brokers in others.items():
        yield f"{PROTOCOL} of brokers {listed(brokers)} is {value}", f"{PROTOCOL}={BRIDGE} {FILE}, once all run {BRIDGE}"


def _message_format(found: Setup) -> Faults:
    """KIP-724: ignored since `inter.broker.protocol.version` 3.0, and unknown to Kafka 4."""
    values = {broker: configs[MESSAGE_FORMAT].in_file for broker, configs in found.configs.items() if MESSAGE_FORMAT in configs}
    if brokers := sorted(broker for broker, value in values.items() if value is not None):
        yield f"{MESSAGE_FORMAT} is set on brokers {listed(brokers)}", f"drop the line {MESSAGE_FORMAT} {FILE}"


def _missing_in_kraft(found: Setup) -> Faults:
    """What Kafka refuses in KRaft mode, or has there only since a later release than the broker's."""
    for value, brokers in _by_value(found, CONTROL_PLANE, bool).items():
        yield (
            f"{CONTROL_PLANE} of brokers {listed(brokers)} is {value}, which KRaft mode refuses (its controllers have listeners)",
            f"drop the line {CONTROL_PLANE} {FILE}",
        )
    for value, brokers in _by_value(found, LOG_DIRECTORIES, lambda value: "," in value).items():
        if old := _below(found, brokers, WITH_DIRECTORIES):
            yield (
                f"brokers {listed(old)} have several log directories ({value}), which KRaft mode has since Kafka 3.7 (KIP-858)",
                f"upgrade to Kafka {BRIDGE}",
            )
    for value, brokers in _by_value(found, MECHANISMS, lambda value: "SCRAM" in value).items():
        if old := _below(found, brokers, WITH_SCRAM):
            yield (
                f"brokers {listed(old)} have {MECHANISMS} {value}: KRaft mode has SCRAM since Kafka 3.5 (KIP-900)",
                f"upgrade to Kafka {BRIDGE}",
            )


def _ids(found: Setup) -> Faults:
    """`broker.id generation is incompatible with ZooKeeper migration`: what ZooKeeper gave has to be written down."""
    generated = [broker for broker, configs in sorted(found.configs.items()) if not any(_written(configs))]
    if generated:
        yield (
            f"brokers {listed(generated)} got their ids from ZooKeeper (broker.id.generation.enable)",
            f"{BROKER_ID}=<the id that it has, of meta.properties in its log directory> {FILE}",
        )


def _written(configs: Mapping[str, BrokerConfig]) -> Iterator[bool]:
    """Kafka takes either name."""
    for name in (BROKER_ID, NODE_ID):
        yield name in configs and configs[name].in_file not in (None, "-1")


def _controllers(found: Setup) -> Faults:
    """One namespace of ids for brokers and controllers; a broker keeps its id as `node.id`."""
    if both := sorted(set(found.controller_ids) & set(found.broker_ids)):
        yield f"controllers {listed(both)} have ids of brokers", f"give the controllers node.id {_free(found)}"


def _authorizer(found: Setup) -> Faults:
    """ACLs are migrated; the class that keeps them in ZooKeeper goes with the step into KRaft mode."""
    for value, brokers in _by_value(found, AUTHORIZER, lambda value: value == ACL_AUTHORIZER).items():
        yield (
            f"{AUTHORIZER} of brokers {listed(brokers)} is {value}, which keeps ACLs in ZooKeeper",
            f"{AUTHORIZER}={STANDARD_AUTHORIZER} and the same super.users on the controllers from their first start, and on "
            "brokers with the restart into KRaft mode (step 4), not before: the ACLs are copied",
        )
    yield from _unknown_authorizer(found)


def _unknown_authorizer(found: Setup) -> Faults:
    for value, brokers in _by_value(
        found, AUTHORIZER, lambda value: value not in ("", ACL_AUTHORIZER, STANDARD_AUTHORIZER)
    ).items():
        yield (
            f"{AUTHORIZER} of brokers {listed(brokers)} is {value}: Kafka migrates AclAuthorizer's ACLs only",
            f"ask whoever made it whether it runs in KRaft mode, else move to {STANDARD_AUTHORIZER} first",
        )


def _migrating(found: Setup) -> Faults:
    """The controllers wait for the last broker before they copy anything."""
    migrating = {
        broker for broker, configs in found.configs.items() if MIGRATES in configs and configs[MIGRATES].in_force == "true"
    }
    if migrating and (rest := sorted(set(found.live_broker_ids) - migrating)):
        yield (
            f"brokers {listed(sorted(migrating))} have {MIGRATES}=true, and brokers {listed(rest)} don't",
            f"{MIGRATES}=true, controller.quorum.bootstrap.servers, controller.listener.names and that listener's entry in "
            f"listener.security.protocol.map {FILE}",
        )


def _free(found: Setup) -> str:
    """Three ids together that no broker has or may be given."""
    highest = [
        found.configs[broker][HIGHEST_GIVEN_ID].in_force for broker in found.configs if HIGHEST_GIVEN_ID in found.configs[broker]
    ]
    first = max([*found.broker_ids, *(int(value) for value in highest if value), 0]) // 1000 * 1000 + 1000
    return f"{first} to {first + 2}"


def _below(found: Setup, brokers: Collection[int], first: tuple[int, int]) -> list[int]:
    """Those of an earlier release."""
    return [broker for broker in brokers if (release := _release(found.configs[broker])) is not None and release < first]


def _by_value(found: Setup, name: str, is_wrong: Callable[[str], bool]) -> dict[str, list[int]]:
    """Each value in force that is wrong -> the brokers that have it."""
    values: dict[str, list[int]] = {}
    for broker, configs in sorted(found.configs.items()):
        value = configs[name].in_force if name in configs else None
        if value is not None and is_wrong(value):
            values.setdefault(value, []).append(broker)
    return values
