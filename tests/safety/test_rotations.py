"""The order of a rotation: whatever falls, is late or restarts in between, any two can connect, and it ends."""

from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_runbooks.models.rotations import Mode, Phase, Places, Stage
from kafka_runbooks.safety.rotation_checker import broken, changed
from kafka_runbooks.safety.rotations import RESTARTS, next_change, phase_now, stage
from tests.safety.rotation_world import AFTER, BEFORE, NEW, OLD, Parties, goal, party

MODES: tuple[Mode, ...] = ("renew", "change-authority", "change-names")


def parties(mode: Mode = "change-authority", brokers: int = 4, controllers: int = 2, **fields: object) -> Parties:
    return Parties.of(
        goal(mode, **{"has_controllers": controllers > 0, **fields}),
        [
            party("worker", is_client=True),
            *(party(f"broker {number}") for number in range(1, brokers + 1)),
            *(party(f"controller {number}", is_controller=True) for number in range(1, controllers + 1)),
        ],
    )


def course(world: Parties) -> list[tuple[Phase, tuple[str, ...]]]:
    """Every change up to the end, each carried out as it is told."""
    seen = []
    while (change := next_change(world.seen, world.goal)) is not None:
        assert change.names, change
        before = world.seen
        world.carry_out(change)
        assert broken(world.seen) == []
        touched = changed(before, world.seen)
        assert all(number == 1 for number in touched.values()), "one thing of each at a time"
        assert touched.keys() <= (set() if change.phase in RESTARTS else {*change.names})
        seen.append((change.phase, change.names))
        assert len(seen) < 100
    return seen


CANARY_AND_REST = [("broker 1",), ("broker 2", "broker 3", "broker 4")]
CONTROLLERS = [("controller 1",), ("controller 2",)]
EVERY_NODE = (*(f"broker {number}" for number in range(1, 5)), "controller 1", "controller 2")


def test_a_change_of_authority_is_trust_then_certificates_then_drop_each_canary_first() -> None:
    """With one restart of each broker, and two of each controller: the quorum's connections go by what processes start with."""
    nodes = [*CANARY_AND_REST, *CONTROLLERS]
    assert course(parties()) == [
        *((Phase.TRUST, names) for names in [("worker",), *nodes]),
        *((Phase.CERTIFICATES, names) for names in [("worker",), *CANARY_AND_REST]),
        (Phase.RESTART_TO_TRUST, EVERY_NODE),
        *((Phase.CONTROLLERS, names) for names in CONTROLLERS),
        (Phase.RESTART_TO_PRESENT, ("controller 1", "controller 2")),
        *((Phase.DROP, names) for names in [*nodes, ("worker",)]),
    ]


def test_where_the_quorum_has_no_tls_nothing_restarts() -> None:
    assert {phase for phase, _ in course(parties(controllers=0))} == {Phase.TRUST, Phase.CERTIFICATES, Phase.DROP}


def test_without_restarts_controllers_keep_their_certificates_and_nobody_drops_the_old_authority() -> None:
    world = parties(may_restart=False)
    assert {phase for phase, _ in course(world)} == {Phase.TRUST, Phase.CERTIFICATES}
    assert all(OLD in (one.trust.served or {OLD}) for one in world.seen)
    assert world.all["controller 1"].certificate.served == BEFORE and world.all["broker 2"].certificate.served == AFTER
    world.goal = goal()
    assert course(world)[0] == (Phase.RESTART_TO_TRUST, EVERY_NODE), "a later run goes on there"


@pytest.mark.parametrize("mode", ["renew", "change-names"])
def test_other_modes_only_bring_new_certificates(mode: Mode) -> None:
    assert course(parties(mode)) == [
        *((Phase.CERTIFICATES, names) for names in [("worker",), *CANARY_AND_REST]),
        *((Phase.CONTROLLERS, names) for names in CONTROLLERS),
    ]


