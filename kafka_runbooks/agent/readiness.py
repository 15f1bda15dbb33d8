"""Ready means 100 % in sync, or forced by a person for a while.

With that, Kubernetes' own safety holds for data too: a PodDisruptionBudget won't evict a second broker while one catches up.
The break-glass is for when two incidents coincide: an annotation with owner, reason and expiry. Without all three, or for
longer than a day, it is ignored and said so.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from kafka_runbooks.models.cluster import Partition

LONGEST = timedelta(hours=24)


@dataclass(frozen=True)
class Forced:
    """Readiness forced by `owner`, until `expires_at`."""

    owner: str
    reason: str
    expires_at: datetime


class BadForce(ValueError):
    """The annotation can't be obeyed; the message says what is wrong with it."""


def parse_force(text: str, now: datetime) -> Forced | None:
    """The annotation's content; None where it has expired.

    Raises:
        BadForce: it isn't JSON, lacks a field, has no time zone, or expires more than a day from now.
    """
    try:
        content = json.loads(text)
        owner, reason = str(content["owner"]).strip(), str(content["reason"]).strip()
        expires_at = datetime.fromisoformat(str(content["expires_at"]).replace("Z", "+00:00"))
    except (ValueError, KeyError, TypeError) as error:
        raise BadForce(f"needs JSON with owner, reason and expires_at (RFC 3339): {error}") from error
    if not owner or not reason:
        raise BadForce("owner and reason must not be empty")
    if expires_at.tzinfo is None:
        raise BadForce("expires_at needs a time zone")
    if expires_at - now > LONGEST:
        raise BadForce("expires_at is more than 24 h away")
    return Forced(owner, reason, expires_at) if expires_at > now else None


def why_not_in_sync(broker_id: int, live: Iterable[int], partitions: Iterable[Partition]) -> str | None:
    """None where every replica assigned to the broker is in its ISR and the broker is registered; else what is missing."""
    if broker_id not in live:
        return f"broker {broker_id} is not registered with the cluster"
    assigned, late = 0, []
    for partition in partitions:
        if broker_id in partition.replicas:
            assigned += 1
            if broker_id not in partition.in_sync:
                late.append(str(partition.name))
    if not late:
        return None
    return f"{len(late)} of {assigned} replicas are not in sync: {', '.join(late[:5])}"
