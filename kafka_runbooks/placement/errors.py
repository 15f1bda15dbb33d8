"""What can go wrong in placement, by what the caller can do about it.

PlacementError
 ├─ InvalidRequest        the request contradicts itself or the cluster: change the request
 ├─ InFlight       a reassignment is in progress: wait for it, or plan on its target
 └─ NoAssignment          no valid map exists: the reasons say which constraint fails where, and the smallest change that helps
"""

from kafka_runbooks.models.placement import PlacementReason


class PlacementError(ValueError):
    """Nothing was planned. The message is meant for the person who asked."""


class InvalidRequest(PlacementError):
    """The request names unknown brokers or topics, or asks for what contradicts itself."""


class InFlight(PlacementError):
    """Partitions in scope are being reassigned; planning on the union of old and new replicas would be wrong."""


class NoAssignment(PlacementError):
    """No map satisfies every constraint; `reasons` say why, one by one."""

    def __init__(self, reasons: list[PlacementReason]) -> None:
        super().__init__("no valid map exists: " + "; ".join(str(reason) for reason in reasons))
        self.reasons = reasons