def test_a_renewal_does_not_ask_what_processes_were_started_with_where_nobody_can_tell() -> None:
    world = parties("renew")
    world.all["broker 2"] = replace(world.all["broker 2"], started_trust=None, started_certificate=None)
    assert course(world)[-1] == (Phase.CONTROLLERS, ("controller 2",))
    world = parties()
    for name in EVERY_NODE:
        world.all[name] = replace(world.all[name], started_trust=None)
    assert (Phase.RESTART_TO_TRUST, EVERY_NODE) in course(world)
    world = parties()
    while phase_now(world.seen, world.goal) is not Phase.DROP:
        world.carry_out(next_change(world.seen, world.goal))  # type: ignore[arg-type]
    world.all["controller 1"] = replace(world.all["controller 1"], started_trust=None)
    assert {phase for phase, _ in course(world)} == {Phase.DROP}, (
        "it was started with the new certificate, so it needs no restart"
    )


def test_so_many_at_once() -> None:
    changes = course(parties("renew", brokers=8, controllers=0, at_once=3))
    assert [len(names) for _, names in changes] == [1, 1, 3, 3, 1], "our own, the canary, and the others"


def test_brokers_that_are_cut_off_restart_at_once_after_the_controllers() -> None:
    """Those that expired certificates have cut off; one that still has a connection restarts alone, and a run between goes on."""
    world = parties("renew", brokers=4, controllers=2, controllers_first=True, at_once=2, canary=None)
    for name in EVERY_NODE:
        world.all[name] = replace(world.all[name], reloads=False, is_cut_off=name in ("broker 2", "broker 3", "broker 4"))
    first = next_change(world.seen, world.goal)
    assert first is not None and (first.phase, first.names) == (Phase.CONTROLLERS, ("controller 1",))
    seen = course(world)
    assert [names for _, names in seen] == [*CONTROLLERS, ("worker",), ("broker 2", "broker 3", "broker 4"), ("broker 1",)]
    for name in ("broker 2", "broker 3", "broker 4"):
        world.all[name] = replace(party(name, reloads=False), is_cut_off=True)
        world.write(name, Phase.CERTIFICATES)
    again = next_change(world.seen, world.goal)
    assert again is not None and again.names == ("broker 2", "broker 3", "broker 4")


def test_a_broker_that_is_down_is_waited_for_when_the_others_are_done_and_no_later_phase_begins() -> None:
    world = parties()
    world.fall("broker 3")
    done: list[str] = []
    while (change := next_change(world.seen, world.goal)) is not None and change.names:
        world.carry_out(change)
        done += change.names
    assert change is not None and change.until == "broker 3 answers again" and change.phase is Phase.TRUST
    assert set(done) == {*world.all} - {"broker 3"}
    world.rise("broker 3")
    assert course(world)[-1] == (Phase.DROP, ("worker",))


def test_what_has_begun_is_ended_while_another_broker_is_down() -> None:
    world = parties()
    while phase_now(world.seen, world.goal) is Phase.TRUST:
        world.carry_out(next_change(world.seen, world.goal))  # type: ignore[arg-type]
    world.write("broker 1", Phase.CERTIFICATES)
    world.fall("broker 4")
    change = next_change(world.seen, world.goal)
    assert change is not None and change.names == ("broker 1",) and change.phase is Phase.CERTIFICATES
    world.carry_out(change)
    assert stage(world.all["broker 1"], Phase.CERTIFICATES, world.goal) is Stage.DONE
    waits = next_change(world.seen, world.goal)
    assert waits is not None and not waits.names and waits.until == "broker 4 answers again"


@pytest.mark.parametrize("phase", [Phase.CERTIFICATES, Phase.DROP])
def test_a_phase_that_comes_too_early_is_broken_by_the_checker(phase: Phase) -> None:
    world = parties()
    if phase is Phase.DROP:
        world.write("broker 2", Phase.TRUST)
    world.write("broker 2", phase)
    assert any("broker 2" in line for line in broken(world.seen)), "it will be so after a restart"


