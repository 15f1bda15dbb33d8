"""What stands in the way of a migration to KRaft: each condition by itself, with what makes it so."""

from collections.abc import Callable

import pytest

from kafka_runbooks.models.cluster import BrokerConfig
from kafka_runbooks.safety.kraft_migration import Setup, check

BROKERS = (1001, 1002)
READY = {
    "inter.broker.protocol.version": "3.9",
    "broker.id": "1001",
    "reserved.broker.max.id": "1000",
    "log.dirs": "/data/1,/data/2",
    "sasl.enabled.mechanisms": "SCRAM-SHA-512",
    "zookeeper.metadata.migration.enable": "false",
}


def config(value: str | None, *, in_file: bool = True) -> BrokerConfig:
    own = value if in_file else None
    return BrokerConfig(value, None, None, own, is_read_only=True, is_sensitive=False, default="3.9-IV0")


def ready() -> Setup:
    configs = {broker: {name: config(value) for name, value in READY.items()} for broker in BROKERS}
    return Setup(BROKERS, BROKERS, configs, controller_ids=[3000])


def with_config(name: str, value: str | None, *, in_file: bool = True) -> Callable[[Setup], Setup]:
    """On the second broker."""

    def changed(setup: Setup) -> Setup:
        configs = {**setup.configs, 1002: {**setup.configs[1002], name: config(value, in_file=in_file)}}
        return setup._replace(configs=configs)

    return changed


def of_release(release: str | None) -> Callable[[Setup], Setup]:
    """The second broker."""

    def changed(setup: Setup) -> Setup:
        protocol = setup.configs[1002]["inter.broker.protocol.version"]._replace(default=release)
        return setup._replace(configs={**setup.configs, 1002: {**setup.configs[1002], "inter.broker.protocol.version": protocol}})

    return changed


def test_a_cluster_that_is_ready_has_a_step_for_each_condition_and_no_fault() -> None:
    checks = check(ready())
    assert [one.fault for one in checks] == [None] * len(checks) and len(checks) == 8
    assert {one.hinders for one in checks} == {"migration"}
    assert [one.what[:6] for one in checks] == sorted(one.what[:6] for one in checks), "in the order of the steps"


@pytest.mark.parametrize(
    ("change", "fault", "remedy"),
    [
        (of_release("3.8-IV0"), "brokers 1002 run a release before 3.9", "upgrade to Kafka 3.9"),
        (of_release("2.8-IV1"), "brokers 1002 run a release before 3.4, which can't migrate", "upgrade"),
        (of_release(None), "brokers 1002 don't tell", "answer again"),
        (lambda setup: setup._replace(configs={1001: setup.configs[1001]}), "brokers 1002 don't tell", "answer again"),
        (
            with_config("inter.broker.protocol.version", "3.6-IV2"),
            "inter.broker.protocol.version of brokers 1002 is 3.6-IV2",
            "inter.broker.protocol.version=3.9",
        ),
        (with_config("log.message.format.version", "2.8"), "log.message.format.version is set on brokers 1002", "drop the line"),
        (with_config("control.plane.listener.name", "CONTROL"), "brokers 1002 is CONTROL, which KRaft mode refuses", "drop"),
        (with_config("broker.id", None), "brokers 1002 got their ids from ZooKeeper", "broker.id="),
        (
            with_config("authorizer.class.name", "kafka.security.authorizer.AclAuthorizer"),
            "AclAuthorizer, which keeps ACLs in ZooKeeper",
            "StandardAuthorizer and the same super.users on the controllers",
        ),
        (with_config("authorizer.class.name", "com.acme.Ours"), "com.acme.Ours: Kafka migrates AclAuthorizer's", "ask whoever"),
        (
            with_config("zookeeper.metadata.migration.enable", "true"),
            "brokers 1002 have zookeeper.metadata.migration.enable=true, and brokers 1001 don't",
            "controller.quorum.bootstrap.servers",
        ),
        (lambda setup: setup._replace(controller_ids=[1002, 3000]), "controllers 1002 have ids of brokers", "2000 to 2002"),
    ],
)
def test_each_condition_is_named_with_its_brokers_and_with_what_makes_it_so(
    change: Callable[[Setup], Setup], fault: str, remedy: str
) -> None:
    found = [one for one in check(change(ready())) if one.fault is not None]
    assert fault in str(found[0].fault) and remedy in str(found[0].remedy), found


@pytest.mark.parametrize(
    ("release", "faults"), [("3.7-IV4", []), ("3.6-IV2", ["log directories"]), ("3.4-IV0", ["log directories", "SCRAM"])]
)
def test_what_krafts_earlier_releases_lacked(release: str, faults: list[str]) -> None:
    what = [one for one in check(of_release(release)(ready())) if one.fault is not None and "lacks" in one.what]
    assert len(what) == len(faults) and all(word in str(one.fault) for word, one in zip(faults, what, strict=True))


def test_node_id_is_another_name_of_broker_id() -> None:
    setup = with_config("node.id", "1002")(with_config("broker.id", "-1")(ready()))
    assert not [one for one in check(setup) if one.fault]


def test_a_default_of_the_message_format_is_no_setting() -> None:
    assert not [one for one in check(with_config("log.message.format.version", "3.0-IV1", in_file=False)(ready())) if one.fault]


def test_ids_that_are_free_are_above_all_that_brokers_have_or_may_be_given() -> None:
    what = {one.what for one in check(ready()._replace(broker_ids=(1001, 4711)))}
    assert any("free are 5000 to 5002" in one for one in what)
    reserved = check(with_config("reserved.broker.max.id", "9000")(ready()))
    assert any("free are 10000 to 10002" in one.what for one in reserved)
