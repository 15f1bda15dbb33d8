"""The next change of a rotation of certificates, from what is seen now and nothing else.

Any two nodes must be able to connect at any moment, whatever dies or restarts in between. So an authority is trusted by all
before anybody presents a certificate of it, and presented by nobody before anybody drops it; `rotation_checker` says the
same in its own words. Phase and progress follow from the three places at which a thing is (`models.rotations`): a run that
begins in the middle goes on there.
"""

from collections.abc import Callable, Sequence

from kafka_runbooks.models.rotations import Change, Goal, Party, Phase, Places, Presented, Stage, Trusted

SHOWN = 5
RESTARTS = (Phase.RESTART_TO_TRUST, Phase.RESTART_TO_PRESENT)


def stage(party: Party, phase: Phase, goal: Goal) -> Stage:
    """How far a party is in a phase; who has no part in it is done.

    A client of ours has no port to look at: it is done when its file is there, for it reads that before each connection.
    """
    match phase:
        case Phase.TRUST:
            return _at(party, party.trust, lambda trusted: goal.authority in trusted)
        case Phase.CERTIFICATES | Phase.CONTROLLERS:
            has_part = party.is_controller == (phase is Phase.CONTROLLERS)
            return _at(party, party.certificate, lambda one: one.is_wanted) if has_part else Stage.DONE
        case Phase.RESTART_TO_TRUST:
            return _started(party, _was_started_trusting(party, goal))
        case Phase.RESTART_TO_PRESENT:
            return _started(party, party.started_certificate is not None and party.started_certificate.is_wanted)
        case Phase.DROP:
            return _at(party, party.trust, lambda trusted: goal.authority in trusted and not trusted & goal.old)


def _started(party: Party, holds: bool) -> Stage:
    if party.is_client or holds:
        return Stage.DONE
    return Stage.BEFORE if party.is_up and party.start_is_recorded else Stage.UNSEEN


def _at(party: Party, places: Places[Trusted] | Places[Presented], holds: Callable[..., bool]) -> Stage:
    if places.secret is None or not holds(places.secret):
        return Stage.BEFORE
    if places.file is not None and not holds(places.file):
        return Stage.ARRIVES
    if party.is_client:
        return Stage.UNSEEN if places.file is None else Stage.DONE
    if not party.is_up or places.served is None:
        return Stage.UNSEEN
    if holds(places.served):
        return Stage.DONE
    return Stage.ARRIVES if places.file is None else Stage.LOADS


def phase_now(parties: Sequence[Party], goal: Goal) -> Phase | None:
    """The phase that a rotation is in: the first that isn't done by all. None: it is done."""
    return next((phase for phase in goal.phases if any(stage(one, phase, goal) is not Stage.DONE for one in parties)), None)


def reasons_not_to_change(party: Party, phase: Phase, parties: Sequence[Party], goal: Goal) -> list[str]:
    """Why a party's files may not become those of a phase now; empty: they may."""
    nodes = [one for one in parties if not one.is_client]
    match phase:
        case Phase.TRUST:
            return []  # Who trusts more refuses nobody.
        case Phase.CERTIFICATES | Phase.CONTROLLERS:
            connected = [one for one in parties if not (one.is_client and party.is_client)]
            found = [f"{one.name} doesn't trust the new authority yet" for one in connected if not _trusts(one, goal.authority)]
            if party.is_controller:
                found += [
                    f"{one.name} was started before it trusted the new authority"
                    for one in nodes
                    if one.is_up and not _was_started_trusting(one, goal)
                ]
            return found
        case Phase.RESTART_TO_TRUST | Phase.RESTART_TO_PRESENT:
            return []  # It reads files that may be read at any moment.
        case Phase.DROP:
            found = [
                f"{one.name} presents a certificate of the old authority, or may after a restart"
                for one in parties
                if one.certificate.secret is None or any(not presented.is_wanted for presented in one.certificate.known())
            ]
            if party.is_controller:
                found += [
                    f"{one.name} was started with a certificate of the old authority"
                    for one in nodes
                    if one.is_up and (one.started_certificate is None or not one.started_certificate.is_wanted)
                ]
            return found


def _was_started_trusting(node: Party, goal: Goal) -> bool:
    """Where nobody can tell, a node trusts the authority that controllers present certificates of already.

    What was started with a certificate of the new authority was started with trust in it, which was there first.
    """
    if node.started_trust is not None:
        return goal.authority in node.started_trust
    has_new = node.started_certificate is not None and node.started_certificate.is_wanted
    return has_new or goal.mode != "change-authority"


def _trusts(party: Party, authority: str) -> bool:
    """At each place."""
    return party.trust.secret is not None and all(authority in trusted for trusted in party.trust.known())


def next_change(parties: Sequence[Party], goal: Goal) -> Change | None:
    """The next change; None: everything is as the goal wants it.

    What has begun is ended first, for it may be in force after any restart. Then our own clients, since what locks us out would
    leave the rest half done; they drop the old authority last. Then the canary alone, the other brokers by so many at once, and
    one by one controllers and those that restart; brokers that are cut off already all at once.
    """
    now = phase_now(parties, goal)
    if now is None:
        return None
    for phase in reversed(goal.phases):
        begun = [one for one in parties if one.is_up and stage(one, phase, goal) in (Stage.ARRIVES, Stage.LOADS)]
        if begun:
            return _change(phase, _together(begun, goal))
    left = [one for one in parties if stage(one, now, goal) is not Stage.DONE]
    group = _groups(left, now, goal)[0]
    unseen = [one.name for one in group if not one.is_up or stage(one, now, goal) is Stage.UNSEEN]
    if unseen:
        named = ", ".join(unseen[:SHOWN])
        return Change(now, (), why_not=(f"{named} can't be seen",), until=f"{named} answers again")
    reasons = [why for one in group for why in reasons_not_to_change(one, now, parties, goal)]
    if reasons:
        return Change(now, (), why_not=tuple(dict.fromkeys(reasons)), until="that has changed")
    return _change(now, group)


def _change(phase: Phase, group: Sequence[Party]) -> Change:
    by_restart = phase in RESTARTS or not all(one.reloads for one in group)
    return Change(phase, tuple(one.name for one in group), by_restart=by_restart)


def _together(begun: Sequence[Party], goal: Goal) -> list[Party]:
    """Those of what has begun that may go on together."""
    reloading = [one for one in begun if one.reloads and not one.is_client]
    return reloading[: goal.at_once] or [one for one in begun if one.is_cut_off] or list(begun[:1])


def _groups(left: Sequence[Party], phase: Phase, goal: Goal) -> list[list[Party]]:
    """Who comes next, in order. One that is down waits for the others to be done."""
    if phase in RESTARTS:
        up = [one for one in left if one.is_up]
        return [up or list(left)]  # In rounds, by the rules of rolling restarts.
    clients = [[one] for one in left if one.is_client]
    canary = [[one] for one in left if one.name == goal.canary]
    others = sorted(
        (one for one in left if not one.is_client and one.name != goal.canary), key=lambda one: (not one.is_up, one.is_controller)
    )
    reloading = [one for one in others if one.is_up and one.reloads and not one.is_controller]
    batches = [reloading[start : start + goal.at_once] for start in range(0, len(reloading), goal.at_once)]
    cut_off = [one for one in others if one.is_up and one.is_cut_off and one not in reloading]
    rest = [[one] for one in others if one not in (*reloading, *cut_off)]
    nodes = [*canary, *batches, *([cut_off] if cut_off else []), *rest]
    return [*nodes, *clients] if phase is Phase.DROP else [*clients, *nodes]
