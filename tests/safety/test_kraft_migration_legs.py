"""Where a migration to KRaft stands, by what is seen: each phase, each mix of brokers, and a run that is cut off after any act.

`Cluster` is a model of Kafka's own rules, by which a leg that comes too early, or too late, does harm.
"""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_runbooks.models.kraft_migration import (
    BrokerMode,
    ControllerState,
    Leg,
    MigrationSeen,
    MigrationZnodes,
    ZkMigrationState,
)
from kafka_runbooks.safety.kraft_migration_legs import (
    BACK,
    BRINGS,
    FORWARD,
    lines_to_apply,
    next_leg,
    reasons_not_to_begin,
    to_restart,
    why_no_quorum,
    why_not_there,
)

BROKERS, CONTROLLERS = (1001, 1002, 1003), (3001, 3002, 3003)
ZOOKEEPER, MIGRATING, KRAFT = BrokerMode


@dataclass
class Cluster:
    """A cluster that does what Kafka 3.9 does."""

    modes: dict[int, BrokerMode] = field(default_factory=lambda: dict.fromkeys(BROKERS, ZOOKEEPER))
    controllers: dict[int, bool] = field(default_factory=dict)
    """Node id -> whether it migrates."""
    leader: int = 3001
    state: ZkMigrationState = ZkMigrationState.PRE_MIGRATION
    kraft_controls: bool = False
    is_begun: bool = False
    is_copied: bool = False
    has_harm: str = ""

    def restart(self, leg: Leg, node_id: int) -> None:
        if leg is Leg.FINISH:
            self.controllers[node_id] = False
            others = [one for one in self.controllers if one != node_id]
            self.leader = others[0] if self.leader == node_id else self.leader
        else:
            self.modes[node_id] = BRINGS[leg].mode
        self.settle()

    def deploy(self) -> None:
        if self.is_copied:
            self.has_harm = "a new quorum takes an earlier copy for its own"
        self.controllers, self.state, self.is_begun = dict.fromkeys(CONTROLLERS, True), ZkMigrationState.PRE_MIGRATION, True
        self.settle()

    def take_away(self) -> None:
        self.controllers = {}
        self.settle()

    def give_back(self) -> None:
        if self.controllers:
            self.has_harm = "a KRaft controller takes control again"
        self.kraft_controls = self.is_begun = self.is_copied = False
        self.settle()

    def settle(self) -> None:
        modes = set(self.modes.values())
        if self.controllers:
            if self.state is ZkMigrationState.PRE_MIGRATION and ZOOKEEPER not in modes:
                self.state, self.kraft_controls, self.is_copied = ZkMigrationState.MIGRATION, True, True
            if self.state is ZkMigrationState.MIGRATION and not self.controllers[self.leader]:
                self.state = ZkMigrationState.POST_MIGRATION
        elif KRAFT in modes:
            self.has_harm = "brokers in KRaft mode without controllers"
        if self.state is ZkMigrationState.POST_MIGRATION and modes != {KRAFT} and self.controllers:
            self.has_harm = "brokers in ZooKeeper mode whom nobody writes to any more"
        if KRAFT in modes and not self.is_copied:
            self.has_harm = "a broker in KRaft mode before the copy"
        if ZOOKEEPER in modes and self.kraft_controls:
            # They obey it all the same; but they aren't known to the quorum.
            self.has_harm = self.has_harm or ("plain brokers under a KRaft controller" if KRAFT in modes else "")

    @property
    def seen(self) -> MigrationSeen:
        all_in_kraft = set(self.modes.values()) == {KRAFT}
        return MigrationSeen(
            modes=self.modes,
            znodes=MigrationZnodes(
                controller_id=self.leader if self.kraft_controls else 1001,
                kraft_epoch=7 if self.kraft_controls else None,
                controller_epoch=9,
                is_begun=self.is_begun,
                copied_offset=42 if self.is_copied else None,
            ),
            controller_pods=tuple(f"controller-{one}" for one in self.controllers),
            controllers=tuple(
                ControllerState(node_id=one, leader_id=self.leader, epoch=7, lag_seconds=0.1, state=self.state)
                for one in self.controllers
            ),
            controllers_migrating=dict(self.controllers) if all_in_kraft else {},
        )


def act(cluster: Cluster, leg: Leg, most: int = 99) -> int:
    """What a run does for a leg, or only the first acts of it; returns how many were done."""
    done = 0
    if leg is Leg.CONTROLLERS and not cluster.controllers and done < most:
        cluster.deploy()
        done += 1
    if leg is Leg.BACK_TO_A_BROKER and cluster.controllers and done < most:
        cluster.take_away()
        done += 1
    # As the rules of restarts have it, the active controller last.
    for node_id in sorted(to_restart(leg, cluster.seen), key=lambda one: (one == cluster.leader, one)):
        if done < most:
            cluster.restart(leg, node_id)
            done += 1
    if leg is Leg.BACK_TO_A_BROKER and not cluster.controllers and done < most:
        cluster.give_back()
        done += 1
    return done


