"""Which leg of a migration to KRaft comes next, and what ends it: a function of what is seen, so that any run can go on.

The way is that of Kafka's documentation (3.9, "ZooKeeper to KRaft Migration"), and the way back that of its table "Reverting to
ZooKeeper mode during the migration", with two additions. `/migration` always goes: a new quorum that finds it takes the copy for
made, and writes its own empty metadata over ZooKeeper's (`KRaftMigrationDriver`, `BecomeZkControllerEvent`). And the next
controller's epoch must not be below one that is recorded with a partition, or it elects no leader for that (KAFKA-20488).
"""

from collections.abc import Iterator
from typing import NamedTuple

from kafka_runbooks.models.kraft_migration import BrokerMode, ControllerState, Leg, MigrationSeen, ZkMigrationState
from kafka_runbooks.models.results import Reason
from kafka_runbooks.safety.availability import listed
from kafka_runbooks.safety.freshness import LONGEST_LAG_SECONDS

EXAMPLES = "deploy/kubernetes/kafka-zookeeper/migration"
MIGRATES, ROLES, CONNECT = "zookeeper.metadata.migration.enable", "process.roles", "zookeeper.connect"
FORWARD = (Leg.CONTROLLERS, Leg.DUAL_WRITE, Leg.KRAFT, Leg.FINISH)
BACK = (Leg.BACK_TO_ZOOKEEPER_MODE, Leg.BACK_TO_A_BROKER, Leg.BACK_TO_PLAIN)
NO_WAY_BACK = "there is no way back to ZooKeeper after this"


class Brings(NamedTuple):
    """What a leg makes of brokers."""

    mode: BrokerMode
    key: str
    """The line in their file that changes."""


BRINGS = {
    Leg.DUAL_WRITE: Brings(BrokerMode.MIGRATING, MIGRATES),
    Leg.KRAFT: Brings(BrokerMode.KRAFT, ROLES),
    Leg.BACK_TO_ZOOKEEPER_MODE: Brings(BrokerMode.MIGRATING, ROLES),
    Leg.BACK_TO_PLAIN: Brings(BrokerMode.ZOOKEEPER, MIGRATES),
}


def next_leg(seen: MigrationSeen, *, back: bool) -> Leg | None:
    """The leg that comes next; None: the end of the way is reached."""
    return _next_back(seen) if back else _next_forward(seen)


def _next_forward(seen: MigrationSeen) -> Leg | None:
    modes = set(seen.modes.values())
    if modes != {BrokerMode.KRAFT} and list(why_no_quorum(seen)):
        return Leg.CONTROLLERS
    if BrokerMode.ZOOKEEPER in modes:
        return Leg.DUAL_WRITE
    if BrokerMode.MIGRATING in modes:
        return Leg.DUAL_WRITE if list(why_not_written_twice(seen)) and BrokerMode.KRAFT not in modes else Leg.KRAFT
    return None if seen.is_finished else Leg.FINISH


def _next_back(seen: MigrationSeen) -> Leg | None:
    modes = set(seen.modes.values())
    if BrokerMode.KRAFT in modes:
        return Leg.BACK_TO_ZOOKEEPER_MODE
    if seen.controller_pods or seen.znodes.kraft_controls or seen.znodes.is_begun:
        return Leg.BACK_TO_A_BROKER
    return Leg.BACK_TO_PLAIN if BrokerMode.MIGRATING in modes else None


def to_restart(leg: Leg, seen: MigrationSeen) -> tuple[int, ...]:
    """The nodes that a leg restarts: brokers that aren't in its mode yet; at the end the controllers."""
    if leg is Leg.FINISH:
        return tuple(sorted(node_id for node_id, migrates in seen.controllers_migrating.items() if migrates))
    if leg is Leg.DUAL_WRITE:
        return seen.of_mode(BrokerMode.ZOOKEEPER)
    if leg is Leg.BACK_TO_ZOOKEEPER_MODE:
        return seen.of_mode(BrokerMode.KRAFT)
    return seen.of_mode(BrokerMode.MIGRATING) if leg in (Leg.KRAFT, Leg.BACK_TO_PLAIN) else ()