def test_the_checker_looks_at_each_place() -> None:
    new, old = frozenset({NEW}), frozenset({OLD})
    for at in ("secret", "file", "served"):
        world = parties(controllers=0)
        places = {"secret": old, "file": old, "served": old, at: new}
        world.all["broker 2"] = party("broker 2")
        object.__setattr__(world.all["broker 2"], "trust", Places(**places))
        assert broken(world.seen), at
    world = parties(controllers=0)
    for at in ("secret", "file", "served"):
        presented = {"secret": BEFORE, "file": BEFORE, "served": BEFORE, at: AFTER}
        object.__setattr__(world.all["broker 2"], "certificate", Places(**presented))
        assert broken(world.seen), at


def test_the_checker_looks_at_what_processes_were_started_with() -> None:
    for name, fields in (
        ("broker 2", {"started_certificate": AFTER}),
        ("broker 2", {"started_trust": frozenset({NEW})}),
        ("controller 1", {"started_certificate": AFTER}),
    ):
        world = parties()
        world.all[name] = replace(world.all[name], **fields)
        assert broken(world.seen), (name, fields)


def test_two_clients_never_meet() -> None:
    world = Parties.of(goal(), [party("worker", is_client=True), party("agent", is_client=True)])
    world.write("worker", Phase.CERTIFICATES)
    assert broken(world.seen) == []


EVENTS = ("next", "next", "write", "arrive", "load", "restart", "anew", "fall", "rise")
HAPPENS = st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 11)), max_size=50)


@settings(max_examples=100, deadline=None)
@given(HAPPENS, st.sampled_from(MODES))
def test_any_two_can_connect_whatever_happens_in_between(happens: list[tuple[str, int]], mode: Mode) -> None:
    """Each change is cut off anywhere; files are late; processes restart in their pods or in new ones; brokers fall and rise."""
    world = parties(mode, brokers=3, controllers=1, at_once=2)
    names = sorted(world.all)
    nodes = [name for name in names if name != "worker"]
    for event, number in happens:
        node, change = nodes[number % len(nodes)], next_change(world.seen, world.goal)
        match event:
            case "next" if change is not None:
                world.carry_out(change)
            case "write" if change is not None and change.names:
                world.write(change.names[number % len(change.names)], change.phase)
            case "arrive":
                world.arrive(names[number % len(names)])
            case "load":
                world.load(node)
            case "restart" | "anew":
                world.restart(node, anew=event == "anew")
            case "fall":
                world.fall(node)
            case "rise":
                world.rise(node)
        assert broken(world.seen) == []
    for name in nodes:
        world.rise(name)
    for number in count():
        if (change := next_change(world.seen, world.goal)) is None:
            break
        assert number < 50 and change.names
        world.carry_out(change)
        assert broken(world.seen) == []
    assert all(one.certificate.served is None or one.certificate.served.is_wanted for one in world.seen)
    assert all(not trusted & world.goal.old for one in world.seen for trusted in one.trust.known())


def test_from_every_point_of_the_whole_course_a_new_run_goes_on() -> None:
    """Nothing is remembered: the state of the world after any number of acts, and any broker down at that moment, is enough."""
    acts = ("write", "arrive", "load")
    for cut in range(200):
        for down in (None, "broker 1", "broker 2", "controller 1"):
            world, done = parties(brokers=2, controllers=1), count()
            while (change := next_change(world.seen, world.goal)) is not None and next(done) < cut // 3:
                world.carry_out(change)
            if change is None:
                return
            for act in acts[: cut % 3]:
                for name in change.names:
                    world.write(name, change.phase) if act == "write" else getattr(world, act)(name)
                    assert broken(world.seen) == []
            if down is not None:
                world.fall(down)
                assert broken(world.seen) == []
                world.rise(down)
            course(world)
