"""How `make test` spreads the tests over the machine's two cores (pytest-xdist).

A file's tests stay together: they share its fixtures. Those that start brokers of their own follow each other, for the machine's
memory and for Maven and apt, which are asked once. Those on the lab come last, all in one process: there is one lab.
"""

from pathlib import PurePosixPath
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling


def group(file: str) -> str:
    """The name of what must run in one process and in order."""
    path = PurePosixPath(file)
    if path.parent.name == "lab":
        return "lab"
    if path.parent.name in ("agent", "clients") or path.name.endswith("on_kafka.py"):
        return "brokers"
    return path.name


class Groups(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """(`--dist loadgroup` of xdist 3.8 finds no groups under pytest 9.2.)"""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid.split("::")[0])


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Groups:
    return Groups(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that both cores are free at about the same time: the lab needs them."""

    def turn(item: pytest.Item) -> int:
        return {"workflows": 0, "lab": 2}.get(item.path.parent.name, 1)

    items.sort(key=turn)