def lines_to_apply(leg: Leg, cluster_id: str | None) -> tuple[str, ...]:
    """What a leg waits for: the settings, in which file, and where an example has them."""
    restored = "authorizer.class.name=kafka.security.authorizer.AclAuthorizer, if it was that"
    example = {
        Leg.CONTROLLERS: "1-controllers",
        Leg.DUAL_WRITE: "2-brokers",
        Leg.KRAFT: "3-kraft",
        Leg.FINISH: "4-end",
        Leg.BACK_TO_ZOOKEEPER_MODE: "2-brokers",
    }
    lines = {
        Leg.CONTROLLERS: (
            "a StatefulSet of three KRaft controllers (labels kafka-runbooks.io/cluster and kafka-runbooks.io/roles=controller, "
            f"updateStrategy OnDelete) of Kafka 3.9, formatted with cluster id {cluster_id or 'of the brokers'}",
            f"in their file: {MIGRATES}=true, {CONNECT} of the brokers and their other zookeeper.* settings, "
            "inter.broker.listener.name of the brokers, "
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer where brokers have an authorizer",
            "the JMX exporter in their pods, on the brokers' port",
        ),
        Leg.DUAL_WRITE: (
            f"in each broker's file: {MIGRATES}=true, controller.quorum.voters or controller.quorum.bootstrap.servers of the "
            "controllers, controller.listener.names, that listener in listener.security.protocol.map, "
            "inter.broker.protocol.version=3.9",
        ),
        Leg.KRAFT: (
            f"in each broker's file: {ROLES}=broker, and no {CONNECT} nor other zookeeper.*, no inter.broker.protocol.version; "
            "node.id instead of broker.id",
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer instead of AclAuthorizer",
        ),
        Leg.FINISH: (
            f"in each controller's file: no {MIGRATES}, no {CONNECT} nor other zookeeper.*; and a change of their pod template, "
            "by which it is seen (an annotation will do)",
        ),
        Leg.BACK_TO_ZOOKEEPER_MODE: (
            f"in each broker's file: no {ROLES}; {CONNECT} and other zookeeper.* as before, {MIGRATES}=true still, {restored}",
        ),
        Leg.BACK_TO_A_BROKER: ("delete the controllers' StatefulSet, and their disks' claims",),
        Leg.BACK_TO_PLAIN: (
            f"in each broker's file: no {MIGRATES}, no controller.quorum.voters or controller.quorum.bootstrap.servers, no "
            "controller.listener.names",
        ),
    }[leg]
    return (*lines, f"as in {EXAMPLES}/{example[leg]}") if leg in example else lines


def why_no_quorum(seen: MigrationSeen) -> Iterator[str]:
    """What keeps the controllers from being a quorum of which every one has caught up."""
    if not seen.controller_pods:
        yield "no controller is deployed"
    yield from seen.silent_controllers
    leaders = {one.leader_id for one in seen.controllers}
    if seen.controllers and (len(leaders) > 1 or None in leaders):
        yield f"controllers {_ids(seen.controllers)} don't follow one leader"
    elif len({one.epoch for one in seen.controllers}) > 1:
        yield "the controllers are about to elect a leader"
    if behind := [one for one in seen.controllers if one.lag_seconds > LONGEST_LAG_SECONDS]:
        yield f"controllers {_ids(behind)} have not caught up"


def why_another_state(seen: MigrationSeen) -> str | None:
    """Why controllers can't begin with a migration: they were not deployed for one, or have a log of an earlier one."""
    if seen.znodes.kraft_controls or seen.state in (None, ZkMigrationState.PRE_MIGRATION):
        return None
    if seen.state is ZkMigrationState.NONE:
        return f"the controllers were first started without {MIGRATES}=true: they would migrate nothing"
    return f"the controllers' disks have a log of an earlier migration (state {seen.state.name})"


def why_not_written_twice(seen: MigrationSeen) -> Iterator[str]:
    """What is missing until everything is copied, and each change is written to ZooKeeper too."""
    yield from why_no_quorum(seen)
    if seen.state is not ZkMigrationState.MIGRATION:
        known = "unknown" if seen.state is None else seen.state.name
        waiting = next((one.waiting_brokers for one in seen.controllers if one.is_active), 0)
        yield f"the controllers' state is {known}: {waiting} of {len(seen.modes)} brokers have registered with them"
    if not seen.znodes.kraft_controls:
        yield f"controller is broker {seen.znodes.controller_id} still"
    if seen.znodes.copied_offset is None:
        yield "the copy of ZooKeeper's metadata isn't complete"