def end(cluster: Cluster, *, back: bool) -> list[Leg]:
    """Go to the end of a way; returns its legs."""
    legs: list[Leg] = []
    while (leg := next_leg(cluster.seen, back=back)) is not None:
        assert leg not in legs, f"{leg} twice"
        assert not reasons_not_to_begin(cluster.seen, back=back)
        legs.append(leg)
        act(cluster, leg)
        assert why_not_there(leg, cluster.seen) == [], leg
        assert cluster.has_harm == ""
    return legs


def test_the_whole_way() -> None:
    cluster = Cluster()
    assert tuple(end(cluster, back=False)) == FORWARD
    assert cluster.state is ZkMigrationState.POST_MIGRATION and cluster.seen.is_finished
    (reason,) = reasons_not_to_begin(cluster.seen, back=True)
    assert reason.name == "migration-has-ended" and reason.is_bad_input


@pytest.mark.parametrize(
    ("legs", "back"),
    [
        (0, ()),
        (1, (Leg.BACK_TO_A_BROKER,)),
        (2, (Leg.BACK_TO_A_BROKER, Leg.BACK_TO_PLAIN)),
        (3, BACK),
    ],
)
def test_the_way_back_after_each_leg(legs: int, back: tuple[Leg, ...]) -> None:
    cluster = Cluster()
    for leg in FORWARD[:legs]:
        act(cluster, leg)
    assert tuple(end(cluster, back=True)) == back
    assert cluster == Cluster(state=cluster.state), "as if nothing had been"
    assert tuple(end(cluster, back=False)) == FORWARD, "and it can begin anew"


@given(cuts=st.lists(st.tuples(st.booleans(), st.integers(0, 4)), max_size=12), last=st.booleans())
def test_a_run_that_is_cut_off_after_any_act_is_continued_in_either_direction(cuts: list[tuple[bool, int]], last: bool) -> None:
    cluster = Cluster()
    for back, most in cuts:
        seen = cluster.seen
        leg = next_leg(seen, back=back)
        if leg is None or reasons_not_to_begin(seen, back=back):
            continue
        act(cluster, leg, most)
        assert cluster.has_harm == "", (back, leg, most)
    back = last and not reasons_not_to_begin(cluster.seen, back=True)
    if not back and reasons_not_to_begin(cluster.seen, back=False):
        back = True  # an earlier copy is left in ZooKeeper, or controllers are gone: only the way back is open
    end(cluster, back=back)
    modes = set(cluster.modes.values())
    assert (modes, cluster.kraft_controls, cluster.is_begun) == ({ZOOKEEPER}, False, False) if back else cluster.seen.is_finished


@given(st.dictionaries(st.sampled_from(BROKERS), st.sampled_from(list(BrokerMode)), min_size=3, max_size=3))
def test_each_mix_of_brokers_restarts_only_who_is_not_there_yet(modes: dict[int, BrokerMode]) -> None:
    cluster = Cluster(modes, dict.fromkeys(CONTROLLERS, True), state=ZkMigrationState.MIGRATION, kraft_controls=True)
    cluster.is_begun = cluster.is_copied = True
    for back in (False, True):
        leg = next_leg(cluster.seen, back=back)
        assert leg is not None
        going = to_restart(leg, cluster.seen)
        assert all(modes[one] is not BRINGS[leg].mode for one in going if leg in BRINGS)
        assert set(going) <= set(BROKERS) or set(modes.values()) == {KRAFT}


def test_a_broker_that_fell_back_to_plain_mode_gets_the_settings_again() -> None:
    cluster = Cluster()
    for leg in FORWARD[:2]:
        act(cluster, leg)
    act(cluster, Leg.KRAFT, 1)
    cluster.modes[1003] = ZOOKEEPER
    assert next_leg(cluster.seen, back=False) is Leg.DUAL_WRITE and to_restart(Leg.DUAL_WRITE, cluster.seen) == (1003,)


def states(**changes: dict[int, object]) -> MigrationSeen:
    cluster = Cluster()
    cluster.deploy()
    fields: list[ControllerState] = []
    for one in cluster.seen.controllers:
        update = {name: values[one.node_id] for name, values in changes.items() if one.node_id in values}
        fields.append(one.model_copy(update=update))
    return cluster.seen.model_copy(update={"controllers": tuple(fields)})


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (Cluster().seen, "no controller is deployed"),
        (states(leader_id={3002: None}), "don't follow one leader"),
        (states(leader_id={3002: 3003}), "don't follow one leader"),
        (states(epoch={3002: 8}), "about to elect"),
        (states(lag_seconds={3002: 60.0}), "controllers 3002 have not caught up"),
        (states().model_copy(update={"silent_controllers": ("pod controller-2 has no address yet",)}), "no address yet"),
    ],
)
def test_controllers_that_are_no_quorum_yet_are_waited_for(seen: MigrationSeen, why: str) -> None:
    assert any(why in one for one in why_no_quorum(seen))
    assert next_leg(seen, back=False) is Leg.CONTROLLERS
    assert any(why in one for one in why_not_there(Leg.CONTROLLERS, seen))


