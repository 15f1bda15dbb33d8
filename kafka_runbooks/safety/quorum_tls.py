"""Whether members of a ZooKeeper ensemble can talk to each other while some have gone from plain text to TLS and others haven't.

Each connects in one way and takes connections in one or both (`models.ensemble.QuorumTls`). Two members belong together if each
takes the other's. Members take the steps one after the other, so those of two steps have to; a step that is left out would split
the ensemble while it is rolled out.
"""

from collections.abc import Mapping

from kafka_runbooks.models.ensemble import QuorumTls
from kafka_runbooks.models.results import Reason

STEPS = tuple(QuorumTls)


def step_of(value: str | None) -> QuorumTls | None:
    """What `QUORUM_TLS` says; a member without it has no TLS. None: it says nothing that is known, and nothing starts with it."""
    if value is None:
        return QuorumTls.PLAIN
    return QuorumTls(value) if value in STEPS[1:] else None


def can_talk(one: QuorumTls, other: QuorumTls) -> bool:
    """Whether each takes the other's connections."""
    return _connects_by_tls(one) in _taken(other) and _connects_by_tls(other) in _taken(one)


def would_split(server_id: int, wanted: str | None, others: Mapping[int, str | None]) -> list[Reason]:
    """Why a member may not be started with this value of `QUORUM_TLS`, beside others with theirs."""
    step = step_of(wanted)
    if step is None:
        known = ", ".join(STEPS[1:])
        return [
            Reason(
                name="unknown-quorum-tls",
                message=f"the StatefulSet's QUORUM_TLS is {wanted!r}: no member starts with that",
                remedy=f"give one of {known}",
            )
        ]
    reasons = []
    for other_id, value in sorted(others.items()):
        other = step_of(value)
        if other is not None and not can_talk(step, other):
            up = STEPS.index(step) > STEPS.index(other)
            first = STEPS[STEPS.index(other) + (1 if up else -1)]
            reasons.append(
                Reason(
                    name=f"quorum-tls:{other_id}",
                    message=f"server {server_id} would come back with QUORUM_TLS={step}, and server {other_id} runs with {other}:"
                    " one of them doesn't take the other's connections",
                    remedy=f"set QUORUM_TLS to {first}, run restart-ensemble with only_outdated, and go on from there",
                )
            )
    return reasons


def plain_clients(broker_ids: list[int], *, is_worker: bool) -> list[Reason]:
    """Why the members' port for plain text may not be closed: who connects to it.

    Args:
        broker_ids: brokers whose `zookeeper.ssl.client.enable` isn't true.
        is_worker: `zookeeper` in `clusters.yaml` has no `tls`.
    """
    reasons = [
        Reason(
            name=f"plain-client:{broker_id}",
            message=f"broker {broker_id} connects to ZooKeeper without TLS, and QUORUM_TLS=required closes the port for that",
            remedy="zookeeper.ssl.client.enable=true and port 2281 in its file, then rolling-restart, before the ensemble's step",
        )
        for broker_id in sorted(broker_ids)
    ]
    if is_worker:
        reasons.append(
            Reason(
                name="plain-client:worker",
                message="the worker connects to ZooKeeper without TLS, and QUORUM_TLS=required closes the port for that",
                remedy="give zookeeper.tls, and port 2281 in zookeeper.hosts, in clusters.yaml",
            )
        )
    return reasons


def _connects_by_tls(step: QuorumTls) -> bool:
    return step in (QuorumTls.SPOKEN, QuorumTls.REQUIRED)


def _taken(step: QuorumTls) -> set[bool]:
    """Whether connections by TLS, by plain text, or both are taken."""
    if step is QuorumTls.PLAIN:
        return {False}
    return {True} if step is QuorumTls.REQUIRED else {True, False}