def why_not_there(leg: Leg, seen: MigrationSeen) -> list[str]:
    """What is missing until a leg has reached its end."""
    found = [f"brokers {listed(sorted(seen.silent_brokers))} don't answer"] if seen.silent_brokers else []
    if leg in BRINGS and (others := [one for one, mode in sorted(seen.modes.items()) if not _has_come(leg, mode)]):
        found.append(f"brokers {listed(others)} are not in {BRINGS[leg].mode}")
    if leg is Leg.CONTROLLERS:
        found += why_no_quorum(seen) if (wrong := why_another_state(seen)) is None else [wrong]
    if leg in (Leg.DUAL_WRITE, Leg.KRAFT, Leg.BACK_TO_ZOOKEEPER_MODE):
        found += why_not_written_twice(seen)
    if leg is Leg.FINISH and not seen.is_finished:
        found += why_no_quorum(seen)
        if seen.state is not ZkMigrationState.POST_MIGRATION:
            found.append("the active controller still writes to ZooKeeper")
        if left := to_restart(leg, seen):
            found.append(f"controllers {listed(list(left))} still have {MIGRATES} or {CONNECT}")
        if unknown := sorted({one.node_id for one in seen.controllers} - seen.controllers_migrating.keys()):
            found.append(f"controllers {listed(unknown)} don't tell their configuration")
    if leg in (Leg.BACK_TO_A_BROKER, Leg.BACK_TO_PLAIN):
        if seen.znodes.kraft_controls or seen.znodes.controller_id is None:
            found.append("no broker has become the controller yet")
        if seen.znodes.is_begun:
            found.append("/migration is still there")
    return found


def _has_come(leg: Leg, mode: BrokerMode) -> bool:
    return mode is BRINGS[leg].mode or (leg is Leg.DUAL_WRITE and mode is BrokerMode.KRAFT)


def reasons_not_to_begin(seen: MigrationSeen, *, back: bool) -> list[Reason]:
    """What must not be, whatever leg comes next."""
    reasons = []
    if seen.silent_brokers:
        reasons.append(
            Reason(
                name="silent-brokers",
                message=f"brokers {listed(sorted(seen.silent_brokers))} don't tell in which mode they are",
                remedy="let them answer again, or take their pods out of the cluster first",
            )
        )
    if back and seen.state is ZkMigrationState.POST_MIGRATION:
        reasons.append(
            Reason(
                name="migration-has-ended",
                message="the migration has ended: ZooKeeper no longer has what changed since, and there is no way back to it",
                remedy="stay in KRaft mode",
                is_bad_input=True,
            )
        )
    elif back and (ending := sorted(one for one, migrates in seen.controllers_migrating.items() if not migrates)):
        reasons.append(
            Reason(
                name="migration-may-end",
                message=f"controllers {listed(ending)} have no {MIGRATES}: the first of them that is elected ends the migration",
                remedy=f"give them {MIGRATES}=true and {CONNECT} again, and restart them, or go on to the end",
            )
        )
    if seen.znodes.kraft_controls and not seen.controller_pods and (not back or BrokerMode.KRAFT in seen.modes.values()):
        reasons.append(
            Reason(
                name="controllers-are-gone",
                message=f"KRaft controller {seen.znodes.controller_id} has control, and no controller is there",
                remedy="bring the controllers back on the disks that they had: on others they would write empty metadata over "
                "ZooKeeper's; or, with every broker in ZooKeeper mode, kafka-runbooks start migrate-to-kraft --back",
            )
        )
    if not back and (wrong := why_another_state(seen)) is not None:
        remedy = f"delete their StatefulSet and claims, and deploy them with {MIGRATES}=true on empty disks"
        reasons.append(Reason(name="unfit-controllers", message=wrong, remedy=remedy))
    former = seen.znodes.copied_offset is not None and not seen.znodes.kraft_controls
    if not back and former:
        reasons.append(
            Reason(
                name="former-migration",
                message="/migration in ZooKeeper is of an earlier attempt, whose copy new controllers would take for made; "
                "they would then write their own empty metadata over ZooKeeper's",
                remedy="kafka-runbooks start migrate-to-kraft --back first, which removes it",
            )
        )
    return reasons


def no_right_to_give_back() -> Reason:
    """Found out when controllers are gone, it would leave the cluster without one."""
    return Reason(
        name="no-right-to-give-back",
        message="the worker may not write /controller_epoch and delete /controller, by their ACLs: no way would lead back",
        remedy="while the migration lasts, give it the brokers' own user or certificate for ZooKeeper (clusters.yaml)",
    )


def _ids(controllers: "list[ControllerState] | tuple[ControllerState, ...]") -> str:
    return listed(sorted(one.node_id for one in controllers))
