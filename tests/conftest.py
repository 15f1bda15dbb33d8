"""The tiers of the tests (`make unit`, `make test`, `make soak`), and how a tier is spread over two cores (pytest-xdist).

A test's tier follows from what it starts: one that asks for a fixture that starts a server is marked `server`, one that asks for
the lab is marked `lab`. `soak` is written by hand, beside the name of the faster test that covers the same.

Tests of workflows wait more than they compute, so `make test` has more processes than cores.

Tests that start brokers of their own are two rows, one after the other in each: they share them by the file, and the machine's
memory. Those on the lab come last, all in one process: there is one lab. Any other goes to the process that is free.
"""

from pathlib import PurePosixPath
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

import tests.examples  # noqa: F401  # hypothesis's profiles, before the command line chooses one

SERVERS = {"server", "skipping_server", "kafka", "zookeeper", "prometheus", "api_server", "step_server"}
"""Fixtures that start a real server on loopback: Temporal, Kafka, ZooKeeper, Prometheus, Kubernetes, step-ca."""


def group(nodeid: str) -> str:
    """The name of what must run in one process and in order."""
    path = PurePosixPath(nodeid.split("::")[0])
    if path.parent.name == "lab":
        return "lab"
    if path.parent.name in ("agent", "clients"):
        return "brokers"
    if path.parent.name in ("security", "certificates") or path.name.endswith("on_kafka.py"):
        return "more brokers"
    return nodeid


class Groups(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """(`--dist loadgroup` of xdist 3.8 finds no groups under pytest 9.2.)"""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Groups | None:
    return Groups(config, log) if config.getoption("dist") == "loadscope" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks, and the order: brokers first, for they are one long row, then what waits for Temporal, the lab last."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if "lab" in fixtures:
            item.add_marker("lab")
        elif fixtures & SERVERS:
            item.add_marker("server")

    def turn(item: pytest.Item) -> int:
        if "brokers" in group(item.nodeid):
            return 0
        return {"workflows": 1, "lab": 3}.get(item.path.parent.name, 2)

    items.sort(key=turn)
