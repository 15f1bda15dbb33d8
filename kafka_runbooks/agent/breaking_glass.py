"""Break the glass: readiness forced by hand, when two incidents coincide and a broker that isn't in sync must count as Ready.

An annotation on the pod names the owner, the reason and the expiry. It ends at its expiry whatever happens to the API server or
to the wall clock. One that lacks any of the three, or asks for more than a day, is ignored, and an event reports that.
"""

import hashlib
from datetime import datetime, timedelta
from typing import NamedTuple

from pydantic import ValidationError

from kafka_runbooks.models.force_ready import ForceReady

LONGEST = timedelta(hours=24)


class Event(NamedTuple):
    """An event for Kubernetes. The same `name` is the same event, which is emitted once."""

    name: str
    reason: str
    message: str


class Glass:
    """The annotation as last observed, and when it expires, by the wall clock and by a monotonic clock."""

    def __init__(self) -> None:
        self._text: str | None = None
        self._force: ForceReady | None = None
        self._problem: str | None = None
        self._deadline_s = 0.0

    def observe(self, text: str | None, now: datetime, monotonic_s: float) -> Event | None:
        """Take note of the annotation as it is now; returns the event to emit, if any.

        The same text gives the same event again, so that one which couldn't be delivered is repeated.
        """
        before = self.active(now, monotonic_s)
        if text != self._text:
            self._text, self._force, self._problem = text, None, None
            if text is not None:
                self._take(text, now, monotonic_s)
            elif before is not None:
                message = f"withdrawn before {before.expires_at.isoformat()} ({before.owner}: {before.reason})"
                return Event(_name(before.model_dump_json(), "withdrawn"), "ReadinessForceExpired", message)
        if text is None:
            return None
        force = self._force
        if force is None:
            return Event(_name(text, "ignored"), "ReadinessForceIgnored", f"annotation ignored: {self._problem}")
        until = force.expires_at.isoformat()
        if self.active(now, monotonic_s) is None:
            message = f"expired at {until}; remove the annotation ({force.owner}: {force.reason})"
            return Event(_name(text, "expired"), "ReadinessForceExpired", message)
        return Event(_name(text, "forced"), "ReadinessForced", f"ready until {until} by {force.owner}: {force.reason}")

    def active(self, now: datetime, monotonic_s: float) -> ForceReady | None:
        """What forces readiness at this moment, if anything."""
        if self._force is None or now >= self._force.expires_at or monotonic_s >= self._deadline_s:
            return None
        return self._force

    def _take(self, text: str, now: datetime, monotonic_s: float) -> None:
        """Judged once: an expiry that was too far away when it was set isn't obeyed later, once it has come near."""
        try:
            force = ForceReady.model_validate_json(text)
        except ValidationError as error:
            self._problem = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'JSON'}: {one['msg']}" for one in error.errors())
            return
        if force.expires_at - now > LONGEST:
            hours = LONGEST.total_seconds() / 3600
            self._problem = f"expires_at: {force.expires_at.isoformat()} is more than {hours:.0f} hours away"
            return
        self._force = force
        self._deadline_s = monotonic_s + (force.expires_at - now).total_seconds()


def _name(text: str, what: str) -> str:
    return f"{what}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