def test_a_quorum_is_one() -> None:
    assert list(why_no_quorum(states())) == []


def test_the_dual_write_is_proven_by_controllers_and_by_zookeeper() -> None:
    cluster = Cluster()
    for leg in FORWARD[:2]:
        act(cluster, leg)
    for change, why in (
        ({"kraft_epoch": None}, "controller is broker 3001 still"),
        ({"copied_offset": None}, "the copy of ZooKeeper's metadata isn't complete"),
    ):
        seen = cluster.seen.model_copy(update={"znodes": cluster.seen.znodes.model_copy(update=change)})
        assert why in why_not_there(Leg.DUAL_WRITE, seen) and next_leg(seen, back=False) is Leg.DUAL_WRITE
    cluster.state = ZkMigrationState.PRE_MIGRATION
    assert "the controllers' state is PRE_MIGRATION" in "; ".join(why_not_there(Leg.DUAL_WRITE, cluster.seen))


def test_an_earlier_copy_and_silent_brokers_are_reasons_not_to_begin() -> None:
    cluster = Cluster(is_begun=True, is_copied=True)
    (reason,) = reasons_not_to_begin(cluster.seen, back=False)
    assert reason.name == "former-migration" and "--back" in reason.remedy
    assert reasons_not_to_begin(cluster.seen, back=True) == []
    cluster.deploy()
    assert cluster.has_harm, "what the reason is for"
    silent = Cluster().seen.model_copy(update={"silent_brokers": (1004,)})
    assert [one.name for one in reasons_not_to_begin(silent, back=False)] == ["silent-brokers"]
    assert "brokers 1004 don't answer" in why_not_there(Leg.DUAL_WRITE, silent)


@pytest.mark.parametrize(
    ("state", "why"),
    [(ZkMigrationState.NONE, "without zookeeper.metadata"), (ZkMigrationState.MIGRATION, "a log of an earlier migration")],
)
def test_controllers_that_can_not_begin_are_refused(state: ZkMigrationState, why: str) -> None:
    seen = states(state=dict.fromkeys(CONTROLLERS, state))
    (reason,) = reasons_not_to_begin(seen, back=False)
    assert reason.name == "unfit-controllers" and why in reason.message and why in why_not_there(Leg.CONTROLLERS, seen)[0]
    assert reasons_not_to_begin(seen, back=True) == []


def test_controllers_that_are_gone_while_they_have_control() -> None:
    cluster = Cluster()
    for leg in FORWARD[:2]:
        act(cluster, leg)
    cluster.take_away()
    assert [one.name for one in reasons_not_to_begin(cluster.seen, back=False)] == ["controllers-are-gone"]
    assert end(cluster, back=True) == [Leg.BACK_TO_A_BROKER, Leg.BACK_TO_PLAIN], "the way back goes on from here"
    cluster = Cluster()
    for leg in FORWARD[:3]:
        act(cluster, leg)
    cluster.take_away()
    assert [one.name for one in reasons_not_to_begin(cluster.seen, back=True)] == ["controllers-are-gone"]


def test_a_controller_without_the_migration_may_end_it_at_any_time() -> None:
    cluster = Cluster()
    for leg in FORWARD[:3]:
        act(cluster, leg)
    act(cluster, Leg.FINISH, 1)
    assert cluster.state is ZkMigrationState.MIGRATION and next_leg(cluster.seen, back=False) is Leg.FINISH
    assert [one.name for one in reasons_not_to_begin(cluster.seen, back=True)] == ["migration-may-end"]
    assert "the active controller still writes to ZooKeeper" in why_not_there(Leg.FINISH, cluster.seen)


def test_controllers_that_do_not_tell_their_configuration_end_nothing() -> None:
    cluster = Cluster()
    for leg in FORWARD:
        act(cluster, leg)
    seen = cluster.seen.model_copy(update={"controllers_migrating": {3001: False}})
    assert not seen.is_finished and "controllers 3002, 3003 don't tell their configuration" in why_not_there(Leg.FINISH, seen)


@pytest.mark.parametrize("leg", list(Leg))
def test_each_leg_says_what_to_apply_and_where(leg: Leg) -> None:
    text = "\n".join(lines_to_apply(leg, "abc"))
    assert ("file" in text or "StatefulSet" in text) and "None" not in text
    assert ("abc" in text) == (leg is Leg.CONTROLLERS)
