"""When the renewal of a certificate has to begin: so early that a rotation is done before its end, with a margin for people.

A rotation waits for an approval, and may be paused or refused. So the margin is days, but never more than a third of a
certificate's life: a certificate of a day would be due as soon as it is issued.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from kafka_runbooks.models.certificate_ends import CertificateEnd, CertificateReport, DueRotation, Renewal, Urgency

MARGIN = timedelta(days=14)
SHARE_OF_LIFE = 3
KUBELET = timedelta(minutes=2)
"""Until a changed Secret is in a pod's files, at most."""
PROOF = timedelta(seconds=30)
"""To have a node reload, and to see that on each of its listeners."""
RESTART = timedelta(minutes=10)
"""Of one node, with what the others catch up on meanwhile."""
NAMED = 3


def predicted(nodes: int, restarts: int, at_once: int = 5) -> timedelta:
    """How long the renewal of so many nodes' certificates takes, the canary by itself, and so many restarts one by one."""
    batches = 1 + -(-max(0, nodes - 1) // at_once)
    return batches * (KUBELET + PROOF) + restarts * RESTART


def renewal(certificate: CertificateEnd, now: datetime, rotation: timedelta, margin: timedelta = MARGIN) -> Renewal:
    """How urgent it is to renew one.

    Args:
        certificate: the one.
        now: the time.
        rotation: how long that is predicted to take.
        margin: how much earlier it is to begin.
    """
    margin = min(margin, (certificate.not_after - certificate.not_before) / SHARE_OF_LIFE)
    latest = certificate.not_after - rotation
    if now >= certificate.not_after:
        urgency = Urgency.EXPIRED
    elif now >= latest:
        urgency = Urgency.LATE
    elif now >= latest - margin / 2:
        urgency = Urgency.URGENT
    else:
        urgency = Urgency.DUE if now >= latest - margin else Urgency.NOT_DUE
    days_left = (certificate.not_after - now) / timedelta(days=1)
    return Renewal(certificate=certificate, begins_at=latest - margin, days_left=days_left, urgency=urgency)


def report(
    certificates: Iterable[CertificateEnd], unseen: Sequence[str], now: datetime, rotation: timedelta, margin: timedelta = MARGIN
) -> CertificateReport:
    """All of a cluster's, the most urgent first."""
    found = [renewal(one, now, rotation, margin) for one in certificates]
    found.sort(key=lambda one: (-one.urgency.rank, one.certificate.not_after, one.certificate.holder, one.certificate.where))
    due = [one for one in found if one.urgency is not Urgency.NOT_DUE]
    return CertificateReport(
        renewals=tuple(found),
        certificates=len(found),
        due=len(due),
        unseen=tuple(unseen),
        rotation=due_rotation(due),
        summary="; ".join(filter(None, (_summary(found, due), f"{len(unseen)} can't be seen" if unseen else ""))),
    )


def since(before: CertificateReport | None, now: CertificateReport) -> CertificateReport:
    """A look with what people are to be told after it: once each time that it has become more urgent.

    Args:
        before: the schedule's look before this one; None: this is the first.
        now: this one, as it was found.
    """
    known = before.urgency.rank if before is not None else Urgency.NOT_DUE.rank
    return now.model_copy(update={"news": now.summary if now.urgency.rank > known else ""})


def due_rotation(due: Sequence[Renewal]) -> DueRotation | None:
    """What a run could renew of what is due; a client's certificate is only renewed with those of all nodes.

    None where some has expired: nodes may then have to restart although Kafka can't be asked, which is for a person to decide.
    """
    rotated = [one for one in due if one.certificate.rotated_as is not None]
    if not rotated or any(one.urgency is Urgency.EXPIRED for one in rotated):
        return None
    are_nodes = all(one.certificate.rotated_as == "node" for one in rotated)
    last = max(one.days_left for one in rotated)
    urgency = max((one.urgency for one in rotated), key=lambda one: one.rank)
    return DueRotation(certificates=len(rotated), urgency=urgency, ending_within_days=round(last + 1, 2) if are_nodes else None)


def _summary(found: Sequence[Renewal], due: Sequence[Renewal]) -> str:
    if not found:
        return "no certificate seen"
    if not due:
        one = min(found, key=lambda one: one.certificate.not_after)
        return f"none of {len(found)} certificates is due; {_named(one)} ends first, in {one.days_left:.0f} days"
    more = f" and {len(due) - NAMED} more" if len(due) > NAMED else ""
    return f"{len(due)} of {len(found)} certificates: " + ", ".join(map(_due, due[:NAMED])) + more


def _due(one: Renewal) -> str:
    how = "restart" if one.certificate.needs_restart else "renewal"
    ends = f"ended {-one.days_left:.1f} days ago" if one.urgency is Urgency.EXPIRED else f"ends in {one.days_left:.1f} days"
    return f"{_named(one)} {ends}, {how} {one.urgency.value if one.urgency is not Urgency.EXPIRED else 'needed now'}"


def _named(one: Renewal) -> str:
    return f"{one.certificate.holder} ({one.certificate.where})"
