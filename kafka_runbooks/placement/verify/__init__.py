"""Independent verification of plans and batches: no code is shared with the planners, the solver, the bounds or leader choice."""

from kafka_runbooks.placement.verify.verify import check

__all__ = ["check"]
