"""Which replica lives on which broker: pure planning, from an observed cluster to a verified plan in safe batches.

    from kafka_runbooks import placement

    plan = placement.planners.rebalance(cluster, placement.Options(topics=["orders"]))
    placement.verify.check(plan)

A cluster (`arrays`, made by `snapshots`) and a request become a `Problem`; `solver` finds replica sets and `bounds` what no
plan can beat; `leaders` chooses preferred leaders; `planners` has one function per verb and reports a `Plan`; `batches`
splits it; `verify` checks the result with no code of the others.

The names below are imported on first use: command-line help and the errors must not cost an import of numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kafka_runbooks.placement import planners, verify
    from kafka_runbooks.placement.arrays import Cluster
    from kafka_runbooks.placement.plan import Plan
    from kafka_runbooks.placement.planners import Options

__all__ = ["Cluster", "Options", "Plan", "planners", "verify"]

_MODULES = {"Cluster": "arrays", "Options": "planners.options", "Plan": "plan"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return import_module(f"{__name__}.{name}")
