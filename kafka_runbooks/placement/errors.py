"""Everything that placement raises.

PlacementError      no plan was made; the message is for the operator
 ├─ InvalidRequest  the request contradicts itself or the cluster: change the request
 ├─ InFlight        a reassignment is in progress: wait for it, or plan on its target
 └─ NoAssignment    no assignment is valid: the reasons name each constraint that fails, where, and the smallest change that helps
PlannerDefect       a planner produced an invalid plan: a bug of this program, never the operator's fault
"""

from collections.abc import Sequence

from kafka_runbooks.models.placement import PlacementReason


class PlacementError(ValueError):
    """No plan was made. The message is meant for the operator."""


class InvalidRequest(PlacementError):
    """The request names unknown brokers or topics, or contradicts itself."""


class InFlight(PlacementError):
    """Partitions in scope are being reassigned; planning on the union of old and new replicas would be wrong."""


class NoAssignment(PlacementError):
    """No assignment satisfies every constraint; `reasons` say why, one by one."""

    def __init__(self, reasons: list[PlacementReason], rows: Sequence[int] = ()) -> None:
        super().__init__("no valid map exists: " + "; ".join(str(reason) for reason in reasons))
        self.reasons = reasons
        self.rows = tuple(rows)
        """Rows of the partitions that have no valid set."""


class PlannerDefect(RuntimeError):
    """The independent checks refused a plan or one of its batches; `findings` name the broken rules."""

    def __init__(self, findings: Sequence[str]) -> None:
        super().__init__(f"{len(findings)} findings: " + "; ".join(findings[:10]))
        self.findings = tuple(findings)
